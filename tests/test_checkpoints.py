import json
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from orbax.checkpoint import multihost

from benchmarks.faults import damage
from zoo import checkpoint_steps
from zoo.checkpoint_files import DamagedCheckpoint, load_arrays
from zoo.checkpoints import Checkpoints, average_params, restore_params
from zoo.errors import InputError


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def state():
    """A tree as a run has it: nested optimizer states, some empty, two dtypes."""
    params = {
        "dense": {"kernel": jnp.arange(12.0).reshape(3, 4), "bias": jnp.ones(4)},
        "half": jnp.full((2, 3), 1.5, jnp.bfloat16),
    }
    tx = optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(optax.cosine_decay_schedule(1e-3, 100)),
    )
    return {"params": params, "opt_state": tx.init(params), "step": jnp.int32(7)}


@pytest.fixture
def checkpoints(tmp_path):
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        yield checkpoints


def save(checkpoints, step, loss=1.0, tree=None):
    checkpoints.save(step, tree or {"params": jnp.ones(2)}, loss=loss, note={})
    checkpoints.wait()


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


def test_the_last_steps_and_the_best_are_kept(checkpoints):
    for step, loss in enumerate([3.0, 1.0, 2.0, 2.5, 4.0]):
        save(checkpoints, step, loss)
    assert checkpoints.steps() == [1, 3, 4]
    assert checkpoints.best_step() == 1
    save(checkpoints, 5, 0.5)
    assert checkpoints.steps() == [4, 5]
    assert checkpoints.best_step() == 5


def test_a_loss_that_is_not_a_number_is_never_the_best(checkpoints):
    for step, loss in enumerate([float("nan"), float("inf"), float("nan")]):
        save(checkpoints, step, loss)
    assert checkpoints.best_step() == 1


def test_an_empty_or_absent_directory_has_no_steps(checkpoints, tmp_path):
    assert checkpoints.steps() == []
    assert checkpoints.best_step() is None
    assert not list(tmp_path.iterdir())


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


def test_steps_of_an_abandoned_future_do_not_push_out_new_ones(checkpoints):
    for step in (10, 20, 30):
        save(checkpoints, step)
    save(checkpoints, 11, 2.0)
    save(checkpoints, 12, 2.0)
    save(checkpoints, 13, 2.0)
    assert checkpoints.steps() == [10, 12, 13, 20, 30]


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


def test_params_come_without_the_optimizer_state(checkpoints, state):
    save(checkpoints, 1, tree=state)
    found = restore_params(checkpoints._directory, 1, abstract(state["params"]))
    assert_equal(found, state["params"])


def test_what_is_half_written_is_ignored_and_removed_by_the_next_save(checkpoints):
    save(checkpoints, 1)
    directory = checkpoints._directory
    for name in (".partial-2", ".partial-2.orbax-checkpoint-tmp", ".partial-deleted-0"):
        (directory / name / "state").mkdir(parents=True)
    with Checkpoints(directory) as reader:
        assert reader.steps() == [1]
        assert reader.best_step() == 1
    assert (directory / ".partial-2").exists()
    save(checkpoints, 2)
    assert sorted(path.name for path in directory.iterdir()) == ["1", "2"]


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


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])


def link(path):
    # To the same content, outside of the checkpoints.
    outside = next(x for x in path.parents if x.name == "good").with_name("outside")
    path.rename(outside)
    path.symlink_to(outside)


@pytest.mark.parametrize("damage", [flip_a_bit, cut, link, lambda path: path.unlink()])
def test_damage_to_any_file_is_found_and_named(tmp_path, state, damage):
    with Checkpoints(tmp_path / "good") as checkpoints:
        save(checkpoints, 3, tree=state)
    files = [path for path in (tmp_path / "good").rglob("*") if path.is_file()]
    for file in files:
        if damage in (flip_a_bit, cut) and not file.stat().st_size:
            continue
        before = file.read_bytes()
        damage(file)
        with pytest.raises(DamagedCheckpoint) as error:
            restore_params(tmp_path / "good", 3, abstract(state["params"]))
        message = str(error.value)
        assert str(tmp_path / "good" / "3") in message
        assert file.name in message or file.name == "SHA256SUMS"
        file.unlink(missing_ok=True)
        file.write_bytes(before)
    restore_params(tmp_path / "good", 3, abstract(state["params"]))


def test_a_file_too_many_is_damage(checkpoints):
    save(checkpoints, 3)
    (checkpoints._directory / "3" / "state" / "extra").write_text("x")
    with pytest.raises(DamagedCheckpoint, match="3/state/extra is not the file"):
        checkpoints.restore(3, {"params": jnp.ones(2)})


