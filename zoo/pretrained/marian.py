"""Marian's models as Hugging Face keeps them, among them all of OPUS-MT.

Tiedemann and Thottingal (2020), "OPUS-MT: Building open translation services for the
World". The weights of OPUS-MT are CC-BY 4.0.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from zoo.catalogue import build
from zoo.data.marian_tokens import FILES, TARGET_TABLE, MarianTokenizer
from zoo.errors import InputError
from zoo.models.configs import MarianConfig, SeparateMarianConfig
from zoo.models.contract import initialize
from zoo.models.transformer import Transformer
from zoo.pretrained.conversion import (
    Rule,
    abstract,
    attention_rules,
    convert,
    linear_rules,
    norm_rules,
)
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import (
    agree,
    choose,
    flag,
    integer,
    layers,
    rate,
    require,
    target_size,
    token,
)

ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "swish": "silu", "silu": "silu"}
TABLE, TARGET = "model.shared.weight", "model.decoder.embed_tokens.weight"
SHARED = "share_encoder_decoder_embeddings"
# The sinusoids are ours, and the other names are ties to the one table.
IGNORED = [r"model\.(en|de)coder\.embed_positions\.weight"]


def load_tokenizer(directory: Directory) -> MarianTokenizer:
    """Returns the tokenizer of a directory.

    Raises:
        InputError: there is none, it is damaged, or not the model's.
    """
    names = FILES if _is_shared(directory) else (*FILES, TARGET_TABLE)
    files = {name: directory.read(name) for name in names}
    tokenizer = MarianTokenizer(files, target_size(directory), str(directory.root))
    agree(directory, "pad_token_id", tokenizer.pad_id, FILES[2])
    agree(directory, "eos_token_id", tokenizer.eos_id, FILES[2])
    size = integer(directory, "vocab_size")
    if tokenizer.source_tokens.vocab_size > size:
        raise InputError(
            f"{directory.root}/{FILES[2]}: numbers more than the {size} tokens that "
            "the model reads; download the directory again"
        )
    return tokenizer


def load_weights(directory: Directory) -> tuple[Transformer, Any]:
    """Returns (model, params), without the tokenizer.

    Raises:
        InputError: the directory is damaged, or our Transformer cannot express it.
    """
    config = config_of(directory)
    model = cast("Transformer", build(config))
    params = convert(
        directory.weights(),
        rules(config.num_heads, separate=isinstance(config, SeparateMarianConfig)),
        abstract(partial(initialize, model)),
        ignored=IGNORED,
        where=str(directory.root),
    )
    return model, params


def longest(directory: Directory) -> int:
    """Returns the longest sentence that the model was made for, its end counted."""
    return integer(directory, "max_position_embeddings")


def config_of(directory: Directory) -> MarianConfig:
    """Returns the configuration of a directory's model.

    Raises:
        InputError: our Transformer cannot express it.
    """
    require(directory, "scale_embedding", True)
    common = shared_fields(directory, ACTIVATIONS) | {
        "vocab_size": target_size(directory),
        "zero_start": _starts_with_zeros(directory),
    }
    if _is_shared(directory):
        return MarianConfig(**common)
    size = integer(directory, "vocab_size")
    return SeparateMarianConfig(**common, source_vocab_size=size)


def shared_fields(
    directory: Directory, activations: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the fields that the configurations of Marian and of BART's kin share.

    Args:
        activations: what we call those that the family has.

    Raises:
        InputError: our Transformer cannot express what is said of them.
    """
    require(directory, "tie_word_embeddings", True, default=True)
    number = partial(integer, directory)
    for name in ("attention_heads", "ffn_dim"):
        require(directory, f"decoder_{name}", number(f"encoder_{name}"))
    return {
        "num_layers": layers(directory, "encoder_layers"),
        "num_decoder_layers": layers(directory, "decoder_layers"),
        "model_dim": number("d_model"),
        "mlp_dim": number("encoder_ffn_dim"),
        "num_heads": number("encoder_attention_heads"),
        "activation": choose(directory, "activation_function", activations),
        "dropout_rate": rate(directory, "dropout"),
        "attention_dropout_rate": rate(directory, "attention_dropout"),
        "pad_id": token(directory, "pad_token_id"),
        "start_id": token(directory, "decoder_start_token_id"),
        "eos_id": token(directory, "eos_token_id"),
    }


def _starts_with_zeros(directory: Directory) -> bool:
    """Returns whether the start token has a row of zeros, which is to stay so."""
    start = integer(directory, "decoder_start_token_id")
    table = TABLE if _is_shared(directory) else TARGET
    row = directory.weights().row(table, start)
    return row is not None and not row.any()


def _is_shared(directory: Directory) -> bool:
    """Returns whether one table embeds both sides."""
    return flag(directory, SHARED, True)


def rules(
    num_heads: int, start: str = r"model\.", *, separate: bool = False
) -> list[Rule]:
    """Returns what their tensors become.

    Args:
        start: pattern of what stands before the names of tables and layers.
        separate: whether the encoder has a table of its own.
    """
    tables = r"(?:shared|(?:en|de)coder\.embed_tokens)"
    if separate:
        tables = r"decoder\.embed_tokens"
    found = [
        Rule(rf"(?:{start}{tables}|lm_head)\.weight", "embedding/table"),
        Rule(rf"{start}encoder\.embed_tokens\.weight", "source_embedding/table"),
        Rule("final_logits_bias", "embedding/bias", lambda array: array.reshape(-1)),
    ]
    for side in ("encoder", "decoder"):
        theirs, ours = rf"{start}{side}\.layers\.(\d+)\.", rf"{side}_\1/"
        parts = {"self_attn": "self_attention"}
        if side == "decoder":
            parts["encoder_attn"] = "cross_attention"
        for name, our in parts.items():
            found += attention_rules(rf"{theirs}{name}\.", ours + our, num_heads)
            found += norm_rules(f"{theirs}{name}_layer_norm", f"{ours}{our}_norm")
        found += norm_rules(f"{theirs}final_layer_norm", f"{ours}mlp_norm")
        found += linear_rules(f"{theirs}fc1", f"{ours}mlp/up")
        found += linear_rules(f"{theirs}fc2", f"{ours}mlp/down")
    return found
