"""BART, mBART-50 and M2M100 (NLLB-200 among them) as Hugging Face keeps them.

Marian's names, and some more. The weights of BART are Apache-2.0, of mBART-50 and
M2M100 MIT, of NLLB-200 CC-BY-NC 4.0. Sentences of models of many languages begin with
their language, on both sides; mBART of 25 languages, where it comes last, is refused.
"""

from functools import partial
from typing import Any, cast

import numpy as np

from zoo.catalogue import build
from zoo.models.configs import BartConfig, M2M100Config, MBartConfig
from zoo.models.contract import initialize
from zoo.models.transformer import Transformer
from zoo.pretrained import marian
from zoo.pretrained.bart_tokens import (
    load_tokenizer as load_tokenizer,
)  # of this family
from zoo.pretrained.conversion import Rule, abstract, changed, convert, norm_rules
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import flag, integer, require

ACTIVATIONS = {"relu": "relu", "gelu": "gelu"}
BIAS = "final_logits_bias"
# Their tables of positions begin with two rows that stand for none.
UNUSED = 2
START = r"(?:model\.)?"
# The sinusoids are ours.
IGNORED = [rf"{START}(?:en|de)coder\.(?:embed_positions\.weights?|version)"]


def load_weights(directory: Directory) -> tuple[Transformer, Any]:
    """Returns (model, params), without the tokenizer.

    Raises:
        InputError: the directory is damaged, or our Transformer cannot express it.
    """
    config, weights = config_of(directory), directory.weights()
    model = cast("Transformer", build(config))
    if BIAS not in weights:
        zeros = {BIAS: np.zeros(config.vocab_size, np.float32)}
        weights = changed(weights, zeros)
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
    kind, size = directory.config["model_type"], integer(directory, "vocab_size")
    if kind != "bart":
        # mBART of 25 languages begins to write with the language instead.
        require(directory, "decoder_start_token_id", integer(directory, "eos_token_id"))
    shared = marian.shared_fields(directory, ACTIVATIONS)
    if kind == "m2m_100":
        require(directory, "scale_embedding", True, default=True)
        return M2M100Config(**shared, vocab_size=size)
    return (BartConfig if kind == "bart" else MBartConfig)(
        **shared,
        vocab_size=size,
        max_positions=longest(directory),
        scaled=flag(directory, "scale_embedding", False),
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
