"""A tree as a run has it, and a place to save it."""

import jax.numpy as jnp
import optax
import pytest

from zoo.checkpoints import Checkpoints


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
