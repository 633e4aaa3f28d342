"""ViT (`google/vit-*`) and the image side of CLIP (`openai/clip-*`) as image encoders.

Both become `zoo.models.vision_transformer`: what differs is a norm of the embeddings, a
quicker GELU and the names. Heads, poolers and CLIP's text side are left out. CLIP norms
its class token alone at the end; here the same norm is given to every patch, whose
states would differ by orders of magnitude otherwise.
"""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import numpy as np

from zoo.errors import InputError
from zoo.models.vision_transformer import ACTIVATIONS, VisionTransformer, build
from zoo.models.visual_configs import VisionTransformerConfig
from zoo.models.visual_contract import initialize_encoder
from zoo.pretrained.conversion import (
    Rule,
    abstract,
    attention_rules,
    changed,
    convert,
    linear_rules,
    norm_rules,
    split_bias,
    split_inputs,
    split_outputs,
)
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import MOST_LAYERS
from zoo.pretrained.pixels import (
    cropping,
    folded,
    patch_kernel,
    required,
    squashing,
)

# Of the patches' convolution, the class token and the positions.
VIT_NAMES = ("patch_embeddings.projection", "cls_token", "position_embeddings")
CLIP_NAMES = ("patch_embedding", "class_embedding", "position_embedding.weight")
VIT_IGNORED = (r"(vit\.)?pooler\..*", r"classifier\..*")
CLIP_IGNORED = (
    r"text_model\..*",
    r"(text|visual)_projection\.weight",
    "logit_scale",
    r".*position_ids",
)


def load(directory: Directory) -> tuple[VisionTransformer, Any, Any]:
    """Returns the encoder, its parameters, and what makes a picture its image.

    Raises:
        InputError: the directory is damaged, or of an unknown kind.
    """
    config = config_of(directory)
    model = build(config)
    weights = directory.weights()
    if _is_clip(directory):
        start = "vision_model." if _has(weights, "vision_model.") else ""
        names = [f"{start}embeddings.{name}" for name in CLIP_NAMES]
        rules, rule = clip_rules(config), cropping(directory, config.image_size)
        ignored = CLIP_IGNORED
    else:
        start = "vit." if _has(weights, "vit.") else ""
        names = [f"{start}embeddings.{name}" for name in VIT_NAMES]
        rules, rule = vit_rules(config), squashing(directory, config.image_size)
        ignored = VIT_IGNORED
    params = convert(
        changed(weights, first_map(weights, directory, *names)),
        rules,
        abstract(partial(initialize_encoder, model)),
        ignored=ignored,
        where=str(directory.root),
    )
    return model, params, rule


def first_map(
    weights: Mapping[str, np.ndarray],
    directory: Directory,
    patches: str,
    class_token: str,
    positions: str,
) -> dict[str, np.ndarray]:
    """Returns patches, class token and positions as ours are.

    The class token comes with its position, which is the first one, and the positions
    of the patches as a square.

    Args:
        patches: name of the convolution that cuts them.
        class_token: name of a vector.
        positions: name of the vectors of all places.

    Raises:
        InputError: an array is missing, or the places are no square and one more.
    """
    places = required(weights, directory, positions)
    places = places.reshape(-1, *places.shape[-1:])
    side = math.isqrt(max(len(places) - 1, 0))
    if places.ndim != 2 or not side or len(places) != 1 + side**2:
        raise InputError(
            f"{directory.root}: {positions} has {len(places)} places, which are no "
            "square and one; download it again"
        )
    token = required(weights, directory, class_token).reshape(-1)
    if token.shape != places[0].shape:
        raise InputError(
            f"{directory.root}: {class_token} and {positions} have different widths; "
            "download them again"
        )
    return folded(weights, directory, patches) | {
        class_token: token + places[0],
        positions: places[1:].reshape(side, side, -1),
    }


def config_of(directory: Directory) -> VisionTransformerConfig:
    """Returns the sizes of the encoder in a directory.

    Raises:
        InputError: they are no sizes, or the activation is another.
    """
    values, is_clip = directory.config, _is_clip(directory)
    if values["model_type"] == "clip":
        values = values.get("vision_config")
        if not isinstance(values, dict):
            raise InputError(f"{directory.root}: config.json has no vision_config")
    activation = values.get("hidden_act", "quick_gelu" if is_clip else "gelu")
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise InputError(
            f"{directory.root}: hidden_act {activation!r} is none of "
            f"{', '.join(ACTIVATIONS)}"
        )
    epsilon = values.get("layer_norm_eps", 1e-5 if is_clip else 1e-12)
    if not isinstance(epsilon, float) or not 0 < epsilon < 1:
        raise InputError(
            f"{directory.root}: layer_norm_eps in config.json is {epsilon!r}, and no "
            "small number above 0"
        )
    return VisionTransformerConfig(
        **sizes(directory, values),
        image_size=whole(directory, values, "image_size", 224),
        patch_size=whole(directory, values, "patch_size", 32 if is_clip else 16),
        activation=cast("Any", activation),
        embedding_norm=is_clip,
        norm_epsilon=epsilon,
    )


