"""What the models that choose among answers share: they see, and then they answer.

A model of its own has fields of its own, makes its parts in `setup`, and writes
`answer`; if it looks at regions, it says in `looks` where.
"""

import flax.linen as nn
from jaxtyping import Array, Bool, Float, Int, Num

from zoo.layers.vision import ImageEncoder, Regions
from zoo.models.visual_contract import Looks


class VisualClassifier(nn.Module):
    """An `AnswerClassifier` of `zoo.models.visual_contract`, but for its `answer`.

    Attributes:
        image_encoder: makes the regions.
    """

    image_encoder: ImageEncoder

    def __call__(
        self,
        image: Num[Array, "B ..."],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B G A"]:
        """Returns the logits of every answer to every question."""
        regions, valid = self.encode_image(image, deterministic=deterministic)
        return self.answer(regions, valid, questions, deterministic=deterministic)

    def encode_image(
        self, image: Num[Array, "B ..."], *, deterministic: bool = True
    ) -> Regions:
        """Returns the regions of the images, which is all that questions share."""
        return self.image_encoder(image)

    def answer(
        self,
        regions: Float[Array, "B R D"],
        valid: Bool[Array, "B R"],
        questions: Int[Array, "B G S"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B G A"]:
        """Returns the logits of every answer to every question."""
        raise NotImplementedError

    @nn.nowrap
    def looks(self, maps: dict[str, Array], num_regions: int) -> Looks:
        """Returns nothing: the model does not look."""
        return {}