TRAINER = """
import sys
from pathlib import Path
import jax.numpy as jnp
from zoo.checkpoints import Checkpoints

shape, last = (250_000,), int(sys.argv[2])
with Checkpoints(Path(sys.argv[1])) as checkpoints:
    step = max(checkpoints.steps(), default=0)
    if step:
        tree = checkpoints.restore(step, {"params": jnp.zeros(shape)})
        assert (tree["params"] == step).all()
        assert checkpoints.note(step) == {"step": step}
    print("from", step, flush=True)
    for step in range(step + 1, last + 1):
        tree = {"params": jnp.full(shape, step, jnp.float32)}
        checkpoints.save(step, tree, loss=1 / step, note={"step": step})
"""


def start_trainer(directory, last):
    arguments = [sys.executable, "-c", TRAINER, str(directory), str(last)]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True)


def test_a_run_killed_while_saving_goes_on_from_a_whole_step(tmp_path):
    choose = random.Random(0)
    before = 0
    for _ in range(3):
        with start_trainer(tmp_path, 10**6) as trainer:
            assert int(trainer.stdout.readline().split()[1]) >= before
            with Checkpoints(tmp_path) as reader:
                while len(reader.steps()) < 2 or max(reader.steps()) < before + 3:
                    assert trainer.poll() is None, trainer.stderr.read()
                    time.sleep(0.005)
            time.sleep(choose.uniform(0, 0.05))
            trainer.send_signal(signal.SIGKILL)
        with Checkpoints(tmp_path) as reader:
            before = max(reader.steps())
            for step in reader.steps():
                found = reader.restore(step, {"params": jnp.zeros(250_000)})
                assert (found["params"] == step).all()
    with start_trainer(tmp_path, before + 1) as trainer:
        output, complaints = trainer.communicate()
    assert output == f"from {before}\n"
    assert complaints == ""  # neither warnings nor log lines
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [str(before), str(before + 1)]
    )


def test_the_record_beside_the_arrays_is_plain_json(checkpoints, state):
    save(checkpoints, 7, 0.25, state)
    record = json.loads((checkpoints._directory / "7" / "record.json").read_text())
    assert record["loss"] == 0.25
    assert record["leaves"]["params/half"] == "bfloat16[2,3]"
    assert record["leaves"]["opt_state/[1]/[0]/mu/dense/bias"] == "float32[4]"


def averaged(checkpoints, steps, params):
    checkpoints.wait()
    return average_params(checkpoints._directory, steps, params)


def test_the_average_of_one_checkpoint_is_that_checkpoint(checkpoints, state):
    save(checkpoints, 7, tree=state)
    params = state["params"]
    assert_equal(averaged(checkpoints, [7], abstract(params)), params)


def test_the_average_of_two_checkpoints_by_hand(checkpoints):
    for step, value in enumerate([[1.0, -2.0], [4.0, 2.0]]):
        save(checkpoints, step, tree={"params": {"w": jnp.array(value)}})
    found = averaged(checkpoints, [0, 1], {"w": jnp.zeros(2)})["w"]
    assert found.dtype == jnp.float32
    assert found.tolist() == [2.5, 0.0]


def test_an_average_is_added_up_more_exactly_than_float32(tmp_path):
    # In float32, 2²⁴ + 1 is 2²⁴, and the mean would be half too small.
    with Checkpoints(tmp_path, keep_last=4) as checkpoints:
        for step, value in enumerate([2.0**24, 1.0, 1.0, 2.0]):
            save(checkpoints, step, tree={"params": {"w": jnp.array([value])}})
        found = averaged(checkpoints, range(4), {"w": jnp.zeros(1)})
    assert found["w"].tolist() == [2.0**22 + 1]


def test_an_average_is_refused_as_its_worst_checkpoint_is(checkpoints):
    params = {"w": jnp.ones(2)}
    for step in (1, 2):
        save(checkpoints, step, tree={"params": params})
    with pytest.raises(InputError, match=r"params/w is float32\[2\]"):
        averaged(checkpoints, [1, 2], {"w": jnp.ones(3)})
    flip_a_bit(checkpoints._directory / "1" / "record.json")
    with pytest.raises(DamagedCheckpoint, match=r"1/record\.json is"):
        averaged(checkpoints, [1, 2], params)
    with pytest.raises(InputError, match="3 does not exist"):
        averaged(checkpoints, [3], params)


