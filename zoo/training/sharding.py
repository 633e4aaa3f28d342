"""Which part of every array lies on which device: all the rules there are.

A state is a tree, and every leaf of it has a path such as
`params/encoder/layers_0/attention/query/kernel`; the moments of an optimizer and
moving averages have the same last names, and so the same rule as their parameter.

- "whole": every device holds everything; only the rows of a batch are divided. All
  drivers divide those.
- "shards": every device holds a part of every array, and XLA gathers an array where it
  is used (Rajbhandari et al. 2020, "ZeRO", stage 3).
- "heads": devices are a table, data x model; those of a row hold all of a model
  between them, by heads and by units of the feed-forward network, so that each block
  needs one sum over the row for attention and one for feed-forward (Shoeybi et al.
  2019, "Megatron-LM", section 3).
"""

import math
import re
from collections.abc import Callable
from typing import Any

import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

from zoo.errors import InputError

DATA, MODEL = "data", "model"

# The end of a path, the number of its axes, and the axis that is cut: H or F.
HEADS = (
    (r"(query|key|value)/kernel", 3, 1),  # [D, H, E]
    (r"(query|key|value)/bias", 2, 0),  # [H, E]
    (r"out/kernel", 3, 0),  # [H, E, D]
    (r"(up|gate)/kernel", 2, 1),  # [D, F]
    (r"(up|gate)/bias", 1, 0),  # [F]
    (r"down/kernel", 2, 0),  # [F, D]
)
AnyMesh = Mesh | AbstractMesh
Rule = Callable[[str, tuple[int, ...], AnyMesh], PartitionSpec]


def whole(path: str, shape: tuple[int, ...], mesh: AnyMesh) -> PartitionSpec:
    """Returns that an array is copied to every device."""
    return PartitionSpec()


def shards(path: str, shape: tuple[int, ...], mesh: AnyMesh) -> PartitionSpec:
    """Returns that the longest axis is cut which divides by the devices, if one does.

    >>> mesh = jax.sharding.AbstractMesh((4,), ("data",))
    >>> tuple(shards("params/kernel", (8, 24, 3), mesh))
    (None, 'data')
    >>> tuple(shards("params/bias", (7,), mesh))
    ()
    """
    devices = mesh.shape[DATA]
    longest = max((size for size in shape if size % devices == 0), default=0)
    return _cut(shape.index(longest), DATA) if longest else PartitionSpec()


def heads(path: str, shape: tuple[int, ...], mesh: AnyMesh) -> PartitionSpec:
    """Returns that heads and units of a Transformer are cut, and all else is copied.

    Raises:
        InputError: they do not divide by the devices that share a model.
    """
    for end, num_axes, axis in HEADS:
        if len(shape) == num_axes and re.search(f"(^|/){end}$", path):
            if shape[axis] % mesh.shape[MODEL]:
                raise InputError(
                    f"{path}: {shape[axis]} heads or units do not divide by "
                    f"{mesh.shape[MODEL]} devices; change --training.model-devices"
                )
            return _cut(axis, MODEL)
    return PartitionSpec()


def _cut(axis: int, name: str) -> PartitionSpec:
    return PartitionSpec(*[None] * axis, name)


def shardings(rule: Rule, state: Any, mesh: Mesh) -> Any:
    """Returns where every array of a state lies."""

    def place(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        return NamedSharding(mesh, rule(name, leaf.shape, mesh))

    return jax.tree_util.tree_map_with_path(place, state)


def require_cut(placed: Any, mesh: Mesh) -> None:
    """Raises InputError if no array of a state is cut: the rule is for other models."""
    if all(leaf.is_fully_replicated for leaf in jax.tree.leaves(placed)):
        raise InputError(
            f"no array of this model can be cut over {math.prod(mesh.shape.values())} "
            "devices; use --training.driver jit with --training.model-devices 1"
        )
