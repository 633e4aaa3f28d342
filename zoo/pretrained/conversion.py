"""Weights of others under our names: rules that say what becomes what.

A family of models is a list of rules, which read like a table: their name, our path,
and what happens on the way. Whatever no rule names, whatever our model lacks and
whatever has the wrong shape is collected and told at once.
"""

import re
from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.errors import InputError

Transform = Callable[[np.ndarray], np.ndarray]
MOST_TOLD = 8  # names of each kind of fault
ALIGNMENT = 64  # bytes


def as_it_is(array: np.ndarray) -> np.ndarray:
    """Returns the same array."""
    return array


def transpose(array: np.ndarray) -> np.ndarray:
    """Returns [out, in] as [in, out]: torch's linear weights as Flax's kernel."""
    return array.T


def split_outputs(num_heads: int) -> Transform:
    """Returns [H E, D] to [D, H, E]: the kernel of queries, keys or values."""
    return lambda array: array.T.reshape(array.shape[1], num_heads, -1)


def split_inputs(num_heads: int) -> Transform:
    """Returns [D, H E] to [H, E, D]: the kernel of the output of heads."""
    return lambda array: array.T.reshape(num_heads, -1, array.shape[0])


def split_bias(num_heads: int) -> Transform:
    """Returns [H E] to [H, E]: the bias of queries, keys or values."""
    return lambda array: array.reshape(num_heads, -1)


@dataclass(frozen=True)
class Rule:
    r"""What becomes of the tensors of one name.

    Attributes:
        pattern: regular expression for the whole of their name.
        path: of our parameter, with slashes; \1 is the first group of the pattern.
        transform: from their array to ours.
    """

    pattern: str
    path: str
    transform: Transform = as_it_is


def attention_rules(theirs: str, ours: str, num_heads: int) -> list[Rule]:
    r"""Returns the rules for q_proj, k_proj, v_proj and out_proj of an attention.

    Args:
        theirs: pattern of what stands before these names, the dot included.
        ours: path of our attention; \1 is the first group of the pattern.
    """
    named = {"q_proj": "query", "k_proj": "key", "v_proj": "value"}
    rules = [
        Rule(
            rf"{theirs}out_proj\.weight", f"{ours}/out/kernel", split_inputs(num_heads)
        ),
        Rule(rf"{theirs}out_proj\.bias", f"{ours}/out/bias"),
    ]
    for name, our in named.items():
        rules += [
            Rule(
                rf"{theirs}{name}\.weight",
                f"{ours}/{our}/kernel",
                split_outputs(num_heads),
            ),
            Rule(rf"{theirs}{name}\.bias", f"{ours}/{our}/bias", split_bias(num_heads)),
        ]
    return rules


def linear_rules(theirs: str, ours: str) -> list[Rule]:
    """Returns the rules for weight and bias of a linear map."""
    return [
        Rule(rf"{theirs}\.weight", f"{ours}/kernel", transpose),
        Rule(rf"{theirs}\.bias", f"{ours}/bias"),
    ]


def norm_rules(theirs: str, ours: str) -> list[Rule]:
    """Returns the rules for weight and bias of a norm."""
    return [
        Rule(rf"{theirs}\.weight", f"{ours}/scale"),
        Rule(rf"{theirs}\.bias", f"{ours}/bias"),
    ]


def convert(
    weights: Mapping[str, np.ndarray],
    rules: Sequence[Rule],
    abstract_params: Any,
    *,
    ignored: Sequence[str] = (),
    where: str = "the weights",
) -> Any:
    """Returns the tree of parameters that the rules make of the weights.

    One tensor is read at a time. A parameter that has several names, because they tied
    it, may be stored under each, if the arrays are equal.

    Args:
        abstract_params: our tree, with shapes instead of arrays.
        ignored: patterns of names that we have no use for.
        where: what an error calls the weights.

    Raises:
        InputError: tensors are left over, missing, unlike where they are tied, of the
            wrong shape or of whole numbers; lists them all.
    """
    flat: dict[str, Any] = flatten_dict(abstract_params, sep="/")
    expected = {path: tuple(leaf.shape) for path, leaf in flat.items()}
    params, seen, wrong, unknown = {}, set(), [], []
    for name in sorted(weights):
        rule, path = _rule_of(name, rules)
        if rule is None and any(re.fullmatch(pattern, name) for pattern in ignored):
            continue
        if rule is None or path not in expected:
            unknown.append(name)
            continue
        seen.add(path)
        array = weights[name]
        if array.dtype.kind != "f":
            wrong.append(f"{name} is of {array.dtype}, and not of floating point")
            continue
        try:
            ours = rule.transform(array)
        except (ValueError, IndexError):
            ours = None
        if ours is None or ours.shape != expected[path]:
            wrong.append(
                f"{name} {list(array.shape)} for {path} {list(expected[path])}"
            )
        elif path not in params:
            params[path] = jax.device_put(_aligned(ours))
        elif not np.array_equal(params[path], ours):
            wrong.append(f"{name} differs from what it is tied to, {path}")
    _tell(
        where,
        {
            "left over": unknown,
            "missing": sorted(set(expected) - seen),
            "wrong": wrong,
        },
    )
    return unflatten_dict(params, sep="/")


def changed(
    weights: Mapping[str, np.ndarray], others: dict[str, np.ndarray]
) -> Mapping[str, np.ndarray]:
    """Returns tensors some of which are replaced or added; none is read for it."""
    return ChainMap(others, cast("dict[str, np.ndarray]", weights))


def abstract(init: Callable[[jax.Array], Any]) -> Any:
    """Returns the shapes of the parameters that a function would draw from a key."""
    return jax.eval_shape(init, jax.random.key(0))


def _rule_of(name: str, rules: Sequence[Rule]) -> tuple[Rule | None, str]:
    for rule in rules:
        if match := re.fullmatch(rule.pattern, name):
            return rule, match.expand(rule.path)
    return None, ""


def _aligned(array: np.ndarray) -> np.ndarray:
    """Returns a copy where XLA wants an array, so that JAX takes it without copies."""
    buffer = np.empty(array.nbytes + ALIGNMENT, np.uint8)
    first = -buffer.ctypes.data % ALIGNMENT
    copy = buffer[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _tell(where: str, faults: dict[str, list[str]]) -> None:
    """Raises InputError unless there are no faults."""
    told = []
    for kind, names in faults.items():
        if names:
            more = len(names) - MOST_TOLD
            rest = f" and {more} more" if more > 0 else ""
            told.append(f"{len(names)} {kind}: {', '.join(names[:MOST_TOLD])}{rest}")
    if told:
        raise InputError(
            f"{where}: not the parameters that config.json describes; "
            f"{'; '.join(told)}; download the directory again"
        )
