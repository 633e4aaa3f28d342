"""The configurations and presets of the models: numbers and words, without jax.

They stand apart from the modules so that a command can list its options without loading
jax. The file of each model has `build(config) -> module`, which joins a configuration
with its parts.
"""

from dataclasses import dataclass
from typing import Literal

from zoo.errors import InputError, require_positive, require_rate


@dataclass(frozen=True)
class TransformerConfig:
    """Transformer encoder-decoder (Vaswani et al. 2017).

    Attributes:
        vocab_size: of the joint vocabulary; one table embeds both sides and scores.
        positions: how tokens know where they stand; see `zoo.layers.positions`.
        max_positions: length of the table of learned positions, no other has one.
        dropout_rate: of embeddings and sublayers.
        attention_dropout_rate: of attention weights.
    """

    vocab_size: int = 8_000
    num_layers: int = 6
    model_dim: int = 512
    mlp_dim: int = 2048
    num_heads: int = 8
    positions: Literal["sinusoidal", "learned", "rotary", "relative", "alibi"] = (
        "sinusoidal"
    )
    max_positions: int = 512
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def __post_init__(self):
        _check_transformer(self)
        require_positive(self, "max_positions")


@dataclass(frozen=True)
class MarianConfig:
    """Transformer as Marian has it (Junczys-Dowmunt et al. 2018).

    Attributes:
        vocab_size: of the joint vocabulary; one table embeds both sides and scores.
        num_layers: of the encoder.
        dropout_rate: of embeddings and sublayers.
        attention_dropout_rate: of attention weights.
        zero_start: the decoder begins with zeros in the place of the start token.
    """

    vocab_size: int = 8_000
    num_layers: int = 6
    num_decoder_layers: int = 6
    model_dim: int = 512
    mlp_dim: int = 2048
    num_heads: int = 8
    activation: Literal["relu", "silu", "gelu"] = "silu"
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    zero_start: bool = True
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def __post_init__(self):
        _check_transformer(self)
        require_positive(self, "num_decoder_layers")


@dataclass(frozen=True)
class SeparateMarianConfig(MarianConfig):
    """Marian's Transformer with a table of its own for what is read.

    Attributes:
        vocab_size: of what is written.
        source_vocab_size: of what is read; the special ids are the same.
    """

    source_vocab_size: int = 8_000

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "source_vocab_size")


@dataclass(frozen=True)
class BartConfig:
    """Transformer as in BART (Lewis et al. 2020).

    Attributes:
        vocab_size: of the joint vocabulary; one table embeds both sides and scores.
        num_layers: of the encoder.
        max_positions: length of the tables of learned positions.
        scaled: whether embeddings are multiplied by √D.
        dropout_rate: of embeddings and sublayers.
        attention_dropout_rate: of attention weights.
    """

    vocab_size: int = 50_265
    num_layers: int = 6
    num_decoder_layers: int = 6
    model_dim: int = 768
    mlp_dim: int = 3_072
    num_heads: int = 12
    activation: Literal["relu", "gelu"] = "gelu"
    max_positions: int = 1_024
    scaled: bool = False
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    pad_id: int = 1
    start_id: int = 2
    eos_id: int = 2

    def __post_init__(self):
        _check_transformer(self)
        require_positive(self, "num_decoder_layers", "max_positions")


@dataclass(frozen=True)
class MBartConfig(BartConfig):
    """Transformer as in mBART-50 (Tang et al. 2020); the fields are BartConfig's."""

    vocab_size: int = 250_054
    num_layers: int = 12
    num_decoder_layers: int = 12
    model_dim: int = 1_024
    mlp_dim: int = 4_096
    num_heads: int = 16
    activation: Literal["relu", "gelu"] = "relu"
    scaled: bool = True


@dataclass(frozen=True)
class M2M100Config:
    """Transformer as in M2M100 (Fan et al. 2021) and NLLB-200 (NLLB Team 2022).

    Attributes:
        vocab_size: of the joint vocabulary; one table embeds both sides and scores.
        num_layers: of the encoder.
        dropout_rate: of embeddings and sublayers.
        attention_dropout_rate: of attention weights.
    """

    vocab_size: int = 128_112
    num_layers: int = 12
    num_decoder_layers: int = 12
    model_dim: int = 1_024
    mlp_dim: int = 4_096
    num_heads: int = 16
    activation: Literal["relu", "gelu"] = "relu"
    dropout_rate: float = 0.1
    attention_dropout_rate: float = 0.0
    pad_id: int = 1
    start_id: int = 2
    eos_id: int = 2

    def __post_init__(self):
        _check_transformer(self)
        require_positive(self, "num_decoder_layers")


@dataclass(frozen=True)
class T5Config:
    """Transformer as in T5 (Raffel et al. 2020) or its version 1.1.

    Attributes:
        num_layers: of the encoder.
        feed_forward: its activation; the gated ones are of version 1.1.
        tied: whether the table that embeds also scores, as in version 1.0.
        num_buckets: of distances between tokens.
        max_distance: beyond which distances are alike.
        dropout_rate: of embeddings, sublayers and attention weights.
    """

    vocab_size: int = 32_128
    num_layers: int = 6
    num_decoder_layers: int = 6
    model_dim: int = 512
    mlp_dim: int = 2048
    num_heads: int = 8
    head_dim: int = 64
    feed_forward: Literal["relu", "gated-gelu", "gated-silu"] = "relu"
    tied: bool = True
    num_buckets: int = 32
    max_distance: int = 128
    dropout_rate: float = 0.1
    pad_id: int = 0
    start_id: int = 0
    eos_id: int = 1

    def __post_init__(self):
        sizes = ("vocab_size", "num_layers", "model_dim", "mlp_dim", "num_heads")
        more = ("num_decoder_layers", "head_dim", "num_buckets", "max_distance")
        require_positive(self, *sizes, *more)
        require_rate(self, "dropout_rate")


