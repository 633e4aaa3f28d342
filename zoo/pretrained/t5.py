"""T5 as Hugging Face keeps it, version 1.0 and 1.1 (Raffel et al. 2020).

The weights of the authors are Apache-2.0. A text begins with its task, as in "translate
English to German: ".
"""

import math
from functools import partial
from typing import Any, cast

import numpy as np

from zoo.catalogue import build
from zoo.data.t5_tokens import FILE, T5Tokenizer
from zoo.models.configs import T5Config
from zoo.models.contract import initialize
from zoo.models.transformer import Transformer
from zoo.pretrained.conversion import (
    Rule,
    Transform,
    abstract,
    changed,
    convert,
    split_inputs,
    split_outputs,
    transpose,
)
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import (
    agree,
    choose,
    integer,
    layers,
    rate,
    require,
    token,
)

FEED_FORWARD = {"relu": "relu", "gated-gelu": "gated-gelu", "gated-silu": "gated-silu"}
TABLE, OUTPUT = "shared.weight", "lm_head.weight"
# Stored by an old version of the authors' library, and used by none.
IGNORED = [r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative.*"]


def load_tokenizer(directory: Directory) -> T5Tokenizer:
    """Returns the tokenizer of a directory.

    Raises:
        InputError: there is none, it is damaged, or not the model's.
    """
    where, size = str(directory.root / FILE), integer(directory, "vocab_size")
    tokenizer = T5Tokenizer(directory.read(FILE), size, where)
    agree(directory, "eos_token_id", tokenizer.eos_id, FILE)
    if tokenizer.pad_id is not None:
        agree(directory, "pad_token_id", tokenizer.pad_id, FILE)
    return tokenizer


def load_weights(directory: Directory) -> tuple[Transformer, Any]:
    """Returns (model, params), without the tokenizer.

    Raises:
        InputError: the directory is damaged, or our Transformer cannot express it.
    """
    config, weights = config_of(directory), directory.weights()
    model = cast("Transformer", build(config))
    if not config.tied and OUTPUT not in weights and TABLE in weights:
        weights = changed(weights, {OUTPUT: weights[TABLE]})
    params = convert(
        weights,
        rules(config, scaled=_is_scaled(directory)),
        abstract(partial(initialize, model)),
        ignored=IGNORED,
        where=str(directory.root),
    )
    return model, params


def longest(directory: Directory) -> int:
    """Returns the longest sentence that the model was made for, its end counted."""
    return (
        integer(directory, "n_positions") if "n_positions" in directory.config else 512
    )


def config_of(directory: Directory) -> T5Config:
    """Returns the configuration of a directory's model.

    Raises:
        InputError: our Transformer cannot express it.
    """
    require(directory, "layer_norm_epsilon", 1e-6, default=1e-6)
    number = partial(integer, directory)
    has_decoder = directory.config.get("num_decoder_layers") is not None
    return T5Config(
        vocab_size=number("vocab_size"),
        num_layers=layers(directory, "num_layers"),
        num_decoder_layers=layers(
            directory, "num_decoder_layers" if has_decoder else "num_layers"
        ),
        model_dim=number("d_model"),
        mlp_dim=number("d_ff"),
        num_heads=number("num_heads"),
        head_dim=number("d_kv"),
        feed_forward=choose(directory, "feed_forward_proj", FEED_FORWARD),
        tied=_is_scaled(directory) and OUTPUT not in directory.weights(),
        num_buckets=number("relative_attention_num_buckets"),
        max_distance=number("relative_attention_max_distance", 128),
        dropout_rate=rate(directory, "dropout_rate"),
        pad_id=token(directory, "pad_token_id"),
        start_id=token(directory, "decoder_start_token_id"),
        eos_id=token(directory, "eos_token_id"),
    )


def rules(config: T5Config, *, scaled: bool) -> list[Rule]:
    """Returns what their tensors become.

    Args:
        scaled: whether features are divided by √D before they are scored.
    """
    width = config.model_dim**-0.5
    found = [
        Rule(
            r"(?:shared|(?:en|de)coder\.embed_tokens)\.weight",
            "embedding/table",
            _times(width),
        ),
        Rule(r"lm_head\.weight", "embedding/output", _times(width if scaled else 1.0)),
    ]
    for side, ours, thinking in (("encoder", "source", 1), ("decoder", "target", 2)):
        blocks = rf"{side}\.block\.(\d+)\.layer\."
        found += [
            Rule(
                rf"{side}\.block\.0\.layer\.0\.SelfAttention\."
                r"relative_attention_bias\.weight",
                f"{ours}_positions/table",
            ),
            Rule(rf"{side}\.final_layer_norm\.weight", f"{side}_norm/scale"),
        ]
        found += _sublayer(config, rf"{blocks}0\.", "SelfAttention", side, "self")
        if side == "decoder":
            found += _sublayer(
                config, rf"{blocks}1\.", "EncDecAttention", side, "cross"
            )
        dense = rf"{blocks}{thinking}\.DenseReluDense\."
        gated = {"wi_0": "gate", "wi_1": "up", "wo": "down"}
        plain = {"wi": "up", "wo": "down"}
        names = plain if config.feed_forward == "relu" else gated
        found += [
            Rule(rf"{dense}{name}\.weight", rf"{side}_\1/mlp/{our}/kernel", transpose)
            for name, our in names.items()
        ]
        norm = rf"{blocks}{thinking}\.layer_norm\.weight"
        found.append(Rule(norm, rf"{side}_\1/mlp_norm/scale"))
    return found


def _sublayer(
    config: T5Config, theirs: str, name: str, side: str, kind: str
) -> list[Rule]:
    """Returns the rules for an attention and the norm before it."""
    heads, ours = config.num_heads, rf"{side}_\1/{kind}_attention"
    query = _times(math.sqrt(config.head_dim), split_outputs(heads))
    transforms = {
        "q": ("query", query),
        "k": ("key", split_outputs(heads)),
        "v": ("value", split_outputs(heads)),
        "o": ("out", split_inputs(heads)),
    }
    return [
        Rule(rf"{theirs}layer_norm\.weight", f"{ours}_norm/scale"),
        *(
            Rule(
                rf"{theirs}{name}\.{letter}\.weight", f"{ours}/{our}/kernel", transform
            )
            for letter, (our, transform) in transforms.items()
        ),
    ]


def _times(factor: float, transform: Transform = np.asarray) -> Transform:
    return lambda array: transform(array * np.float32(factor))


def _is_scaled(directory: Directory) -> bool:
    """Returns whether features are divided by √D: in 1.0, or where it is said."""
    tied = directory.config.get("tie_word_embeddings", True)
    return directory.config.get("scale_decoder_outputs", tied) is not False
