"""Drivers: what runs the one pure step on the devices of a machine.

All drivers take the step that one device would take. `Jitted` is the default: one
program over a mesh whose only axis is the data, in which XLA adds up what the shards
have. `Pmapped` runs one program a device and adds up by name, as TPU code was written
for years; it stays because such code is still about.
"""

from typing import Any, Literal, Protocol, runtime_checkable

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from zoo.training.step import Batch, Step, TrainState

AXIS = "data"


@runtime_checkable
class Driver(Protocol):
    """What the training loop asks of whatever runs its steps."""

    def place(self, state: TrainState) -> TrainState:
        """Spreads one copy of a state over the devices."""
        ...

    def split(self, batch: dict[str, np.ndarray]) -> Batch:
        """Gives every device its rows of a batch."""
        ...

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        """Takes one update, consuming the state; returns the next and metrics."""
        ...

    def gather(self, state: TrainState) -> TrainState:
        """Returns one copy of the state, to save or to evaluate."""
        ...


class Jitted:
    """Runs the step under `jax.jit`, the rows of a batch sharded over the devices."""

    def __init__(self, step: Step, devices: list[jax.Device] | None = None):
        devices = devices or jax.local_devices()
        mesh = jax.make_mesh(
            (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )
        self._whole = NamedSharding(mesh, PartitionSpec())
        self._rows = NamedSharding(mesh, PartitionSpec(AXIS))
        self._step = jax.jit(
            step,
            in_shardings=(self._whole, self._rows),
            out_shardings=(self._whole, self._whole),
            donate_argnums=0,
        )

    def place(self, state: TrainState) -> TrainState:
        """Copies the state to every device."""
        # A copy, because the first step consumes it, and the caller keeps the original.
        return jax.device_put(jax.tree.map(np.array, state), self._whole)

    def split(self, batch: dict[str, np.ndarray]) -> Batch:
        """Gives each device its rows; their number is a multiple of the devices'."""
        return jax.device_put(batch, self._rows)

    def step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Any]:
        """Takes one update; the old state's buffers are reused for the new one's."""
        return self._step(state, batch)

    def gather(self, state: TrainState) -> TrainState:
        """Returns the state, whose every device holds the whole."""
        return state


class Pmapped:
    """Runs the step under `jax.pmap`, one shard of the batch on each device."""

    def __init__(self, step: Step, devices: list[jax.Device] | None = None):
        devices = devices or jax.local_devices()
        self._num_devices = len(devices)
        mesh = jax.make_mesh(
            (len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )
        self._first_axis = NamedSharding(mesh, PartitionSpec(AXIS))
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
        """Returns the first device's copy."""
        return jax.tree.map(lambda leaf: leaf.addressable_shards[0].data[0], state)


def make_driver(
    name: Literal["jit", "pmap"], step: Step, devices: list[jax.Device] | None = None
) -> Driver:
    """Returns the driver of that name over the given devices, or all local ones."""
    return {"jit": Jitted, "pmap": Pmapped}[name](step, devices)
