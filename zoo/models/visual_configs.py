"""The configurations and presets of the visual models: numbers, without jax.

Every one says how it sees: where `region_dim` is above 0 the image is given as features
of regions, so wide; else it is pixels, read by a small residual network whose first
stage has `cnn_dim` channels. The "tiny" presets are for pixels and have less than a
million parameters.
"""

from dataclasses import dataclass
from typing import Literal

from zoo.errors import InputError, require_positive, require_rate

LARGEST_FACTOR = 4  # of width and depth; the largest of the authors is 1.8


@dataclass(frozen=True)
class VisionTransformerConfig:
    """A vision Transformer as image encoder (Dosovitskiy et al. 2021; CLIP).

    Attributes:
        image_size: side in pixels of the square that positions are learned on.
        patch_size: side of a patch in pixels.
        activation: of the feed-forward parts; "quick_gelu" is CLIP's.
        embedding_norm: whether there is a norm before the first block, as in CLIP.
        norm_epsilon: of all norms.
    """

    image_size: int = 224
    patch_size: int = 16
    model_dim: int = 768
    mlp_dim: int = 3_072
    num_heads: int = 12
    num_layers: int = 12
    activation: Literal["gelu", "quick_gelu"] = "gelu"
    embedding_norm: bool = False
    norm_epsilon: float = 1e-12

    def __post_init__(self):
        require_positive(self, "image_size", "patch_size", "model_dim", "mlp_dim")
        require_positive(self, "num_layers")
        _require_heads(self)
        _require_patches(self)


@dataclass(frozen=True)
class EfficientNetConfig:
    """EfficientNet-Lite as image encoder (Tan and Le 2019).

    Attributes:
        width: by which the channels of Lite0 are multiplied.
        depth: by which its blocks are.
    """

    width: float = 1.0
    depth: float = 1.0

    def __post_init__(self):
        for name in ("width", "depth"):
            if not 0 < getattr(self, name) <= LARGEST_FACTOR:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must be above 0 and at most "
                    f"{LARGEST_FACTOR}"
                )


TowerConfig = VisionTransformerConfig | EfficientNetConfig


@dataclass(frozen=True)
class VqaBaselineConfig:
    """Question and image multiplied, without attention (Antol et al. 2015).

    Attributes:
        word_dim: width of the embedded words.
        model_dim: width of the LSTM's states and of a region.
        num_layers: of the LSTM.
        joint_dim: width in which question and image are multiplied, and of the MLP.
        dropout_rate: inside the MLP.
    """

    vocab_size: int = 15_000
    num_answers: int = 1_000
    word_dim: int = 300
    model_dim: int = 512
    num_layers: int = 2
    joint_dim: int = 1_024
    region_dim: int = 4_096
    cnn_dim: int = 32
    dropout_rate: float = 0.5
    pad_id: int = 0

    def __post_init__(self):
        sizes = ("vocab_size", "num_answers", "word_dim", "num_layers", "joint_dim")
        require_positive(self, *sizes)
        _require_sight(self)


@dataclass(frozen=True)
class StackedAttentionConfig:
    """A question that looks at the image several times (Yang et al. 2016).

    Attributes:
        word_dim: width of the embedded words.
        model_dim: width of the LSTM's states and of a region.
        attention_dim: width in which questions and regions are compared.
        num_glimpses: how often the question looks.
        hidden_dim: width of a hidden layer before the answer; 0 for none.
        tower: the encoder that reads the image, for weights of others; None for the
            small network.
        dropout_rate: of the embedded words and before the answer.
    """

    vocab_size: int = 15_000
    num_answers: int = 1_000
    word_dim: int = 500
    model_dim: int = 1_000
    attention_dim: int = 512
    num_glimpses: int = 2
    hidden_dim: int = 0
    region_dim: int = 512
    cnn_dim: int = 32
    tower: TowerConfig | None = None
    dropout_rate: float = 0.5
    pad_id: int = 0

    def __post_init__(self):
        sizes = ("vocab_size", "num_answers", "word_dim", "attention_dim")
        require_positive(self, *sizes, "num_glimpses")
        if self.hidden_dim < 0:
            raise InputError(f"hidden_dim is {self.hidden_dim}, but must be at least 0")
        if self.tower is not None and self.region_dim:
            raise InputError(
                f"features of regions (region_dim {self.region_dim}) need no tower; "
                "set region_dim to 0"
            )
        _require_sight(self)


