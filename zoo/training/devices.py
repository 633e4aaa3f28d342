"""Drivers: what runs the one pure step on the devices of a machine, or of several.

All drivers take the step that one device would take. `Jitted` is the default: one
program over a table of devices, in which XLA adds up what the shards have; what part of
the state each device holds is for `zoo.training.sharding` to say. `Pmapped` runs one
program a device and adds up by name, as TPU code was written for years; it stays
because such code is still about.
"""

from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zoo.errors import InputError
from zoo.training.sharding import (
    DATA,
    MODEL,
    Rule,
    heads,
    require_cut,
    shardings,
    shards,
    whole,
)
from zoo.training.step import Batch, Step, TrainState

AXIS = DATA


@runtime_checkable
class Driver(Protocol):
    """What the training loop asks of whatever runs its steps."""

    def place(self, state: TrainState) -> TrainState:
        """Spreads one copy of a state over the devices."""
        ...

    def split(self, batch: dict[str, np.ndarray]) -> Batch:
        """Gives every device its rows of a batch, of which each host has its own."""
        ...

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        """Takes one update, consuming the state; returns the next and metrics."""
        ...

    def gather(self, state: TrainState) -> TrainState:
        """Returns the state in arrays of its own shapes, to save or to evaluate."""
        ...


class Jitted:
    """Runs the step under `jax.jit`, the rows of a batch sharded over the devices.

    Args:
        rule: what part of the state a device holds.
        model_devices: devices that share one copy of the model.
    """

    def __init__(
        self,
        step: Step,
        devices: list[jax.Device] | None = None,
        *,
        rule: Rule = whole,
        model_devices: int = 1,
    ):
        # By host, so that the rows of a host are one block of the batch.
        by_host = sorted(jax.devices(), key=lambda one: (one.process_index, one.id))
        devices = devices or by_host
        if len(devices) // jax.process_count() % model_devices:
            raise InputError(
                f"{len(devices) // jax.process_count()} devices do not divide by "
                f"{model_devices}; change --training.model-devices"
            )
        self._mesh = Mesh(
            np.reshape(devices, (-1, model_devices)),
            (DATA, MODEL),
            axis_types=(AxisType.Auto,) * 2,
        )
        self._rule = rule
        self._whole = NamedSharding(self._mesh, PartitionSpec())
        self._rows = NamedSharding(self._mesh, PartitionSpec(DATA))
        self._pure_step = step

    def place(self, state: TrainState) -> TrainState:
        """Gives every device its part of the state.

        Raises:
            InputError: the rule cuts nothing of this model, or not evenly.
        """
        placed = shardings(self._rule, state, self._mesh)
        if self._rule is not whole and self._mesh.size > 1:
            require_cut(placed, self._mesh)
        self._step = jax.jit(
            self._pure_step,
            in_shardings=(placed, self._rows),
            out_shardings=(placed, self._whole),
            donate_argnums=0,
        )

        def put(leaf, sharding):
            # A copy: the first step consumes it, and the caller keeps the original.
            leaf = np.array(leaf)
            return jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__)

        return jax.tree.map(put, state, placed)

    def split(self, batch: dict[str, np.ndarray]) -> Batch:
        """Gives each device its rows; their number is a multiple of the devices'."""
        return jax.make_array_from_process_local_data(self._rows, batch)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        """Takes one update; the old state's buffers are reused for the new one's."""
        return self._step(state, batch)

    def gather(self, state: TrainState) -> TrainState:
        """Returns the state, which the devices of all hosts hold between them."""
        return state


class Pmapped:
    """Runs the step under `jax.pmap`, one shard of the batch on each device."""

    def __init__(self, step: Step, devices: list[jax.Device] | None = None):
        if jax.process_count() > 1:
            raise ValueError("pmap is for one host; use jit or sharded")
        devices = devices or jax.local_devices()
        self._num_devices = len(devices)
        mesh = jax.make_mesh(
            (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )
        self._first_axis = NamedSharding(mesh, PartitionSpec(AXIS))
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._step = jax.pmap(
            lambda state, batch: step(state, batch, AXIS),
            axis_name=AXIS,
            out_axes=(0, None),
            devices=devices,
            donate_argnums=0,
        )

    def place(self, state: TrainState) -> TrainState:
        """Copies the state to every device, under a new first axis."""

        def copies(leaf):
            leaf = np.asarray(leaf)
            stacked = np.broadcast_to(leaf, (self._num_devices, *leaf.shape))
            return jax.device_put(stacked, self._first_axis)

        return jax.tree.map(copies, state)

    def split(self, batch: dict[str, np.ndarray]) -> Batch:
        """Gives each device its rows, [B, …] to [devices, B / devices, …]."""
        return {
            name: jax.device_put(
                rows.reshape(self._num_devices, -1, *rows.shape[1:]), self._first_axis
            )
            for name, rows in batch.items()
        }

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        """Takes one update; the old state's buffers are reused for the new one's."""
        return self._step(state, batch)

    def gather(self, state: TrainState) -> TrainState:
        """Returns the copies of all devices as one, without their axis."""

        def as_one(leaf):
            copies = [shard.data[0] for shard in leaf.addressable_shards]
            return jax.make_array_from_single_device_arrays(
                leaf.shape[1:], self._whole, copies
            )

        return jax.tree.map(as_one, state)


def make_driver(
    name: Literal["jit", "pmap", "sharded"],
    step: Step,
    devices: list[jax.Device] | None = None,
    *,
    model_devices: int = 1,
) -> Driver:
    """Returns the driver of that name over the given devices, or all of all hosts."""
    if name == "pmap":
        return Pmapped(step, devices)
    if name == "sharded":
        return Jitted(step, devices, rule=shards)
    if model_devices > 1:
        return Jitted(step, devices, rule=heads, model_devices=model_devices)
    return Jitted(step, devices)