def test_a_moving_average_is_what_decodes_where_there_is_one(checkpoints):
    params = {"w": jnp.ones(2)}
    ema = {"w": jnp.full(2, 5.0)}
    save(checkpoints, 1, tree={"params": params, "ema": ema})
    assert_equal(restore_params(checkpoints._directory, 1, params), ema)
    assert_equal(averaged(checkpoints, [1], params), ema)


def test_an_interruption_neither_counts_nor_pushes_out_what_does(tmp_path):
    with Checkpoints(tmp_path, keep_last=2) as checkpoints:
        for step, loss in ((20, 3.0), (40, 2.0), (47, float("inf"))):
            save(checkpoints, step, loss)
        assert checkpoints.steps() == [20, 40, 47]
        assert checkpoints.last_steps(2) == [20, 40]
        save(checkpoints, 60, 1.0)
        assert checkpoints.steps() == [40, 60]
        assert checkpoints.last_steps(2) == [40, 60]


def test_the_last_steps_have_no_gap(checkpoints):
    assert checkpoints.last_steps(2) == []
    for step, loss in enumerate([3.0, 1.0, 2.0, 2.5, float("nan")]):
        save(checkpoints, step, loss)
    # Step 1 is kept because it is the best; step 2 is gone.
    assert checkpoints.steps() == [1, 3, 4]
    assert checkpoints.last_steps(1) == [4]
    assert checkpoints.last_steps(2) == checkpoints.last_steps(3) == [3, 4]
    with pytest.raises(ValueError, match="count is 0"):
        checkpoints.last_steps(0)


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_the_newest_sound_step_is_what_a_run_goes_on_from(checkpoints, caplog):
    assert checkpoints.restore_newest({"params": jnp.zeros(2)}) is None
    for step in (1, 2, 3):
        tree = {"params": jnp.full(2, 1.0 * step)}
        checkpoints.save(step, tree, loss=1 / step, note={"of": step})
    checkpoints.wait()
    directory = checkpoints._directory
    flip_a_bit(directory / "3" / "record.json")
    step, found, note = checkpoints.restore_newest({"params": jnp.zeros(2)})
    assert (step, found["params"].tolist(), note) == (2, [2, 2], {"of": 2})
    (line,) = lines(caplog)
    assert line.startswith(f"step 3 is passed over: {directory}/3/record.json is not")


def test_hosts_load_a_step_only_if_all_of_them_find_it_sound(
    checkpoints, monkeypatch, caplog
):
    for step in (1, 2, 3, 4):
        save(checkpoints, step)
    asked, loaded = [], []

    def first_sees(number):  # nothing of the last step yet
        return min(number, 3)

    def on_every_host(fact):
        asked.append(fact)
        return fact and len(asked) > 1  # another one has found step 3 damaged

    def load(checkpoint, abstract_tree):
        loaded.append(checkpoint.name)
        return load_arrays(checkpoint, abstract_tree)

    monkeypatch.setattr(checkpoint_steps, "_of_first", first_sees)
    monkeypatch.setattr(checkpoint_steps, "_on_every_host", on_every_host)
    monkeypatch.setattr(checkpoint_steps, "load_arrays", load)
    step, _, _ = Checkpoints(checkpoints._directory, 4).restore_newest(
        {"params": jnp.zeros(2)}
    )
    assert (step, loaded) == (1, ["1"])
    assert asked == [True, True, True]
    assert "step 3 is passed over: another host" in lines(caplog)[0]


def test_the_best_and_the_averaged_steps_are_sound_ones(checkpoints, caplog):
    for step, loss in ((1, 3.0), (2, 2.0), (3, 1.0)):
        save(checkpoints, step, loss)
    assert checkpoints.last_steps(3) == [2, 3]
    directory = checkpoints._directory
    for path in (directory / "3").rglob("manifest.ocdbt"):
        flip_a_bit(path)
    with Checkpoints(directory) as reader:
        assert reader.best_step() == 2
        assert reader.last_steps(3) == [2]
    (line,) = lines(caplog)  # said once, though the step was met twice
    assert "step 3 is passed over" in line


def test_where_no_step_is_sound_nobody_begins_anew(checkpoints):
    for step in (1, 2):
        save(checkpoints, step)
        flip_a_bit(checkpoints._directory / str(step) / "SHA256SUMS")
    with pytest.raises(InputError, match=r"no step can be restored: .*/2/"):
        checkpoints.restore_newest({"params": jnp.zeros(2)})
    with pytest.raises(DamagedCheckpoint):
        checkpoints.best_step()


