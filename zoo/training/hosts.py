"""Which launcher has started this process, and how many tasks it says there are.

A run trains on one host so far. A launcher that starts several tasks would start as
many runs, each of which believes that it is alone, so this is refused before anything
is read or written.
"""

import os
from collections.abc import Mapping

from zoo.errors import InputError

# The variable of the launcher that counts the tasks of one start. Slurm sets
# SLURM_NTASKS in a batch script too, which is one process; a step is what srun starts.
LAUNCHERS = {
    "JAX_NUM_PROCESSES": "this environment",
    "SLURM_STEP_NUM_TASKS": "srun",
    "OMPI_COMM_WORLD_SIZE": "mpirun",
    "PMI_SIZE": "mpiexec",
}
REMEDY = "but a run trains on one host; start one task, with all its devices"


def require_one_task(environment: Mapping[str, str] | None = None) -> None:
    """Does nothing if this process is the only one of its run.

    Args:
        environment: variables by name; None takes those of this process.

    Raises:
        InputError: a launcher has started several, or says no number.
    """
    environment = os.environ if environment is None else environment
    for name, launcher in LAUNCHERS.items():
        tasks = environment.get(name) or "1"
        if tasks != "1":
            raise InputError(
                f"{name} is {tasks}: {launcher} has started so many tasks, {REMEDY}"
            )
    hosts = environment.get("TPU_WORKER_HOSTNAMES", "")
    if "," in hosts:
        raise InputError(
            f"TPU_WORKER_HOSTNAMES is {hosts}: this slice has several hosts, {REMEDY}"
        )
    index = environment.get("JOB_COMPLETION_INDEX") or "0"
    if index != "0":
        raise InputError(
            f"JOB_COMPLETION_INDEX is {index}: Kubernetes has started an indexed job "
            f"of several pods, {REMEDY}"
        )
