"""Evaluation and decoding on many devices: each does its rows, with all parameters.

What comes of a row depends on no other row. Devices need tell each other nothing until
what they have found is gathered: a search of which one device is ready waits for no
other one before its end. Which devices there are is where the parameters lie, so that
whoever has parameters on one device notices nothing of this.

Of several hosts all make the same calls with all the rows, and all get what is found.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def on_all_devices(params: Any) -> Any:
    """Returns parameters copied to every device of every host, if there are several."""
    devices = np.array(jax.devices())
    if devices.size == 1:
        return params
    mesh = Mesh(devices, ("data",), axis_types=(AxisType.Auto,))
    return _put(params, NamedSharding(mesh, PartitionSpec()))


def mesh_of(params: Any) -> Mesh | None:
    """Returns the devices that hold parameters between them, None if it is one."""
    for leaf in jax.tree.leaves(params):
        sharding = getattr(leaf, "sharding", None)
        mesh = getattr(sharding, "mesh", None)
        if isinstance(mesh, Mesh) and mesh.size > 1:
            return mesh
    return None


def divide(params: Any, batch: Any) -> Any:
    """Returns a batch whose rows lie as those of training do, beside the parameters.

    For what XLA adds up over the devices, such as a loss: parameters in parts stay so.

    Args:
        batch: arrays whose rows are a multiple of the devices.
    """
    mesh = mesh_of(params)
    if mesh is None:
        return batch
    return _put(batch, NamedSharding(mesh, PartitionSpec(mesh.axis_names[0])))


def by_rows(compute: Callable[..., Any], mesh: Mesh | None) -> Callable[..., Any]:
    """Returns ``compute(params, rows, *rest)``, of which each device does a part.

    The first axis of `rows`, and of all that is returned, is that of the rows. Every
    device holds all parameters meanwhile, in however many parts they lie.

    Args:
        mesh: as `mesh_of` gives it.
    """
    if mesh is None:
        return jax.jit(compute)
    whole, own = PartitionSpec(), PartitionSpec(mesh.axis_names)

    def divided(params, rows, *rest):
        specs = whole, own, *[whole] * len(rest)
        each = jax.shard_map(
            compute, mesh=mesh, in_specs=specs, out_specs=own, check_vma=False
        )
        return each(params, rows, *rest)

    compiled = jax.jit(divided)

    def found(params, rows, *rest):
        number = len(jax.tree.leaves(rows)[0])
        # Repeated rather than padded: a search for nothing might never end.
        places = np.minimum(np.arange(number + -number % mesh.size), number - 1)
        rows = jax.tree.map(lambda leaf: np.asarray(leaf)[places], rows)
        rows = _put(rows, NamedSharding(mesh, own))
        # Outside of the program, in which who is ready would wait for the others.
        found = process_allgather(compiled(params, rows, *rest), tiled=True)
        return jax.tree.map(lambda leaf: leaf[:number], found)

    return found


def _put(tree: Any, sharding: NamedSharding) -> Any:
    """Returns arrays that every host has, where they belong."""

    def put(leaf):
        leaf = np.asarray(leaf)
        return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)

    return jax.tree.map(put, tree)
