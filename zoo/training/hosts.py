"""The processes of a run on several hosts: how they find each other, and agree.

Every process runs the same command. JAX joins them and finds out about a host that is
lost; the launcher, the command line or the environment says who they are. The first
process evaluates, writes the records and finishes checkpoints, and the others wait for
it. On one host all of this does nothing.

The coordinator trusts whoever can reach it: let it listen in a network of your own
(JAX_COORDINATOR_BIND_ADDRESS says where).
"""

import hashlib
import ipaddress
import itertools
import json
import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from zoo.data.loading import Share
from zoo.errors import InputError
from zoo.training.config import HostsConfig
from zoo.training.stopping import exit_if, stop_signals

Result = TypeVar("Result")
Environment = Mapping[str, str]

# In which srun, mpirun and mpiexec count the tasks of one start. Slurm sets
# SLURM_NTASKS in a batch script too, which is one process; a step is what srun starts.
LAUNCHERS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")
SETTINGS = {
    "coordinator_address": "JAX_COORDINATOR_ADDRESS",
    "num_processes": "JAX_NUM_PROCESSES",
    "process_id": "JAX_PROCESS_ID",
}
REMEDY = (
    "give --hosts.coordinator-address HOST:PORT, --hosts.num-processes and "
    "--hosts.process-id to each"
)
WAIT_SECONDS = 7 * 86_400  # for the first host; one that is lost is noticed sooner
NAME_BYTES = 64


def join(config: HostsConfig, environment: Environment | None = None) -> bool:
    """Joins the other processes of this run; returns whether there are any.

    Must come before anything is computed.

    Args:
        environment: variables by name; None takes those of this process.

    Raises:
        InputError: what the launcher, the command line and JAX say does not fit
            together, or other hosts could not reach this one.
    """
    environment = os.environ if environment is None else environment
    settings, tasks = _settings(config, environment), _tasks(environment)
    if not _has_several(config, settings, tasks, environment):
        return False
    _require_reachable(settings["coordinator_address"], environment)
    try:
        jax.distributed.initialize(
            **settings, heartbeat_timeout_seconds=config.heartbeat_seconds
        )
    except (ValueError, RuntimeError, OSError) as error:
        line = str(error).partition("\n")[0]
        raise InputError(f"the hosts cannot be joined: {line}; {REMEDY}") from error
    found = jax.process_count()
    if tasks and tasks != found:
        raise InputError(
            f"the launcher says {tasks} tasks, and JAX sees {found}; {REMEDY}"
        )
    return found > 1


def _settings(config: HostsConfig, environment: Environment) -> dict[str, Any]:
    """Returns who is who, as far as the command line or the environment says it."""
    settings = {name: getattr(config, name) for name in SETTINGS}
    for name, variable in SETTINGS.items():
        value = environment.get(variable)
        if settings[name] is None and value:
            number = name != "coordinator_address"
            settings[name] = _number(variable, value) if number else value
    number, place = settings["num_processes"], settings["process_id"]
    if number is not None and number < 1:
        raise InputError(f"num_processes is {number}, but must be at least 1")
    if number is not None and place is not None and not 0 <= place < number:
        raise InputError(
            f"process_id is {place}, but must be from 0 to {number - 1}, as "
            f"num_processes is {number}"
        )
    address = settings["coordinator_address"]
    if address is not None and not address.rpartition(":")[2].isdecimal():
        raise InputError(f"coordinator_address is {address}, but must be HOST:PORT")
    return settings


def _tasks(environment: Environment) -> int | None:
    """Returns how many tasks a launcher says there are, None if none says it."""
    found = [
        _number(name, value) for name in LAUNCHERS if (value := environment.get(name))
    ]
    workers = environment.get("TPU_PROCESS_ADDRESSES")
    workers = workers or environment.get("TPU_WORKER_HOSTNAMES")
    if workers:
        slices = environment.get("MEGASCALE_NUM_SLICES") or "1"
        found.append(len(workers.split(",")) * _number("MEGASCALE_NUM_SLICES", slices))
    return max(found, default=None)


def _number(name: str, value: str) -> int:
    if not value.isdecimal():
        raise InputError(f"{name} is {value!r}, but must be a whole number")
    return int(value)


def _has_several(
    config: HostsConfig,
    settings: dict[str, Any],
    tasks: int | None,
    environment: Environment,
) -> bool:
    """Returns whether there are others to be joined, or JAX is to find it out.

    Raises:
        InputError: there seem to be others, but not all is known about them.
    """
    number = settings["num_processes"]
    if number is not None:
        if tasks and tasks != number:
            raise InputError(
                f"the launcher says {tasks} tasks, and num_processes is {number}; give "
                "the same number, or start one task"
            )
        if number == 1:
            return False
    index = environment.get("JOB_COMPLETION_INDEX")
    if config.detect or (index is not None and find_spec("kubernetes")):
        return True
    if number is None and (tasks or 1) == 1:
        if index not in (None, "", "0"):
            raise InputError(
                f"JOB_COMPLETION_INDEX is {index}: Kubernetes has started several "
                f"pods; install jax[k8s], or {REMEDY}"
            )
        return False
    known = "OMPI_MCA_orte_hnp_uri" in environment or "SLURM_PROCID" in environment
    known |= "TPU_WORKER_HOSTNAMES" in environment
    known |= "TPU_PROCESS_ADDRESSES" in environment
    missing = [name for name in SETTINGS if settings[name] is None]
    if missing and not known:
        raise InputError(
            f"there are {number or tasks} processes, but {' and '.join(missing)} is "
            f"not known; {REMEDY}"
        )
    return True