def test_a_step_under_another_name_is_damage(checkpoints):
    save(checkpoints, 3)
    (checkpoints._directory / "3").rename(checkpoints._directory / "4")
    with pytest.raises(DamagedCheckpoint, match=r"4/record\.json is of step 3"):
        checkpoints.restore(4, {"params": jnp.ones(2)})


def test_a_host_that_does_not_answer_is_no_fault_of_the_disk(checkpoints, monkeypatch):
    def wait(key, timeout_ms):
        raise TimeoutError(f"{timeout_ms} ms are over")

    monkeypatch.setattr(multihost, "get_barrier_sync_fn", lambda: wait)
    with pytest.raises(TimeoutError):
        save(checkpoints, 1)


def test_a_step_saved_again_is_sound_again(checkpoints):
    save(checkpoints, 3)
    flip_a_bit(checkpoints._directory / "3" / "record.json")
    with pytest.raises(DamagedCheckpoint):
        checkpoints.best_step()
    save(checkpoints, 3)
    assert checkpoints.best_step() == 3


def test_a_folder_that_cannot_be_written_to_is_one_clear_error():
    # Nobody may make a folder in /proc, not even the superuser.
    with (
        Checkpoints(Path("/proc/checkpoints")) as checkpoints,
        pytest.raises(InputError, match="/proc/checkpoints cannot be written to"),
    ):
        save(checkpoints, 1)


def test_a_bomb_is_refused_before_anything_is_allocated(checkpoints):
    save(checkpoints, 10, tree=damage.tree_of(10))
    save(checkpoints, 30, tree=damage.tree_of(30))
    # Pieces of 4 TB, in an array of the size that we ask for.
    rng = random.Random()
    rng.choice, rng.randrange = max, lambda last: 2
    damage.size_bomb_resummed(checkpoints._directory, rng)
    tracemalloc.start()
    with pytest.raises(DamagedCheckpoint, match=r"in pieces of \[1099511627776, 16\]"):
        checkpoints.restore(30, damage.tree_of(0))
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_link_in_the_place_of_a_step_stops_no_save(checkpoints, tmp_path):
    outside = tmp_path / "outside"
    for step in (1, 2):
        save(checkpoints, step)
    (checkpoints._directory / "2").rename(outside)
    (checkpoints._directory / "2").symlink_to(outside)
    (checkpoints._directory / "3").write_text("no step, and nobody asked for it")
    save(checkpoints, 2)
    assert checkpoints.steps() == [1, 2]
    assert checkpoints.best_step() == 1
    assert (outside / "record.json").exists()  # what a link leads to is not ours


def test_what_is_no_number_of_ours_is_no_step(checkpoints):
    save(checkpoints, 3)
    for name in ("007", "٣", "+4", "1_0"):
        (checkpoints._directory / name).mkdir()
    save(checkpoints, 4)
    assert checkpoints.steps() == [3, 4]


def test_a_damaged_step_pushes_out_no_sound_one(checkpoints, caplog):
    directory = checkpoints._directory
    save(checkpoints, 10, 1.0)
    save(checkpoints, 20, 2.0)
    flip_a_bit(next((directory / "10").rglob("manifest.ocdbt")))
    for step in (30, 40, 50):
        save(checkpoints, step, 3.0)
    assert checkpoints.steps() == [10, 20, 40, 50]
    assert checkpoints.best_step() == 20
    # Nor does one count among the last.
    flip_a_bit(directory / "50" / "record.json")
    with Checkpoints(directory) as resumed:
        save(resumed, 60, 3.0)
        assert resumed.steps() == [10, 20, 40, 50, 60]
    assert sum("step 10 is passed over" in line for line in lines(caplog)) == 2


def test_a_reader_sees_a_step_that_is_deleted_meanwhile_as_none(
    checkpoints, monkeypatch
):
    for step, loss in ((1, 1.0), (2, 2.0)):
        save(checkpoints, step, loss)
    listed = Path.rglob

    def vanishing(path, pattern):
        found = list(listed(path, pattern))
        if path.name == "1":
            checkpoints._delete(1)
        return found

    with Checkpoints(checkpoints._directory) as reader, monkeypatch.context() as patch:
        patch.setattr(Path, "rglob", vanishing)
        assert reader.best_step() == 2
    with Checkpoints(checkpoints._directory) as reader:
        patched = [1, *reader.steps()]
        monkeypatch.setattr(reader, "steps", lambda: patched)
        assert reader.best_step() == 2