@dataclass(frozen=True)
class McanConfig:
    """Modular co-attention (Yu et al. 2019).

    Attributes:
        word_dim: width of the embedded words.
        num_layers: of self-attention over words, and of guided attention over regions.
        pooling_dim: hidden width of the MLP that weighs words, or regions, at the end.
        dropout_rate: of sublayers, attention weights and hidden units.
    """

    vocab_size: int = 20_573
    num_answers: int = 3_129
    word_dim: int = 300
    model_dim: int = 512
    mlp_dim: int = 2_048
    num_heads: int = 8
    num_layers: int = 6
    pooling_dim: int = 512
    region_dim: int = 2_048
    cnn_dim: int = 32
    dropout_rate: float = 0.1
    pad_id: int = 0

    def __post_init__(self):
        sizes = ("vocab_size", "num_answers", "word_dim", "mlp_dim", "num_layers")
        require_positive(self, *sizes, "pooling_dim")
        _require_sight(self)
        _require_heads(self)


@dataclass(frozen=True)
class SingleStreamConfig:
    """Words and patches in one Transformer (Kim et al. 2021, "ViLT").

    Attributes:
        patch_size: side in pixels of the patches, where the image is neither given as
            features nor read by a residual network; 0 where it is.
        dropout_rate: of embeddings and sublayers.
    """

    vocab_size: int = 30_522
    num_answers: int = 3_129
    model_dim: int = 768
    mlp_dim: int = 3_072
    num_heads: int = 12
    num_layers: int = 12
    patch_size: int = 32
    region_dim: int = 0
    cnn_dim: int = 32
    dropout_rate: float = 0.1
    pad_id: int = 0
    start_id: int = 1

    def __post_init__(self):
        require_positive(self, "vocab_size", "num_answers", "mlp_dim", "num_layers")
        if self.patch_size < 0:
            raise InputError(f"patch_size is {self.patch_size}, but must be at least 0")
        if self.patch_size and self.region_dim:
            raise InputError(
                f"features of regions (region_dim {self.region_dim}) have no patches; "
                f"set patch_size to 0, not {self.patch_size}"
            )
        _require_sight(self)
        _require_heads(self)


@dataclass(frozen=True)
class ViltConfig:
    """Words and patches in one Transformer, as the authors' weights have it.

    Kim et al. (2021); `SingleStreamConfig` is our own reading of the paper.

    Attributes:
        image_size: side in pixels of the square that positions are learned on.
        patch_size: side of a patch in pixels.
        max_words: longest question in word pieces, the two special ones included.
        dropout_rate: of embeddings and sublayers.
    """

    vocab_size: int = 30_522
    num_answers: int = 3_129
    model_dim: int = 768
    mlp_dim: int = 3_072
    num_heads: int = 12
    num_layers: int = 12
    image_size: int = 384
    patch_size: int = 32
    max_words: int = 40
    dropout_rate: float = 0.1
    pad_id: int = 0

    def __post_init__(self):
        require_positive(self, "vocab_size", "num_answers", "model_dim", "mlp_dim")
        require_positive(self, "num_layers", "image_size", "patch_size", "max_words")
        require_rate(self, "dropout_rate")
        _require_heads(self)
        _require_patches(self)


@dataclass(frozen=True)
class AnswerDecoderConfig:
    """An answer written word by word (Vaswani et al. 2017, on words and regions).

    Attributes:
        vocab_size: of questions and answers together.
        num_layers: of the encoder, and of the decoder.
        dropout_rate: of embeddings and sublayers.
    """

    vocab_size: int = 20_573
    model_dim: int = 512
    mlp_dim: int = 2_048
    num_heads: int = 8
    num_layers: int = 6
    region_dim: int = 2_048
    cnn_dim: int = 32
    dropout_rate: float = 0.1
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def __post_init__(self):
        require_positive(self, "vocab_size", "mlp_dim", "num_layers")
        _require_sight(self)
        _require_heads(self)


