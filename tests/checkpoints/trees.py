"""Trees to save, as a run has them, and what is done to them."""

import jax
import jax.numpy as jnp
import numpy as np


def abstract(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree)


def assert_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def save(checkpoints, step, loss=1.0, tree=None):
    checkpoints.save(step, tree or {"params": jnp.ones(2)}, loss=loss, note={})
    checkpoints.wait()


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lines(caplog):
    return [record.getMessage() for record in caplog.records]
