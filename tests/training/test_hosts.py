"""A run trains on one host, and says so where a launcher has started more."""

import pytest

from zoo.errors import InputError
from zoo.training.hosts import LAUNCHERS, require_one_task


@pytest.mark.parametrize("name", LAUNCHERS)
def test_several_tasks_are_refused(name, monkeypatch):
    with pytest.raises(InputError, match=f"{name} is 4: .*start one task"):
        require_one_task({name: "4"})
    with pytest.raises(InputError, match=f"{name} is many"):
        require_one_task({name: "many"})
    require_one_task({name: "1"})
    require_one_task({name: ""})
    monkeypatch.setenv(name, "2")
    with pytest.raises(InputError, match=f"{name} is 2"):
        require_one_task()


@pytest.mark.parametrize(
    ("name", "several", "one"),
    [
        ("TPU_WORKER_HOSTNAMES", "t1v-0,t1v-1", "localhost"),
        ("JOB_COMPLETION_INDEX", "3", "0"),
    ],
)
def test_several_hosts_are_refused(name, several, one):
    with pytest.raises(InputError, match=f"{name} is {several}: .*start one task"):
        require_one_task({name: several})
    for alone in (one, ""):
        require_one_task({name: alone})


def test_a_batch_script_is_one_process():
    require_one_task({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"})
