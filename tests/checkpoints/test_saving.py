"""What is saved comes back: all of it, where it is asked for, and the right steps."""

import json
import resource
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint import multihost

from tests.checkpoints.trees import abstract, assert_equal, save
from zoo.checkpoints import Checkpoints, restore_params
from zoo.errors import InputError


def test_all_that_was_saved_comes_back(checkpoints, state):
    note = {"best": 0.1 + 0.2, "seconds": 12, "text": "가"}
    checkpoints.save(7, state, loss=0.5, note=note)
    assert checkpoints.steps() == []
    assert_equal(checkpoints.restore(7, abstract(state)), state)
    assert checkpoints.note(7) == note
    assert checkpoints.steps() == [7]


def test_numpy_stays_numpy_and_jax_stays_jax(checkpoints):
    tree = {"rows": np.arange(3), "count": np.int64(2**40), "params": jnp.ones(2)}
    save(checkpoints, 1, tree=tree)
    found = checkpoints.restore(1, tree)
    assert_equal(found, tree)
    assert isinstance(found["rows"], np.ndarray)
    assert isinstance(found["params"], jax.Array)


def test_arrays_are_restored_where_they_are_asked_for(checkpoints):
    # Saved by one device, restored on all, in halves of the rows and back.
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.NamedSharding(mesh, jax.P("data"))
    tree = {"params": jnp.arange(32.0).reshape(16, 2)}
    save(checkpoints, 1, tree=tree)
    asked = {"params": jax.ShapeDtypeStruct((16, 2), jnp.float32, sharding=split)}
    found = checkpoints.restore(1, asked)
    assert found["params"].sharding == split
    assert_equal(found, tree)
    save(checkpoints, 2, tree=found)
    assert_equal(checkpoints.restore(2, tree), tree)


def test_buffers_may_be_donated_deleted_or_overwritten_at_once(checkpoints):
    # Noise of 8 MB takes longer to compress than save takes to return.
    noise = np.random.default_rng(0).normal(size=(4, 500_000)).astype(np.float32)
    donate = jax.jit(lambda x: 0 * x, donate_argnums=0)
    donate(jnp.array(noise))
    device, deleted, host = jnp.array(noise), jnp.array(noise), noise.copy()
    tree = {"device": device, "deleted": deleted, "host": host}
    checkpoints.save(1, tree, loss=1.0, note={})
    assert checkpoints.steps() == []
    for _ in range(3):
        device = donate(device)
    deleted.delete()
    host[:] = 0
    jax.block_until_ready(device)
    expected = dict.fromkeys(tree, noise)
    assert_equal(checkpoints.restore(1, expected), expected)


def test_params_come_without_the_optimizer_state(checkpoints, state):
    save(checkpoints, 1, tree=state)
    found = restore_params(checkpoints._directory, 1, abstract(state["params"]))
    assert_equal(found, state["params"])


def test_the_record_beside_the_arrays_is_plain_json(checkpoints, state):
    save(checkpoints, 7, 0.25, state)
    record = json.loads((checkpoints._directory / "7" / "record.json").read_text())
    assert record["loss"] == 0.25
    assert record["leaves"]["params/half"] == "bfloat16[2,3]"
    assert record["leaves"]["opt_state/[1]/[0]/mu/dense/bias"] == "float32[4]"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": jnp.ones(5)}, "bias is float32[4] in the checkpoint and float32[5]"),
        (
            {"bias": jnp.ones(4, jnp.bfloat16)},
            "float32[4] in the checkpoint and bfloat",
        ),
        (
            {"scale": jnp.ones(4)},
            "params/scale is absent in the checkpoint and float32",
        ),
        ({"bias": [jnp.ones(4)]}, "params/bias/[0] is absent in the checkpoint"),
        ({"bias": None}, "params/bias is float32[4] in the checkpoint and absent"),
        ({"stack": {"0": jnp.ones(2)}}, "params/stack/0 is absent in the checkpoint"),
    ],
)
def test_the_first_array_that_differs_is_named(checkpoints, change, message):
    params = {"bias": jnp.ones(4), "kernel": jnp.ones((3, 4)), "stack": [jnp.ones(2)]}
    save(checkpoints, 3, tree={"params": params, "step": jnp.int32(3)})
    directory = checkpoints._directory
    with pytest.raises(InputError) as error:
        checkpoints.restore(3, {"params": params | change, "step": jnp.int32(0)})
    assert message in str(error.value)
    assert str(directory / "3") in str(error.value)
    with pytest.raises(InputError) as error:
        restore_params(directory, 3, params | change)
    assert message in str(error.value)


def test_a_step_that_does_not_exist_is_an_input_error(checkpoints, state):
    with pytest.raises(InputError, match="5 does not exist"):
        checkpoints.restore(5, state)


def test_no_save_is_skipped(tmp_path):
    tree = {"params": jnp.ones(100_000)}
    with Checkpoints(tmp_path, keep_last=6) as checkpoints:
        for step in range(6):
            checkpoints.save(step, tree, loss=1.0, note={})
    assert checkpoints.steps() == [0, 1, 2, 3, 4, 5]


def test_a_step_saved_again_is_replaced(checkpoints):
    save(checkpoints, 1, tree={"params": jnp.zeros(2)})
    save(checkpoints, 1, tree={"params": jnp.ones(2)})
    assert checkpoints.restore(1, {"params": jnp.zeros(2)})["params"].tolist() == [1, 1]


def test_a_full_disk_is_one_clear_error_and_older_steps_stay(checkpoints, caplog):
    save(checkpoints, 1)
    noise = np.random.default_rng(0).normal(size=100_000)
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, unlimited[1]))
    try:
        checkpoints.save(2, {"params": noise}, loss=1.0, note={})
        with pytest.raises(InputError, match=r"is not saved; mend.*File too large"):
            checkpoints.wait()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert not caplog.records
    assert checkpoints.steps() == [1]
    save(checkpoints, 3)
    assert checkpoints.steps() == [1, 3]


def test_a_save_that_fails_at_once_leaves_nothing_waiting(checkpoints):
    before = set(threading.enumerate())
    gone = jnp.ones(2)
    gone.delete()
    with pytest.raises(RuntimeError, match="deleted"):
        save(checkpoints, 1, tree={"params": gone})
    for thread in set(threading.enumerate()) - before:
        thread.join(2)
        assert not thread.is_alive(), thread
    save(checkpoints, 2)
    assert checkpoints.steps() == [2]


def test_a_folder_that_cannot_be_written_to_is_one_clear_error():
    # Nobody may make a folder in /proc, not even the superuser.
    with (
        Checkpoints(Path("/proc/checkpoints")) as checkpoints,
        pytest.raises(InputError, match="/proc/checkpoints cannot be written to"),
    ):
        save(checkpoints, 1)


def test_a_host_that_does_not_answer_is_no_fault_of_the_disk(checkpoints, monkeypatch):
    def wait(key, timeout_ms):
        raise TimeoutError(f"{timeout_ms} ms are over")

    monkeypatch.setattr(multihost, "get_barrier_sync_fn", lambda: wait)
    with pytest.raises(TimeoutError):
        save(checkpoints, 1)