VisualConfig = (
    VqaBaselineConfig
    | StackedAttentionConfig
    | McanConfig
    | SingleStreamConfig
    | ViltConfig
    | AnswerDecoderConfig
)


def _require_sight(
    config: VqaBaselineConfig
    | StackedAttentionConfig
    | McanConfig
    | SingleStreamConfig
    | AnswerDecoderConfig,
) -> None:
    """Raises InputError where no image encoder can be made, or the rate is none."""
    require_positive(config, "model_dim", "cnn_dim")
    require_rate(config, "dropout_rate")
    if config.model_dim % 4:
        raise InputError(
            f"model_dim {config.model_dim} is not a multiple of 4, as positions on a "
            "grid need"
        )
    if config.cnn_dim % 8:
        raise InputError(f"cnn_dim {config.cnn_dim} is not a multiple of 8")
    if config.region_dim < 0:
        raise InputError(f"region_dim is {config.region_dim}, but must be at least 0")


def _require_heads(
    config: McanConfig
    | SingleStreamConfig
    | ViltConfig
    | AnswerDecoderConfig
    | VisionTransformerConfig,
) -> None:
    require_positive(config, "num_heads")
    if config.model_dim % config.num_heads:
        raise InputError(
            f"model_dim {config.model_dim} is not a multiple of num_heads "
            f"{config.num_heads}"
        )


def _require_patches(config: ViltConfig | VisionTransformerConfig) -> None:
    if config.image_size % config.patch_size:
        raise InputError(
            f"image_size {config.image_size} is not a multiple of patch_size "
            f"{config.patch_size}"
        )


# The name under which a configuration is written to JSON.
VISUAL_FAMILIES: dict[str, type[VisualConfig]] = {
    "vqa-baseline": VqaBaselineConfig,
    "stacked-attention": StackedAttentionConfig,
    "mcan": McanConfig,
    "single-stream": SingleStreamConfig,
    "vilt": ViltConfig,
    "answer-decoder": AnswerDecoderConfig,
}

# Image encoders, which are parts of models that answer.
TOWER_FAMILIES: dict[str, type[TowerConfig]] = {
    "vit": VisionTransformerConfig,
    "efficientnet": EfficientNetConfig,
}

TOWER_PRESETS: dict[str, TowerConfig] = {
    "vit-base": VisionTransformerConfig(),
    "clip-vit-base": VisionTransformerConfig(
        patch_size=32, activation="quick_gelu", embedding_norm=True, norm_epsilon=1e-5
    ),
    "efficientnet-lite0": EfficientNetConfig(),
}

VISUAL_PRESETS: dict[str, VisualConfig] = {
    "vqa-baseline": VqaBaselineConfig(),
    "vqa-baseline-tiny": VqaBaselineConfig(
        vocab_size=200,
        num_answers=20,
        word_dim=64,
        model_dim=128,
        num_layers=1,
        joint_dim=256,
        region_dim=0,
        dropout_rate=0.1,
    ),
    "stacked-attention": StackedAttentionConfig(),
    "stacked-attention-tiny": StackedAttentionConfig(
        vocab_size=200,
        num_answers=20,
        word_dim=64,
        model_dim=128,
        attention_dim=128,
        hidden_dim=256,
        region_dim=0,
        dropout_rate=0.1,
    ),
    "mcan-small": McanConfig(),
    "mcan-large": McanConfig(model_dim=1_024, mlp_dim=4_096),
    "mcan-tiny": McanConfig(
        vocab_size=200,
        num_answers=20,
        word_dim=64,
        model_dim=96,
        mlp_dim=192,
        num_heads=4,
        num_layers=2,
        pooling_dim=96,
        region_dim=0,
    ),
    "single-stream": SingleStreamConfig(),
    "single-stream-tiny": SingleStreamConfig(
        vocab_size=200,
        num_answers=20,
        model_dim=96,
        mlp_dim=192,
        num_heads=4,
        num_layers=4,
        patch_size=0,
    ),
    "vilt": ViltConfig(),
    "answer-decoder": AnswerDecoderConfig(),
    "answer-decoder-tiny": AnswerDecoderConfig(
        vocab_size=200,
        model_dim=96,
        mlp_dim=192,
        num_heads=4,
        num_layers=2,
        region_dim=0,
    ),
}
