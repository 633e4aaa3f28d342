"""Updates that would do harm: by hand, in the step, in the loop and in a whole run."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from zoo.checkpoints import Checkpoints
from zoo.errors import InputError
from zoo.losses import TokenLoss
from zoo.training.config import OptimizerConfig, TrainingConfig
from zoo.training.devices import make_driver
from zoo.training.faults import MAX_ROW, NUM_NORMS, is_harmless, no_faults, remember
from zoo.training.optimizers import make_optimizer
from zoo.training.run import Task, _other_plan, train_to_end
from zoo.training.step import init_state, make_train_step

ROWS = 8
BAD = {
    "nan": math.nan,
    "infinite": math.inf,
    "overflow": 1e37,
    # Not judged at first, when no gradient is usual yet.
    "large": 11.0,
}


def known(norms):
    """Returns what is known after updates with these norms."""
    faults = no_faults()
    for step, norm in enumerate(norms):
        faults = remember(faults, jnp.int32(step), jnp.float32(norm), jnp.bool_(True))
    return faults


def harmless(faults, norm, loss=1.0):
    return bool(is_harmless(faults, jnp.float32(loss), jnp.float32(norm)))


def test_a_median_below_what_gradients_are_clipped_to_counts_as_that():
    faults = no_faults()
    for step in range(NUM_NORMS):
        faults = remember(faults, jnp.int32(step), jnp.float32(0.01), jnp.bool_(True))
    for norm, clip_norm, expected in (
        (9, 1.0, True),
        (11, 1.0, False),
        (9, 0.5, False),
    ):
        made = is_harmless(faults, jnp.float32(1.0), jnp.float32(norm), clip_norm)
        assert bool(made) == expected


def test_ten_times_the_median_of_the_last_norms_is_the_limit():
    # The first norm has left the ring; of the others, half are 1 and half are 3.
    half = NUM_NORMS // 2
    faults = known([1e6] + [1.0, 3.0] * half)
    assert harmless(faults, 20.0)
    assert not harmless(faults, 20.1)
    assert not harmless(faults, math.nan)
    assert not harmless(faults, 1.0, loss=math.inf)


def test_before_norms_are_known_a_finite_one_will_do():
    faults = known([1.0] * (NUM_NORMS - 1))
    assert harmless(faults, 1e6)
    assert not harmless(faults, math.inf)
    assert harmless(known([0.0] * NUM_NORMS), 1e6)  # nothing but padding until now


def test_gradients_that_stay_long_are_usual_before_the_run_goes_back():
    faults, made = known([1.0] * NUM_NORMS), []
    for step in range(MAX_ROW):
        made.append(harmless(faults, 50.0))
        norm, last = jnp.float32(50.0), jnp.bool_(made[-1])
        faults = remember(faults, jnp.int32(step), norm, last)
    assert not any(made[: NUM_NORMS // 2])
    assert all(made[NUM_NORMS // 2 :])
    assert faults.longest < MAX_ROW


def test_what_is_not_finite_is_never_usual():
    faults = known([1.0] * NUM_NORMS)
    for step in range(2 * NUM_NORMS):
        norm = jnp.float32([math.nan, math.inf, 1e30][step % 3])
        faults = remember(faults, jnp.int32(step), norm, jnp.bool_(False))
    assert faults.longest >= MAX_ROW
    assert harmless(faults, 10.0)
    assert not harmless(faults, 11.0)


def test_the_longest_row_is_remembered_with_its_end():
    faults = no_faults()
    for step, made in enumerate([True, False, False, True, False, True]):
        faults = remember(faults, jnp.int32(step), jnp.ones(()), jnp.bool_(made))
    assert (faults.made, faults.skipped, faults.row) == (3, 3, 0)
    assert (faults.longest, faults.longest_end) == (2, 3)


def linear(params, batch, key):
    """A loss whose gradient is the mean of the x of a batch."""
    total = (params["w"] * batch["x"]).sum()
    return TokenLoss(total, total, jnp.float32(batch["x"].shape[0]))


OPTIMIZER = optax.adam(1e-3)


@pytest.fixture(scope="module", params=["jit-1", "pmap-1", "jit-2", "sharded-1"])
def driver(request):
    name, accumulation = request.param.split("-")
    step = make_train_step(
        linear,
        OPTIMIZER,
        jax.random.key(0),
        accumulation=int(accumulation),
        ema_decay=0.9,
    )
    return make_driver(name, step, jax.devices()[: ROWS // int(accumulation)])


def advanced(driver, state, values):
    """Returns the state after batches that have these gradients."""
    state = driver.place(state)
    for value in values:
        x = np.ones(ROWS, np.float32)
        x[ROWS // 2] = 1.0 + ROWS * (value - 1.0)  # one shard alone has the fault
        state, _ = driver.step(state, driver.split({"x": x}))
    return jax.device_get(driver.gather(state))


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_harmful_update_changes_nothing_under_any_driver(driver, bad):
    begun = init_state({"w": jnp.ones(())}, OPTIMIZER, ema=True)
    before = advanced(driver, begun, [1.0] * NUM_NORMS)
    after = advanced(driver, before, [bad, bad])
    assert after.faults.skipped == 2
    assert after.faults.longest_end == after.step == before.step + 2
    for name in ("params", "opt_state", "ema"):
        pairs = zip(
            *map(jax.tree.leaves, (getattr(before, name), getattr(after, name))),
            strict=True,
        )
        assert all(np.array_equal(old, new) for old, new in pairs), name
    on = advanced(driver, after, [1.0])
    assert on.params["w"] < after.params["w"]
    assert (on.faults.row, on.faults.made) == (0, NUM_NORMS + 1)


def test_parameters_are_finite_in_any_storm(driver):
    rng = np.random.default_rng(0)
    values = rng.choice([1.0, -1.0, 1e5, 3e36, math.nan, math.inf, -math.inf], 100)
    state = advanced(
        driver, init_state({"w": jnp.ones(())}, OPTIMIZER, ema=True), values
    )
    leaves = jax.tree.leaves((state.params, state.ema, state.opt_state))
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert 0 < state.faults.skipped < 100


def test_parameters_do_not_overflow_either():
    optimizer = optax.sgd(1e30)
    step = make_train_step(linear, optimizer, jax.random.key(0))
    state = init_state({"w": jnp.ones(())}, optimizer)
    state, metrics = step(state, {"x": jnp.full(ROWS, 1e9)})
    assert metrics["skipped"] == 1
    assert state.params["w"] == 1.0


STEPS = 60
ROW = dict.fromkeys(range(33, 39), math.nan)


def task(bad, seen, last_batch, batches_per_epoch):
    """Returns a task whose gradient is 1, but for the batches that are bad."""

    def batches(first):
        for step in range(first, STEPS):
            seen.append(step)
            if len(seen) == last_batch:
                raise Killed
            yield {"x": np.full(ROWS, bad.get(step, 1.0), np.float32)}

    return Task(
        unit="token",
        init=lambda key: {"w": jnp.ones(())},
        loss=linear,
        batches=batches,
        batches_per_epoch=batches_per_epoch,
        shapes="",
        evaluate=lambda state: {"loss": float(state.params["w"])},
    )


class Killed(BaseException):
    """Ends a run as nothing in it expects."""


def go(workdir, bad, *, last_batch=None, driver="jit", batches_per_epoch=10):
    """Trains; returns the steps whose batches were made, and what was said."""
    seen, console = [], Console(record=True, width=200)
    workdir.mkdir(exist_ok=True)
    train_to_end(
        workdir,
        task(bad, seen, last_batch, batches_per_epoch),
        TrainingConfig(num_steps=STEPS, evaluation_interval=10, driver=driver),
        OptimizerConfig(warmup_steps=1),
        seed=0,
        started=0.0,
        console=console,
    )
    return seen, console.export_text()


def last_checkpoint(workdir):
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        step = checkpoints.steps()[-1]
        return step, checkpoints.note(step)


def test_single_faults_are_counted_and_logged(tmp_path):
    _, said = go(tmp_path / "run", {3: math.nan, 25: math.inf})
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    train = [line for line in map(json.loads, lines) if line["split"] == "train"]
    assert [line["skipped"] for line in train] == [1, 1, 2, 2, 2, 2]
    assert train[0]["loss_nats_per_token"] is not None
    assert "step 10: 1 updates of this run were skipped" in said
    assert last_checkpoint(tmp_path / "run")[1]["left_out"] == []


@pytest.mark.parametrize("name", ["jit", "pmap"])
def test_after_a_row_the_run_goes_back_and_leaves_the_batches_out(tmp_path, name):
    bad = dict.fromkeys(range(33, 38), math.nan)
    seen, said = go(tmp_path / "run", bad, driver=name)
    # Noticed at step 40, where metrics are read; nothing was saved there before.
    assert seen == [*range(40), *range(30, STEPS)]
    assert "the updates from step 33 to 38 were skipped; goes back to step 30" in said
    step, note = last_checkpoint(tmp_path / "run")
    assert (step, note["left_out"]) == (STEPS, [[33, 38]])


def test_a_row_before_the_first_checkpoint_goes_back_to_the_beginning(tmp_path):
    seen, _ = go(tmp_path / "run", dict.fromkeys(range(2, 8), math.nan))
    assert seen == [*range(10), *range(STEPS)]


# Killed before the row is noticed, and after the run has gone back and saved again.
@pytest.mark.parametrize("last_batch", [39, 55])
def test_a_killed_run_leaves_out_the_same_batches(tmp_path, whole, last_batch):
    with pytest.raises(Killed):
        go(tmp_path, ROW, last_batch=last_batch)
    go(tmp_path, ROW)
    assert last_checkpoint(tmp_path)[1]["left_out"] == [[33, 39]]
    pairs = zip(*map(jax.tree.leaves, (final(whole), final(tmp_path))), strict=True)
    assert all(np.array_equal(ours, theirs) for ours, theirs in pairs)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("whole")
    go(workdir, ROW)
    return workdir


def final(workdir):
    state = init_state(
        {"w": jnp.ones(())}, make_optimizer(OptimizerConfig(warmup_steps=1), STEPS)
    )
    with Checkpoints(workdir / "checkpoints") as checkpoints:
        return checkpoints.restore(STEPS, state)


def test_after_three_returns_the_run_stops_with_one_line(tmp_path):
    bad = {step: math.nan for step in range(STEPS) if step % 10 < 6}
    with pytest.raises(InputError, match=r"has gone back 3 times already; lower") as it:
        go(tmp_path / "run", bad)
    assert "\n" not in str(it.value)


def test_a_run_on_other_devices_says_that_its_batches_are_others(tmp_path):
    with pytest.raises(Killed):
        go(tmp_path, {}, last_batch=25)
    _, said = go(tmp_path, {}, last_batch=None, batches_per_epoch=12)
    assert "12 updates an epoch, not 10 as before" in said
    _, said = go(tmp_path, {}, batches_per_epoch=12)
    assert "as before" not in said


def test_batches_that_are_left_out_stay_what_they_were(tmp_path):
    with pytest.raises(Killed):
        go(tmp_path, ROW, last_batch=55)
    with pytest.raises(
        InputError, match=r"had 10 .* now have 12, .* as many dev"
    ) as it:
        go(tmp_path, ROW, batches_per_epoch=12)
    assert "\n" not in str(it.value)


def test_a_note_that_does_not_say_how_long_an_epoch_was_is_no_fault():
    assert _other_plan({"left_out": [[1, 2]], "ended": False}, 12) is None
