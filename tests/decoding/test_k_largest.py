import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.decoding.hypotheses import k_largest


@pytest.mark.parametrize(
    ("size", "k"),
    [(7, 3), (64, 8), (640, 8), (641, 3), (1000, 32), (703, 11), (703, 1)],
)
@pytest.mark.parametrize("num_values", [3, 10_000])
def test_blocks_find_what_a_search_through_all_does(size, k, num_values):
    """With few values nearly all scores are equal, and the first must come first."""
    generator = np.random.default_rng(size + k)
    scores = generator.integers(num_values, size=(4, 5, size)).astype(np.float32)
    scores[0, :, size // 2 :] = -np.inf
    scores[1, 0] = -np.inf
    scores = jnp.array(scores)
    for mine, theirs in zip(
        k_largest(scores, k), jax.lax.top_k(scores, k), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_nothing_is_left_out_that_stands_behind_the_last_whole_block():
    scores = np.zeros((1, 200), np.float32)
    scores[0, 199] = 1.0
    largest, places = k_largest(jnp.array(scores), 2)
    assert largest.tolist() == [[1.0, 0.0]]
    assert places.tolist() == [[199, 0]]
