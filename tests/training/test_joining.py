"""Who the processes of a run are: what is understood, and what is refused."""

import socket

import jax
import pytest

from zoo.errors import InputError
from zoo.training import joining
from zoo.training.config import HostsConfig
from zoo.training.joining import join

ADDRESS = "10.0.0.1:1234"
EXPLICIT = {
    "JAX_COORDINATOR_ADDRESS": ADDRESS,
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "1",
}


@pytest.fixture
def initialized(monkeypatch):
    """Stands in for JAX, which sees two processes; returns how it was asked."""
    asked = []
    monkeypatch.setattr(
        jax.distributed, "initialize", lambda **options: asked.append(options)
    )
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.0.0.7")
    return asked


@pytest.mark.parametrize("name", joining.LAUNCHERS)
def test_one_task_is_alone(name, initialized):
    for environment in ({}, {name: "1"}, {name: ""}, {"TPU_WORKER_HOSTNAMES": "here"}):
        assert not join(HostsConfig(), environment)
    assert not join(HostsConfig(), {"JOB_COMPLETION_INDEX": "0"})
    assert not join(HostsConfig(), {"SLURM_NTASKS": "8"})  # a batch script
    assert not join(HostsConfig(num_processes=1), {})
    assert initialized == []


def test_flags_and_variables_say_who_is_who_and_flags_come_first(initialized):
    assert join(HostsConfig(), EXPLICIT)
    assert join(HostsConfig(process_id=0, heartbeat_seconds=9), EXPLICIT)
    known = {"coordinator_address": ADDRESS, "num_processes": 2}
    assert initialized == [
        {**known, "process_id": 1, "heartbeat_timeout_seconds": 100},
        {**known, "process_id": 0, "heartbeat_timeout_seconds": 9},
    ]


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"},
        {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_MCA_orte_hnp_uri": "0;tcp://10.0.0.1:1"},
        {"TPU_WORKER_HOSTNAMES": "one,two", "TPU_WORKER_ID": "0"},
    ],
    ids=["slurm", "openmpi", "tpu"],
)
def test_what_the_launcher_knows_is_left_to_jax(initialized, environment):
    assert join(HostsConfig(), environment)
    assert set(initialized[0].values()) == {None, 100}


def test_jax_can_be_told_to_look_for_others(initialized):
    assert join(HostsConfig(detect=True), {})
    assert len(initialized) == 1


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1"}, "4 tasks, and JAX sees 2"),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "MEGASCALE_NUM_SLICES": "3"}, "6 tasks, and"),
        ({"PMI_SIZE": "many"}, "PMI_SIZE is 'many', but must be a whole number"),
        ({"PMI_SIZE": "4", **EXPLICIT}, "4 tasks, and num_processes is 2"),
        ({"PMI_SIZE": "4", "JAX_NUM_PROCESSES": "1"}, "4 tasks, and num_processes is"),
        ({"JAX_COORDINATOR_ADDRESS": ADDRESS}, "10.0.0.1:1234, but num_processes is"),
        ({"JAX_PROCESS_ID": "0"}, "process_id is 0, but num_processes is not known; g"),
        ({"JAX_NUM_PROCESSES": "0"}, "num_processes is 0"),
        ({**EXPLICIT, "JAX_PROCESS_ID": "2"}, "process_id is 2, .* from 0 to 1"),
        ({**EXPLICIT, "JAX_COORDINATOR_ADDRESS": "here"}, "here, but must be HOST:PO"),
        (
            {"JOB_COMPLETION_INDEX": "3"},
            "is 3: Kubernetes .*, or --hosts.num-processes 1 if",
        ),
    ],
)
def test_what_does_not_fit_together_is_refused(initialized, environment, message):
    with pytest.raises(InputError, match=message) as error:
        join(HostsConfig(), environment)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [ValueError, KeyError, Exception])
def test_what_jax_cannot_find_out_is_refused_in_one_line(
    kind, initialized, monkeypatch
):
    class Unknown(kind):
        def __str__(self):
            return "coordinator_address should be defined.\nSee there."

    def refuse(**options):
        raise Unknown

    monkeypatch.setattr(jax.distributed, "initialize", refuse)
    with pytest.raises(InputError, match=r"joined: coord.* defined\.; give") as error:
        join(HostsConfig(detect=True), {})
    assert "\n" not in str(error.value)


def test_a_host_whose_name_is_a_loopback_is_refused(initialized, monkeypatch):
    monkeypatch.setattr(
        socket,
        "gethostbyname",
        lambda name: name if name[0].isdecimal() else "127.0.1.1",
    )
    installed = set()
    monkeypatch.setattr(joining, "find_spec", lambda name: name in installed)
    with pytest.raises(InputError, match="stands for a loopback address"):
        join(HostsConfig(), EXPLICIT)
    # Unless nobody has to reach it by its name.
    assert join(HostsConfig(coordinator_address="127.0.0.1:1"), EXPLICIT)
    assert join(HostsConfig(), {**EXPLICIT, "JAX_PLATFORMS": "cuda"})
    assert join(HostsConfig(), {**EXPLICIT, "SLURM_STEP_NUM_NODES": "1"})
    installed.add("jax_plugins")  # of CUDA
    assert join(HostsConfig(), EXPLICIT)
    with pytest.raises(InputError, match="stands for a loopback address"):
        join(HostsConfig(), {**EXPLICIT, "JAX_PLATFORMS": "cpu"})