@dataclass(frozen=True)
class RNNConfig:
    """Recurrent encoder-decoder without attention: the bottleneck.

    Attributes:
        cell: "gru" as in Cho et al. (2014), "lstm" as in Sutskever et al. (2014).
        reverse_source: read the source backwards (Sutskever et al., section 3.3).
        feed_context: the summary of the source enters every decoder step and every
            output (Cho et al., section 2.2), not only the first state.
        dropout_rate: of embeddings and output features.
    """

    vocab_size: int = 8_000
    cell: Literal["gru", "lstm"] = "gru"
    num_layers: int = 1
    model_dim: int = 256
    reverse_source: bool = False
    feed_context: bool = True
    dropout_rate: float = 0.2
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def __post_init__(self):
        require_positive(self, "vocab_size", "num_layers", "model_dim")
        require_rate(self, "dropout_rate")


@dataclass(frozen=True)
class BahdanauConfig:
    """Recurrent encoder-decoder with Bahdanau attention (Bahdanau et al. 2015).

    Attributes:
        model_dim: width of embeddings and states.
        attention_dim: width in which states and annotations are compared.
        dropout_rate: of embeddings and output features.
    """

    vocab_size: int = 8_000
    model_dim: int = 256
    attention_dim: int = 256
    dropout_rate: float = 0.2
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def __post_init__(self):
        require_positive(self, "vocab_size", "model_dim", "attention_dim")
        require_rate(self, "dropout_rate")


@dataclass(frozen=True)
class LuongConfig:
    """Recurrent encoder-decoder with the attention of Luong et al. (2015).

    Attributes:
        score: how a state is compared with an annotation (section 3.1).
        model_dim: width of embeddings, states and attentional vectors.
        dropout_rate: of embeddings and output features.
    """

    vocab_size: int = 8_000
    score: Literal["dot", "general", "concat"] = "general"
    num_layers: int = 2
    model_dim: int = 256
    dropout_rate: float = 0.2
    pad_id: int = 0
    start_id: int = 1
    eos_id: int = 2

    def __post_init__(self):
        require_positive(self, "vocab_size", "num_layers", "model_dim")
        require_rate(self, "dropout_rate")


def _check_transformer(
    config: "TransformerConfig | MarianConfig | BartConfig | M2M100Config",
) -> None:
    """Raises InputError unless sizes and rates make a Transformer."""
    sizes = ("vocab_size", "num_layers", "model_dim", "mlp_dim", "num_heads")
    require_positive(config, *sizes)
    require_rate(config, "dropout_rate", "attention_dropout_rate")
    if config.model_dim % (2 * config.num_heads):
        raise InputError(
            f"model_dim {config.model_dim} is not a multiple of twice num_heads "
            f"{config.num_heads}"
        )


ModelConfig = (
    TransformerConfig
    | MarianConfig
    | SeparateMarianConfig
    | BartConfig
    | MBartConfig
    | M2M100Config
    | T5Config
    | RNNConfig
    | BahdanauConfig
    | LuongConfig
)

# The name under which a configuration is written to JSON.
FAMILIES: dict[str, type[ModelConfig]] = {
    "transformer": TransformerConfig,
    "marian": MarianConfig,
    "marian-separate": SeparateMarianConfig,
    "bart": BartConfig,
    "mbart": MBartConfig,
    "m2m100": M2M100Config,
    "t5": T5Config,
    "rnn": RNNConfig,
    "bahdanau": BahdanauConfig,
    "luong": LuongConfig,
}

PRESETS: dict[str, ModelConfig] = {
    "rnn-gru": RNNConfig(),
    "rnn-lstm": RNNConfig(
        cell="lstm", num_layers=2, reverse_source=True, feed_context=False
    ),
    "rnn-bahdanau": BahdanauConfig(),
    "rnn-luong-dot": LuongConfig(score="dot"),
    "rnn-luong-general": LuongConfig(score="general"),
    "rnn-luong-concat": LuongConfig(score="concat"),
    "transformer-tiny": TransformerConfig(
        num_layers=4, model_dim=128, mlp_dim=256, num_heads=4, dropout_rate=0.3
    ),
    "transformer-small": TransformerConfig(
        num_layers=3, model_dim=256, mlp_dim=512, num_heads=4
    ),
    "transformer-base": TransformerConfig(),
    "transformer-big": TransformerConfig(
        model_dim=1024, mlp_dim=4096, num_heads=16, dropout_rate=0.3
    ),
    "marian-tiny": MarianConfig(
        num_layers=2,
        num_decoder_layers=2,
        model_dim=128,
        mlp_dim=256,
        num_heads=4,
    ),
    "marian-base": MarianConfig(),
    "bart-base": BartConfig(),
    "bart-large": BartConfig(
        num_layers=12,
        num_decoder_layers=12,
        model_dim=1_024,
        mlp_dim=4_096,
        num_heads=16,
    ),
    "mbart-50": MBartConfig(),
    "m2m100": M2M100Config(),
    "nllb-200": M2M100Config(vocab_size=256_206),
    "t5-small": T5Config(),
    "t5-base": T5Config(
        num_layers=12,
        num_decoder_layers=12,
        model_dim=768,
        mlp_dim=3_072,
        num_heads=12,
    ),
    "flan-t5-base": T5Config(
        num_layers=12,
        num_decoder_layers=12,
        model_dim=768,
        mlp_dim=2_048,
        num_heads=12,
        feed_forward="gated-gelu",
        tied=False,
    ),
}
