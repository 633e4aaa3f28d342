"""Descriptions of data as JSON: the name of their kind, and their fields."""

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

from zoo.errors import InputError, unknown


def kind_to_json(data: Any) -> dict[str, Any]:
    """Returns the fields of a description, and its class by name as "kind"."""
    return {"kind": type(data).__name__, **asdict(data)}


def kind_from_json(values: dict[str, Any], union: Any) -> Any:
    """Returns the data that `kind_to_json` wrote.

    Args:
        union: of the kinds that it may be.

    Raises:
        InputError: there is no such kind of data, or it has no such field.
    """
    kinds = {kind.__name__: kind for kind in get_args(union)}
    values = dict(values)
    name = str(values.pop("kind", None))
    if name not in kinds:
        raise unknown("kind of data", name, kinds)
    types = {field.name: field.type for field in fields(kinds[name])}
    for key, value in values.items():
        if key not in types:
            raise unknown(f"field of {name}", key, types)
        values[key] = _from_json(value, types[key])
    try:
        return kinds[name](**values)
    except TypeError as error:  # a comparison of what cannot be compared
        raise InputError(f"{name} with a field of a wrong type: {error}") from None


def _from_json(value: Any, kind: Any) -> Any:
    """Returns a value of a field as its type has it; JSON knows no paths or tuples."""
    if value is not None and kind in (Path, Path | None):
        return Path(value)
    return tuple(value) if isinstance(value, list) else value
