"""Which steps are kept, which is the best, and the mean of the last."""

import jax.numpy as jnp
import pytest

from tests.checkpoints.trees import abstract, assert_equal, flip_a_bit, save
from zoo.checkpoint_files import DamagedCheckpoint
from zoo.checkpoints import Checkpoints, average_params, restore_params
from zoo.errors import InputError


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


def test_steps_of_an_abandoned_future_do_not_push_out_new_ones(checkpoints):
    for step in (10, 20, 30):
        save(checkpoints, step)
    save(checkpoints, 11, 2.0)
    save(checkpoints, 12, 2.0)
    save(checkpoints, 13, 2.0)
    assert checkpoints.steps() == [10, 12, 13, 20, 30]


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


def test_what_is_no_number_of_ours_is_no_step(checkpoints):
    save(checkpoints, 3)
    for name in ("007", "٣", "+4", "1_0"):
        (checkpoints._directory / name).mkdir()
    save(checkpoints, 4)
    assert checkpoints.steps() == [3, 4]


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
