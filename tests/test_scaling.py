"""The model of memory and communication, held against compiled programs."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.scaling import STRATEGIES, Strategy, held, main, pieces, sent
from zoo.losses import TokenLoss
from zoo.training.devices import make_driver
from zoo.training.sharding import heads, shards, whole
from zoo.training.step import init_state, make_train_step

ROWS, WIDTH, HEADS, HEAD = 128, 32, 8, 4
OPTIMIZER = optax.adam(1e-3)
DEVICES = 8


def attention_params():
    """Returns parameters with the names of the zoo, one of which nothing cuts."""
    return {
        "query": {"kernel": jnp.ones((WIDTH, HEADS, HEAD))},
        "out": {"kernel": jnp.ones((HEADS, HEAD, WIDTH))},
        "scale": jnp.ones(7),
    }


def loss(params, batch, key):
    query = jnp.einsum("BD,DHE->BHE", batch["x"], params["query"]["kernel"])
    states = jnp.einsum("BHE,HED->BD", jnp.tanh(query), params["out"]["kernel"])
    total = (states**2).sum() + (states[:, :7] * params["scale"]).sum()
    return TokenLoss(total, total, jnp.float32(ROWS))


def compiled(name, model_devices, remat=False, **options):
    """Returns the program of an update on eight devices."""
    kept = jax.checkpoint(loss) if remat else loss
    step = make_train_step(kept, OPTIMIZER, jax.random.key(0), **options)
    driver = make_driver(name, step, model_devices=model_devices)
    state = driver.place(init_state(attention_params(), OPTIMIZER))
    batch = driver.split({"x": np.ones((ROWS, WIDTH), np.float32)})
    return driver._step.lower(state, batch).compile()


def moved(text, kind):
    """Returns the bytes that come out of the operations of a kind."""
    lines = re.findall(rf"= (.*) {kind}\(", text)
    shapes = [found for line in lines for found in re.findall(r"f32\[([\d,]*)\]", line)]
    return sum(4 * math.prod(int(n) for n in x.split(",") if n) for x in shapes)


@pytest.mark.parametrize(
    "options",
    [{}, {"accumulation": 2, "remat": True, "precision": "bfloat16"}],
    ids=["plain", "accumulation, remat, bfloat16"],
)
@pytest.mark.parametrize(
    ("name", "strategy"),
    [
        ("jit", Strategy(whole)),
        ("sharded", Strategy(shards)),
        ("jit", Strategy(heads, 2)),
    ],
    ids=["jit", "sharded", "2-D"],
)
def test_a_program_holds_and_sends_what_the_model_says(name, strategy, options):
    program = compiled(name, strategy.model_devices, **options)
    memory, text = program.memory_analysis(), program.as_text()
    state = init_state(attention_params(), OPTIMIZER)
    held_by_device = held(strategy, state, DEVICES)
    rows = 4 * ROWS * WIDTH * strategy.model_devices // DEVICES
    assert memory.argument_size_in_bytes == held_by_device + rows
    assert memory.alias_size_in_bytes == held_by_device  # the old state's memory

    params = state.params
    own = held(strategy, params, DEVICES)
    few = 512  # losses, norms, and the smallest array
    if strategy.rule is shards:
        cut = sum(
            size for size, part in pieces(strategy, params, DEVICES) if part < size
        )
        # Once, and kept for the backward pass; with remat they are gathered anew. Here
        # and there one of both passes is not told apart.
        times = 2 if "remat" in options else 1
        assert times * cut <= moved(text, "all-gather") < (times + 1) * cut
        # On a CPU, whose compiler knows no sum that ends up scattered.
        own = held(Strategy(whole), params, DEVICES)
    elif strategy.rule is whole:
        assert moved(text, "all-gather") == 0
    portions, summed = options.get("accumulation", 1), moved(text, "all-reduce")
    sums = 4 * ROWS * WIDTH // 4 if strategy.rule is heads else 0
    sums = (2 if "remat" in options else 1) * sums // portions
    assert own + sums <= summed <= own + sums + few
    if portions > 1:  # for each of them, in the body of a loop
        assert moved(text.partition("\nENTRY")[2], "all-reduce") <= few


def test_what_is_sent_by_hand():
    params = {"kernel": jnp.ones((16, 4)), "bias": jnp.ones(3)}
    # 64 and 3 floats on 4 devices: three quarters of each are sent, twice or thrice.
    assert sent(Strategy(whole), params, 4) == 2 * 0.75 * 4 * (64 + 3)
    assert sent(Strategy(shards), params, 4) == 0.75 * 4 * (3 * 64 + 2 * 3)
    assert held(Strategy(shards), params, 4) == 4 * (16 + 3)
    # Nothing is cut by heads here, and half of two devices' sums is sent twice.
    assert sent(Strategy(heads, 2), params, 4, 100) == 2 * 0.5 * (4 * 67 + 100)
    # Each portion has a gradient; sums over rows are as many in portions.
    assert sent(Strategy(whole), params, 4, portions=3) == 3 * 2 * 0.75 * 4 * 67
    assert sent(Strategy(heads, 2), params, 4, 100, portions=3) == 3 * 4 * 67 + 100


def test_the_table_has_all_strategies(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["scaling", "transformer-tiny", "--devices", "8"])
    main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + len(STRATEGIES)
