"""Damage is found and named, and a run goes on from the newest sound step."""

import random
import tracemalloc
from pathlib import Path

import jax.numpy as jnp
import pytest

from benchmarks.faults import damage
from tests.checkpoints.trees import abstract, flip_a_bit, lines, save
from zoo import checkpoint_steps
from zoo.checkpoint_files import DamagedCheckpoint, load_arrays
from zoo.checkpoints import Checkpoints, restore_params
from zoo.errors import InputError


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


def test_a_step_under_another_name_is_damage(checkpoints):
    save(checkpoints, 3)
    (checkpoints._directory / "3").rename(checkpoints._directory / "4")
    with pytest.raises(DamagedCheckpoint, match=r"4/record\.json is of step 3"):
        checkpoints.restore(4, {"params": jnp.ones(2)})


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


def test_a_step_saved_again_is_sound_again(checkpoints):
    save(checkpoints, 3)
    flip_a_bit(checkpoints._directory / "3" / "record.json")
    with pytest.raises(DamagedCheckpoint):
        checkpoints.best_step()
    save(checkpoints, 3)
    assert checkpoints.best_step() == 3


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
