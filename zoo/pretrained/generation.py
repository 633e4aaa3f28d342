"""How others search: what generation_config.json, or an older config.json, says."""

from typing import Any

from zoo.errors import InputError
from zoo.pretrained.directory import Directory
from zoo.translation.options import Defaults


def search_defaults(directory: Directory) -> Defaults:
    """Returns what a directory says of the search.

    Their maximum length counts the start token, ours does not. What they have beyond
    ours (early stopping, sampling) is left out.

    Raises:
        InputError: a value is not of its kind, or bans several tokens in a row.
    """
    values = dict(directory.config)
    name = "config.json"
    if directory.has("generation_config.json"):
        name = "generation_config.json"
        values |= directory.read_json(name)

    def number(key: str, kind: type, default: Any) -> Any:
        value = values.get(key)
        if value is None:
            return default
        if not isinstance(value, (int, kind)) or isinstance(value, bool):
            raise InputError(f"{directory.root / name}: {key} is {value!r}")
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
    longest = number("max_length", int, None)
    return Defaults(
        beam_size=number("num_beams", int, 1),
        length_penalty=float(number("length_penalty", float, 1.0)),
        max_length=None if longest is None else longest - 1,
        banned=tuple(word[0] for word in banned),
        forced_end=values.get("forced_eos_token_id") is not None,
    )
