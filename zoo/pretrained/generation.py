"""How others search: what generation_config.json, or an older config.json, says."""

import math
from typing import Any

import jax.numpy as jnp

from zoo.errors import InputError
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import target_size
from zoo.translation.options import Defaults

HOPELESS = -1e9  # the bias of a token that is never written
# The same for training, where smooth labels take the mean of all logits.
UNLIKELY = -30.0


def without_padding(params: Any, pad_id: int, bias: float = HOPELESS) -> Any:
    """Returns parameters under which padding has next to no probability.

    The conversion of Marian's models gave padding a row of zeros and no bias, so that
    its logit, 0, would take its share of the softmax. Hugging Face renormalises the
    probabilities without it, and CTranslate2 leaves the row out. A model without a bias
    on its output, such as T5, comes back as it is.
    """
    embedding = params["embedding"]
    if "bias" not in embedding:
        return params
    changed = jnp.asarray(embedding["bias"]).at[pad_id].set(bias)
    return {**params, "embedding": {**embedding, "bias": changed}}


def settings(directory: Directory) -> tuple[str, dict[str, Any]]:
    """Returns the file that says how to search, and what it says."""
    newer = "generation_config.json"
    name = newer if directory.has(newer) else "config.json"
    return name, directory.read_json(name)


def search_defaults(directory: Directory) -> Defaults:
    """Returns what a directory says of the search.

    Their maximum length counts the start token, ours does not; their minimum counts it
    in place of the end, which is the same number. What they have beyond ours (early
    stopping, sampling) is left out.

    Raises:
        InputError: a value is not of its kind, or bans several tokens in a row,
            or one that is not there.
    """
    name, values = settings(directory)

    def number(key: str, kind: type, default: Any, least: float = -math.inf) -> Any:
        value = values.get(key)
        if value is None:
            return default
        if (
            not isinstance(value, (int, kind))
            or isinstance(value, bool)
            or not least <= value < 2**31
        ):
            raise InputError(
                f"{directory.root / name}: {key} is {str(value)[:80]}, which is no "
                "number that a search can take"
            )
        return value

    banned = values.get("bad_words_ids") or []
    if not isinstance(banned, list) or not all(
        isinstance(word, list) and len(word) == 1 and type(word[0]) is int
        for word in banned
    ):
        raise InputError(
            f"{directory.root / name}: bad_words_ids is {str(banned)[:80]}, but only "
            "single tokens can be banned"
        )
    vocab_size = target_size(directory)
    if not all(0 <= token < vocab_size for (token,) in banned):
        raise InputError(
            f"{directory.root / name}: bad_words_ids is {str(banned)[:80]}, but the "
            f"vocabulary has {vocab_size} tokens"
        )
    longest = number("max_length", int, None, least=2)
    return Defaults(
        beam_size=number("num_beams", int, 1, least=1),
        length_penalty=float(number("length_penalty", float, 1.0)),
        max_length=None if longest is None else longest - 1,
        banned=tuple(word[0] for word in banned),
        forced_end=values.get("forced_eos_token_id") is not None,
        min_length=number("min_length", int, 0, least=0),
        no_repeated_ngram=number("no_repeat_ngram_size", int, 0, least=0),
    )
