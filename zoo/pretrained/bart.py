"""BART, mBART-50 and M2M100 (NLLB-200 among them) as Hugging Face keeps them.

Marian's names, and some more. The weights of BART are Apache-2.0, of mBART-50 and
M2M100 MIT, of NLLB-200 CC-BY-NC 4.0. Sentences of models of many languages begin with
their language, on both sides; mBART of 25 languages, where it comes last, is refused.
"""

from collections import ChainMap
from functools import partial
from typing import Any, cast

import numpy as np

from zoo.catalogue import build
from zoo.data.language_tokens import LanguageTokens
from zoo.models.configs import BartConfig, M2M100Config, MBartConfig
from zoo.models.contract import initialize
from zoo.models.transformer import Transformer
from zoo.pretrained import marian
from zoo.pretrained.bart_tokens import load_tokenizer
from zoo.pretrained.conversion import Rule, abstract, convert, norm_rules
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import choose, integer, layers, rate, require, token

ACTIVATIONS = {"relu": "relu", "gelu": "gelu"}
BIAS = "final_logits_bias"
# Their tables of positions begin with two rows that stand for none.
UNUSED = 2
START = r"(?:model\.)?"
# The sinusoids are ours.
IGNORED = [rf"{START}(?:en|de)coder\.(?:embed_positions\.weights?|version)"]


def load(directory: Directory) -> tuple[Transformer, Any, LanguageTokens]:
    """Returns (model, params, tokenizer) of a directory.

    Raises:
        InputError: the directory is damaged, or our Transformer cannot express it.
    """
    tokenizer = load_tokenizer(directory)
    return *load_weights(directory), tokenizer


def load_weights(directory: Directory) -> tuple[Transformer, Any]:
    """Returns (model, params), without the tokenizer.

    Raises:
        InputError: the directory is damaged, or our Transformer cannot express it.
    """
    config, weights = config_of(directory), directory.weights()
    model = cast("Transformer", build(config))
    if BIAS not in weights:
        zeros = {BIAS: np.zeros(config.vocab_size, np.float32)}
        weights = ChainMap(zeros, cast("dict[str, np.ndarray]", weights))
    params = convert(
        weights,
        rules(config),
        abstract(partial(initialize, model)),
        ignored=IGNORED,
        where=str(directory.root),
    )
    return model, params


def longest(directory: Directory) -> int:
    """Returns the longest sentence that the model was made for, its end counted."""
    return integer(directory, "max_position_embeddings")


def config_of(directory: Directory) -> BartConfig | M2M100Config:
    """Returns the configuration of a directory's model.

    Raises:
        InputError: our Transformer cannot express it.
    """
    kind = directory.config["model_type"]
    make = {"bart": BartConfig, "mbart": MBartConfig, "m2m_100": M2M100Config}[kind]
    is_scaled = kind != "bart"
    require(directory, "scale_embedding", is_scaled, default=kind == "m2m_100")
    require(directory, "tie_word_embeddings", True, default=True)
    number = partial(integer, directory)
    for name in ("attention_heads", "ffn_dim"):
        require(directory, f"decoder_{name}", number(f"encoder_{name}"))
    if kind != "bart":
        # mBART of 25 languages begins to write with the language instead.
        require(directory, "decoder_start_token_id", number("eos_token_id"))
    learned = {"max_positions": longest(directory)} if kind != "m2m_100" else {}
    return make(
        **learned,
        vocab_size=number("vocab_size"),
        num_layers=layers(directory, "encoder_layers"),
        num_decoder_layers=layers(directory, "decoder_layers"),
        model_dim=number("d_model"),
        mlp_dim=number("encoder_ffn_dim"),
        num_heads=number("encoder_attention_heads"),
        activation=choose(directory, "activation_function", ACTIVATIONS),
        dropout_rate=rate(directory, "dropout"),
        attention_dropout_rate=rate(directory, "attention_dropout"),
        pad_id=token(directory, "pad_token_id"),
        start_id=token(directory, "decoder_start_token_id"),
        eos_id=token(directory, "eos_token_id"),
    )


def rules(config: BartConfig | M2M100Config) -> list[Rule]:
    """Returns what their tensors become."""
    found = marian.rules(config.num_heads, START)
    for side, ours in (("encoder", "source"), ("decoder", "target")):
        theirs = rf"{START}{side}\."
        found += norm_rules(rf"{theirs}layernorm_embedding", f"{ours}_norm")
        found += norm_rules(rf"{theirs}layer_norm", f"{side}_norm")
        if isinstance(config, BartConfig):
            found.append(
                Rule(
                    rf"{theirs}embed_positions\.weight",
                    f"{ours}_positions/table",
                    lambda table: table[UNUSED:],
                )
            )
    return found
