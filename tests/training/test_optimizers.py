"""Schedules by hand, and what decays."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import pytest
from flax.traverse_util import flatten_dict

import zoo
from zoo.errors import InputError
from zoo.models.contract import initialize
from zoo.training.config import OptimizerConfig, TrainingConfig
from zoo.training.optimizers import decays, hold, judge_of, make_optimizer, schedule
from zoo.training.plateau import no_plateau


def test_inverse_square_root_by_hand():
    rate = schedule(OptimizerConfig(learning_rate=0.1, warmup_steps=4), 100)
    # Rises by a quarter an update; at update 16 it is √(4/16) of the peak.
    assert [float(rate(step)) for step in (0, 1, 3)] == pytest.approx(
        [0.025, 0.05, 0.1]
    )
    assert float(rate(15)) == pytest.approx(0.05)


def test_cosine_by_hand():
    config = OptimizerConfig(learning_rate=0.1, schedule="cosine", warmup_steps=10)
    rate = schedule(config, 110)
    assert float(rate(5)) == pytest.approx(0.05)
    assert float(rate(10)) == pytest.approx(0.1)
    assert float(rate(60)) == pytest.approx(0.05)
    assert float(rate(110)) == pytest.approx(0.0, abs=1e-8)


def test_a_warm_up_longer_than_the_run_is_refused():
    with pytest.raises(InputError, match=r"100 warm-up updates .* 50"):
        TrainingConfig(num_steps=50).check(OptimizerConfig(warmup_steps=100))


def test_a_large_gradient_is_clipped_and_only_matrices_decay():
    config = OptimizerConfig(learning_rate=1.0, warmup_steps=1, clip_norm=1.0)
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    zero = {"kernel": jnp.zeros((2, 2)), "bias": jnp.zeros(2)}
    for decay, expected in ((0.0, 0.0), (0.1, -0.1)):
        optimizer = make_optimizer(dataclasses.replace(config, weight_decay=decay), 10)
        updates, _ = optimizer.update(zero, optimizer.init(params), params)
        assert updates["kernel"][0, 0] == pytest.approx(expected)
        assert updates["bias"][0] == 0.0
    huge = {"kernel": jnp.full((2, 2), 1e6), "bias": jnp.zeros(2)}
    optimizer = make_optimizer(config, 10)
    _, state = optimizer.update(huge, optimizer.init(params), params)
    momentum = state[1][0].mu["kernel"]
    # Clipped to norm 1, each of the four entries is 1/2, and 1 - 0.9 of it is kept.
    assert momentum[0, 0] == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["transformer-tiny", "rnn-bahdanau"])
def test_in_a_real_model_neither_biases_nor_norms_decay(name):
    model = zoo.create_model(name, vocab_size=11)
    params = jax.eval_shape(partial(initialize, model), jax.random.key(0))
    found = flatten_dict(decays(params), sep="/")
    ends = {path: path.rpartition("/")[2] for path in found}
    assert {ends[path] for path in found if not found[path]} <= {
        *("bias", "scale", "vector")
    }
    assert not any(found[path] for path in found if ends[path] in ("bias", "scale"))
    assert {"kernel", "table"} <= {ends[path] for path in found if found[path]}
    wide = flatten_dict(params, sep="/")
    if name == "transformer-tiny":  # the biases of heads have two axes
        assert any(wide[path].ndim > 1 for path in found if ends[path] == "bias")


def test_a_plateau_rises_and_then_stays():
    config = OptimizerConfig(learning_rate=0.1, schedule="plateau", warmup_steps=4)
    rate = schedule(config, 100)
    found = [float(rate(step)) for step in (0, 1, 3, 4, 99)]
    assert found == pytest.approx([0.025, 0.05, 0.1, 0.1, 0.1])
    at_once = schedule(dataclasses.replace(config, warmup_steps=0), 100)
    assert float(at_once(0)) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("name", "scales"), [("plateau", [1.0, 1.0, 0.1]), ("cosine", [1.0] * 3)]
)
def test_only_a_plateau_is_lowered_by_evaluations(name, scales):
    config = OptimizerConfig(schedule=name, plateau_patience=2, plateau_factor=0.1)
    plateau, found = no_plateau(), []
    for _ in scales:
        plateau = judge_of(config)(plateau, 1.0)
        found.append(float(plateau.scale))
    assert found == pytest.approx(scales)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"plateau_factor": 1.0}, r"plateau_factor is 1\.0"),
        ({"plateau_factor": 0.0}, r"plateau_factor is 0\.0"),
        ({"plateau_patience": 0}, "plateau_patience is 0"),
    ],
)
def test_a_plateau_out_of_range_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        OptimizerConfig(**fields)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((OptimizerConfig, name) for name in ("learning_rate", "clip_norm")),
        *((OptimizerConfig, name) for name in ("epsilon", "weight_decay")),
        *((OptimizerConfig, name) for name in ("beta1", "plateau_factor")),
        *((TrainingConfig, name) for name in ("max_minutes", "ema_decay")),
    ],
)
def test_what_is_no_ordinary_number_is_refused(kind, name, value):
    with pytest.raises(InputError, match=f"{name} is {value}"):
        kind(**{name: value})


PARTS = {
    "tower": {"kernel": jnp.full((3, 3), 2.0), "bias": jnp.ones(3)},
    "tower_norm": {"scale": jnp.ones(5)},
}
FROZEN = OptimizerConfig(
    learning_rate=0.1, warmup_steps=1, weight_decay=0.5, frozen=("tower",)
)


def test_a_frozen_part_gets_no_update_no_decay_and_no_state():
    optimizer = make_optimizer(FROZEN, 10)
    state = optimizer.init(PARTS)
    # The two moments of the learned part, and what counts steps.
    assert sorted(leaf.shape for leaf in jax.tree.leaves(state) if leaf.ndim) == [
        (5,),
        (5,),
    ]
    gradient = jax.tree.map(jnp.ones_like, PARTS)
    updates, _ = optimizer.update(gradient, state, PARTS)
    assert not any(leaf.any() for leaf in jax.tree.leaves(updates["tower"]))
    assert jnp.all(updates["tower_norm"]["scale"] < 0)


def test_the_gradient_of_a_frozen_part_counts_for_no_clipping():
    gradient = {
        "tower": jax.tree.map(lambda leaf: 1e9 * leaf, PARTS["tower"]),
        "tower_norm": {"scale": jnp.full(5, 0.1)},
    }
    optimizer = make_optimizer(FROZEN, 10)
    alone = make_optimizer(dataclasses.replace(FROZEN, frozen=()), 10)
    rest = {"tower_norm": PARTS["tower_norm"]}
    updates, _ = optimizer.update(gradient, optimizer.init(PARTS), PARTS)
    expected, _ = alone.update(
        {"tower_norm": gradient["tower_norm"]}, alone.init(rest), rest
    )
    assert jnp.array_equal(
        updates["tower_norm"]["scale"], expected["tower_norm"]["scale"]
    )


@pytest.mark.parametrize("name", ["tow", "tower/kernels", "norm", ""])
def test_a_part_that_is_not_there_cannot_be_frozen(name):
    config = dataclasses.replace(FROZEN, frozen=("tower", name))
    with pytest.raises(InputError, match=f"part to freeze: '{name}'; did you mean"):
        make_optimizer(config, 10).init(PARTS)


def test_a_held_loss_is_the_loss_and_knows_no_gradient_of_what_is_frozen():
    def loss(params, batch, key):
        return sum((leaf**2).sum() for leaf in jax.tree.leaves(params)) * batch

    held = hold(loss, ["tower/kernel"])
    value, gradient = jax.value_and_grad(held)(PARTS, 3.0, None)
    assert value == loss(PARTS, 3.0, None)
    assert not gradient["tower"]["kernel"].any()
    assert gradient["tower"]["bias"].tolist() == [6.0] * 3
    assert hold(loss, []) is loss