def sizes(directory: Directory, values: dict[str, Any]) -> dict[str, int]:
    """Returns width, heads and depth of the encoder of a config, all as of ViT-B."""
    return {
        "model_dim": whole(directory, values, "hidden_size", 768),
        "mlp_dim": whole(directory, values, "intermediate_size", 3_072),
        "num_heads": whole(directory, values, "num_attention_heads", 12),
        "num_layers": whole(
            directory, values, "num_hidden_layers", 12, most=MOST_LAYERS
        ),
    }


def whole(
    directory: Directory,
    values: dict[str, Any],
    name: str,
    default: int,
    *,
    most: int = 2**31,
) -> int:
    """Returns a whole number of a config; raises InputError if it is none."""
    number = values.get(name, default)
    if type(number) is not int or number > most:
        raise InputError(
            f"{directory.root}: {name} in config.json is {number!r}, and no whole "
            f"number up to {most:,}"
        )
    return number


def _is_clip(directory: Directory) -> bool:
    return directory.config["model_type"] != "vit"


def _has(weights: Mapping[str, np.ndarray], start: str) -> bool:
    """Returns whether the encoder is a part of a model, under a name of its own."""
    return any(name.startswith(start) for name in weights)


def vit_rules(config: VisionTransformerConfig) -> list[Rule]:
    """Returns the rules for the names of `google/vit-*`."""
    return [
        *patch_rules(r"(?:vit\.)?embeddings\.", "patches", "class_token"),
        *layer_rules(r"(?:vit\.)?encoder\.layer\.(\d+)\.", config.num_heads),
        *norm_rules(r"(?:vit\.)?layernorm", "last_norm"),
    ]


def patch_rules(theirs: str, ours: str, class_token: str) -> list[Rule]:
    """Returns the rules for what `first_map` makes of ViT and ViLT.

    Args:
        theirs: pattern of what stands before these names, the dot included.
        ours: path of our patches.
        class_token: path of ours.
    """
    projection = rf"{theirs}patch_embeddings\.projection"
    return [
        Rule(rf"{projection}\.weight", f"{ours}/projection/kernel", patch_kernel),
        Rule(rf"{projection}\.bias", f"{ours}/projection/bias"),
        Rule(rf"{theirs}cls_token", class_token),
        Rule(rf"{theirs}position_embeddings", f"{ours}/positions"),
    ]


def layer_rules(theirs: str, num_heads: int) -> list[Rule]:
    r"""Returns the rules for the layers of ViT and ViLT.

    Args:
        theirs: pattern of what stands before the names of a layer; its group is the
            number of the layer.
    """
    attention = r"blocks_\1/self_attention"
    rules = [
        Rule(
            rf"{theirs}attention\.output\.dense\.weight",
            f"{attention}/out/kernel",
            split_inputs(num_heads),
        ),
        Rule(rf"{theirs}attention\.output\.dense\.bias", f"{attention}/out/bias"),
        *linear_rules(rf"{theirs}intermediate\.dense", r"blocks_\1/mlp/up"),
        *linear_rules(rf"{theirs}output\.dense", r"blocks_\1/mlp/down"),
        *norm_rules(rf"{theirs}layernorm_before", r"blocks_\1/self_attention_norm"),
        *norm_rules(rf"{theirs}layernorm_after", r"blocks_\1/mlp_norm"),
    ]
    for name in ("query", "key", "value"):
        projection = rf"{theirs}attention\.attention\.{name}"
        rules += [
            Rule(
                rf"{projection}\.weight",
                f"{attention}/{name}/kernel",
                split_outputs(num_heads),
            ),
            Rule(
                rf"{projection}\.bias",
                f"{attention}/{name}/bias",
                split_bias(num_heads),
            ),
        ]
    return rules


def clip_rules(config: VisionTransformerConfig) -> list[Rule]:
    """Returns the rules for the names of the image side of `openai/clip-*`."""
    start = r"(?:vision_model\.)?"
    layer = rf"{start}encoder\.layers\.(\d+)\."
    patches = rf"{start}embeddings\."
    return [
        Rule(
            rf"{patches}patch_embedding\.weight",
            "patches/projection/kernel",
            patch_kernel,
        ),
        Rule(rf"{patches}patch_embedding\.bias", "patches/projection/bias"),
        Rule(rf"{patches}class_embedding", "class_token"),
        Rule(rf"{patches}position_embedding\.weight", "patches/positions"),
        *norm_rules(rf"{start}pre_layrnorm", "first_norm"),
        *norm_rules(rf"{start}post_layernorm", "last_norm"),
        *attention_rules(
            rf"{layer}self_attn\.", r"blocks_\1/self_attention", config.num_heads
        ),
        *linear_rules(rf"{layer}mlp\.fc1", r"blocks_\1/mlp/up"),
        *linear_rules(rf"{layer}mlp\.fc2", r"blocks_\1/mlp/down"),
        *norm_rules(rf"{layer}layer_norm1", r"blocks_\1/self_attention_norm"),
        *norm_rules(rf"{layer}layer_norm2", r"blocks_\1/mlp_norm"),
    ]
