"""The one contract of every model that answers questions about images.

An image is encoded once for its G questions; each of them sees it alone, so that no
question can influence another::

    image         pixels of 0 … 255, [B, Y, X, C], or features of regions, [B, R, D]
    image_encoder has the shape of an image that `init` may be given; the parameters do
                  not depend on the height and width of images
    encode_image  image -> (regions [B, R, D], valid [B, R])
    answer        (regions, valid, questions [B, G, S]) -> logits [B, G, A]
    model(…)      (image, questions) -> logits: both in a row
    looks         what was sown as "weights" -> where each question looked

A model that writes its answer is a `zoo.models.contract.Seq2Seq` instead: its source is
the pair (image, questions), its memory has a row for every question, B·G in all, and it
has `encode_image` and `looks` as the others.
"""

from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Bool, Float, Int, Num

from zoo.layers.vision import (
    ImageEncoder,
    PatchEmbedding,
    ProjectedRegions,
    RegionFeatures,
    Regions,
    ResidualCNN,
)
from zoo.models import efficientnet, vision_transformer
from zoo.models.contract import Seq2Seq
from zoo.models.visual_configs import EfficientNetConfig, TowerConfig

Looks = dict[str, Float[Array, "N R"]]


@runtime_checkable
class VisualModel(Protocol):
    """What every module that sees an image offers; the methods are for `apply`."""

    image_encoder: ImageEncoder
    vocab_size: int
    pad_id: int

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Returns fresh variables, as `flax.linen.Module.init`."""
        ...

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Calls a method with given variables, as `flax.linen.Module.apply`."""
        ...

    def encode_image(self, image: Array, *, deterministic: bool = True) -> Regions:
        """Returns regions [B, R, D] of images, and which of them are real [B, R]."""
        ...

    def looks(self, maps: dict[str, Array], num_regions: int) -> Looks:
        """Returns the weights on the R regions, by the name of glimpse or layer."""
        ...


@runtime_checkable
class AnswerClassifier(VisualModel, Protocol):
    """A visual model that chooses among A answers."""

    num_answers: int

    def answer(
        self,
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B G A"]:
        """Returns unnormalised log-probabilities of the answers to each question."""
        ...


def image_encoder(
    model_dim: int,
    *,
    region_dim: int,
    cnn_dim: int,
    patch_size: int = 0,
    tower: TowerConfig | None = None,
) -> ImageEncoder:
    """Returns what makes the regions: features, a tower, patches, or else a CNN."""
    if region_dim:
        return RegionFeatures(model_dim, region_dim)
    if tower is not None:
        convolves = isinstance(tower, EfficientNetConfig)
        build: Any = efficientnet.build if convolves else vision_transformer.build
        return ProjectedRegions(build(tower), model_dim)
    if patch_size:
        return PatchEmbedding(model_dim, patch_size)
    return ResidualCNN(model_dim, cnn_dim)


def per_question(
    regions: Float[Array, "B R D"],
    valid: Bool[Array, "B R"],
    questions: Int[Array, "B G S"],
) -> tuple[Float[Array, "N R D"], Bool[Array, "N R"], Int[Array, "N S"]]:
    """Returns regions, valid and questions with a row for each of the N = B·G."""
    num_questions = questions.shape[1]
    regions = jnp.repeat(regions, num_questions, axis=0)
    valid = jnp.repeat(valid, num_questions, axis=0)
    return regions, valid, questions.reshape(-1, questions.shape[2])


def onto_regions(
    weights: Float[Array, "N H Q K"], num_regions: int
) -> Float[Array, "N R"]:
    """Returns where the first query looks among the last R keys, which are the regions.

    The mean over the heads, normalised over the regions alone.
    """
    mean = weights[:, :, 0, -num_regions:].astype(jnp.float32).mean(axis=1)
    return mean / jnp.maximum(mean.sum(axis=-1, keepdims=True), 1e-30)


def numbered_looks(
    maps: dict[str, Array], name: str, path: str, num_regions: int
) -> Looks:
    """Returns what each glimpse or layer sees, by "`name` 1", "`name` 2" and so on.

    Args:
        path: of the attention that sows its weights, with {} where the number stands;
            one that sows none is not told of.
    """
    return {
        f"{name} {number + 1}": onto_regions(maps[path.format(number)], num_regions)
        for number in range(len(maps))
        if path.format(number) in maps
    }


def initialize(model: VisualModel, key: jax.Array) -> Any:
    """Returns freshly drawn parameters; their shapes depend on no image or question."""
    image = jnp.zeros((1, *model.image_encoder.example_shape))
    questions = jnp.ones((1, 1, 2), jnp.int32)
    return model.init(key, *_arguments(model, image, questions))["params"]


def initialize_encoder(encoder: ImageEncoder, key: jax.Array) -> Any:
    """Returns freshly drawn parameters of an image encoder alone."""
    module: Any = encoder
    return module.init(key, jnp.zeros((1, *encoder.example_shape)))["params"]


def answer_and_look(
    model: VisualModel,
    params: Any,
    image: Num[Array, "B ..."],
    questions: Int[Array, "B G S"],
) -> tuple[Float[Array, "B G A"], dict[str, Float[Array, "B G R"]]]:
    """Returns the logits of the answers, and where each question looked for them.

    A look is one distribution over the regions, the mean over heads, by the name of its
    glimpse or layer; a model without attention has none. For a model that writes its
    answer the logits are those of the first word.
    """
    variables = {"params": params}
    logits, collected = model.apply(
        variables, *_arguments(model, image, questions), mutable=["intermediates"]
    )
    flat: dict[Any, Any] = flatten_dict(collected.get("intermediates", {}))
    maps = {
        "/".join(path[:-1]): sown[0]
        for path, sown in flat.items()
        if path[-1] == "weights"
    }
    encode = partial(model.apply, method="encode_image")
    regions, _ = jax.eval_shape(encode, variables, image)
    shape = questions.shape[:2]
    found = model.looks(maps, regions.shape[1])
    return logits.reshape(*shape, -1), {
        name: weights.reshape(*shape, -1) for name, weights in found.items()
    }


def looks(
    model: VisualModel,
    params: Any,
    image: Num[Array, "B ..."],
    questions: Int[Array, "B G S"],
) -> dict[str, Float[Array, "B G R"]]:
    """Returns where each question looked; see `answer_and_look`."""
    return answer_and_look(model, params, image, questions)[1]


def region_grid(
    model: VisualModel, image_shape: tuple[int, ...]
) -> tuple[int, int] | None:
    """Returns (rows, columns) of the regions of an image, None where they are no grid.

    Args:
        image_shape: of one image, its height and width first.
    """
    size = model.image_encoder.cell_size
    if size is None:
        return None
    return -(-image_shape[0] // size), -(-image_shape[1] // size)


def _arguments(model, image, questions):
    """Returns what a call of the model takes; an answer is written from its start."""
    if not isinstance(model, Seq2Seq):
        return image, questions
    num_questions = questions.shape[0] * questions.shape[1]
    start = jnp.full((num_questions, 1), model.start_id, jnp.int32)
    return (image, questions), start