def _require_reachable(address: str | None, environment: Environment) -> None:
    """Raises InputError if this host would give others an address of its own only.

    On a CPU sums go over TCP, to the address that each host's own name stands for.
    """
    if environment.get("JAX_PLATFORMS", "cpu").split(",")[0] != "cpu":
        return
    size = environment.get("OMPI_COMM_WORLD_SIZE")
    if environment.get("SLURM_STEP_NUM_NODES") == "1" or (
        size and environment.get("OMPI_COMM_WORLD_LOCAL_SIZE") == size
    ):
        return
    if address is not None and _is_loopback(address.rpartition(":")[0]):
        return  # all processes are on this machine
    name = socket.gethostname()
    if _is_loopback(name):
        raise InputError(
            f"the name of this host, {name}, stands for a loopback address, where "
            "other hosts cannot reach it; give its own address in /etc/hosts, or set "
            "JAX_PLATFORMS to cuda or tpu, which do not use it"
        )


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(name.strip("[]"))).is_loopback
    except (OSError, ValueError):
        return name.strip("[]") == "::1"


def is_first() -> bool:
    """Returns whether this process evaluates and writes records."""
    return jax.process_index() == 0


def own_share() -> Share:
    """Returns which rows of every batch this host makes."""
    return Share(jax.process_index(), jax.process_count())


def fingerprint_of_arrays(tree: Any) -> str:
    """Returns a digest of the arrays of a tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.asarray(leaf).tobytes())
    return digest.hexdigest()


def fingerprint(value: Any) -> str:
    """Returns a digest of what JSON can hold, equal for equal values.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def agree(what: str, digest: Callable[[], str]) -> None:
    """Does nothing if all hosts have the same of something; all must ask.

    Args:
        what: what is compared, for a message.
        digest: returns that of what this host has, in hexadecimal.

    Raises:
        InputError: on every host, with the names of two that differ.
    """
    if jax.process_count() == 1:
        return
    name = socket.gethostname().encode()[:NAME_BYTES].ljust(NAME_BYTES)
    rows = multihost_utils.process_allgather(
        np.frombuffer(name + bytes.fromhex(digest()), np.uint8)
    )
    require_same(what, [bytes(row.astype(np.uint8)) for row in rows])


def require_same(what: str, rows: Sequence[bytes]) -> None:
    """Raises InputError if the digests behind the names of some hosts differ."""
    names = [row[:NAME_BYTES].decode(errors="replace").strip() for row in rows]
    digests = [row[NAME_BYTES:].hex()[:12] for row in rows]
    for place, digest in enumerate(digests):
        if digest != digests[0]:
            raise InputError(
                f"the hosts disagree on the {what}: process 0 ({names[0]}) has "
                f"{digests[0]}, process {place} ({names[place]}) has {digest}; give "
                f"all of them the same {what}"
            )


def wait_for_all(name: str) -> None:
    """Returns when every host has come to this point.

    The hosts wait outside of any program, which would give up sooner.
    """
    barrier = multihost.get_barrier_sync_fn()
    barrier(key=f"zoo/{name}", timeout_ms=1_000 * WAIT_SECONDS)


def by_first(name: str, work: Callable[[], Result]) -> Result | None:
    """Returns what the first host's work returns, None on others, when it is done."""
    done = work() if is_first() else None
    wait_for_all(name)
    return done


def number_of_first(number: float) -> float:
    """Returns a number of the first host on all of them, as float32; all must ask."""
    if jax.process_count() == 1:
        return number
    return float(multihost_utils.broadcast_one_to_all(np.float32(number)))


def local_copy(tree: Any) -> Any:
    """Returns arrays that this host can compute with alone; all must ask."""
    if jax.process_count() == 1:
        return tree
    device = jax.local_devices()[0]

    def copy(leaf):
        whole = multihost_utils.process_allgather(leaf, tiled=True)
        return jax.device_put(whole, device)

    return jax.tree.map(copy, tree)


@contextmanager
def stop_requests() -> Iterator[tuple[Sequence[int], Callable[[], None]]]:
    """Collects signals to stop; gives them, and what to call after each update.

    On one host that does nothing. On several a signal to any of them reaches all of
    them, each between the same two updates, so that they save the same step; JAX has
    SIGTERM for this, and Ctrl-C is turned into it.

    Raises:
        SystemExit: as `stop_signals`.
    """
    if jax.process_count() == 1:
        with stop_signals() as received:
            yield received, lambda: None
        return
    received, interrupted, updates = [], [], itertools.count()

    def interrupt(number, frame):
        if interrupted:
            os._exit(128 + number)
        interrupted.append(number)
        os.kill(os.getpid(), signal.SIGTERM)

    def poll():
        # Not the step: a run that goes back comes to a step twice.
        if multihost_utils.reached_preemption_sync_point(next(updates)):
            received.append((interrupted or [signal.SIGTERM])[0])

    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        yield received, poll
    finally:
        signal.signal(signal.SIGINT, previous)
    exit_if(received)
