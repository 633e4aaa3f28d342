"""Who the processes of a run on several hosts are: how they find each other.

Every process runs the same command. The launcher, the command line or the environment
says who they are, and JAX joins them. On one host all of this does nothing.

The coordinator trusts whoever can reach it: let it listen in a network of your own
(JAX_COORDINATOR_BIND_ADDRESS says where).
"""

import ipaddress
import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import jax

from zoo.errors import InputError
from zoo.training.config import HostsConfig

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
    except Exception as error:  # what finds the hosts raises errors of its own
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
        if said := [name for name in SETTINGS if settings[name] is not None]:
            raise InputError(
                f"{said[0]} is {settings[said[0]]}, but num_processes is not known; "
                f"{REMEDY}"
            )
        if index not in (None, "", "0"):
            raise InputError(
                f"JOB_COMPLETION_INDEX is {index}: Kubernetes has started several "
                f"pods; install jax[k8s], or {REMEDY}, or --hosts.num-processes 1 if "
                "each pod trains by itself"
            )
        return False
    return True


def _require_reachable(address: str | None, environment: Environment) -> None:
    """Raises InputError if this host would give others an address of its own only.

    On a CPU sums go over TCP, to the address that each host's own name stands for.
    """
    if not _computes_on_cpu(environment):
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


def _computes_on_cpu(environment: Environment) -> bool:
    """Returns whether JAX will find nothing better; asking it would start it."""
    if platforms := environment.get("JAX_PLATFORMS"):
        return platforms.split(",")[0] == "cpu"
    return not any(find_spec(name) for name in ("jax_plugins", "libtpu"))


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(socket.gethostbyname(name.strip("[]"))).is_loopback
    except (OSError, ValueError):
        return name.strip("[]") == "::1"
