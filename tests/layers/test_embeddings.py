"""Embeddings: their scale, and one table for two purposes."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.layers.embeddings import Embedding, embed, tied_logits

TABLE = jnp.array([[1.0, 0.0, 2.0, 0.0], [0.0, 3.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])


def test_a_token_is_its_row_times_the_root_of_the_width():
    found = embed(TABLE, jnp.array([[2, 0], [1, 1]]))
    np.testing.assert_array_equal(found, 2.0 * np.asarray(TABLE)[[[2, 0], [1, 1]]])


def test_a_frequent_row_learns_in_bfloat16_too():
    # In bfloat16 a sum of ones ends at 256; 3,000 times √4 is 6,000.
    table = jnp.ones((2, 4), jnp.bfloat16)
    tokens = jnp.zeros(3_000, jnp.int32)
    gradient = jax.grad(lambda table: embed(table, tokens).astype(float).sum())(table)
    np.testing.assert_allclose(np.float32(gradient[0]), 6_000, rtol=0.01)


def test_logits_by_hand_are_products_without_the_scale():
    features = jnp.array([[[1.0, 2.0, 3.0, 4.0]]])
    np.testing.assert_allclose(tied_logits(TABLE, features), [[[7.0, 6.0, 10.0]]])


def test_one_table_embeds_and_scores():
    embedding = Embedding(vocab_size=3, model_dim=4)
    variables = embedding.init(jax.random.key(0), jnp.array([0]))
    assert jax.tree.map(jnp.shape, variables) == {"params": {"table": (3, 4)}}
    variables = {"params": {"table": TABLE}}
    vectors = embedding.apply(variables, jnp.array([0, 2]))
    logits = embedding.apply(variables, vectors, method="logits")
    np.testing.assert_allclose(logits, [[10, 0, 6], [6, 6, 8]], atol=1e-5)


def test_both_uses_teach_the_table():
    features = jnp.array([[0.5, -1.0, 0.0, 2.0]])

    def total(table):
        variables = {"params": {"table": table}}
        embedding = Embedding(vocab_size=3, model_dim=4)
        vectors = embedding.apply(variables, jnp.array([1]))
        logits = embedding.apply(variables, features, method="logits")
        return vectors.sum() + logits.sum()

    expected = np.repeat(np.asarray(features), 3, axis=0)
    expected[1] += 2.0
    np.testing.assert_allclose(jax.grad(total)(TABLE), expected, atol=1e-5)


def test_at_the_start_embeddings_and_logits_have_variance_one():
    embedding = Embedding(vocab_size=1_000, model_dim=64)
    variables = embedding.init(jax.random.key(0), jnp.array([0]))
    vectors = embedding.apply(variables, jnp.arange(1_000))
    # The variance of 64,000 draws is known to √(2/64,000) = 0.0056; five of them.
    assert abs(float(vectors.var()) - 1.0) < 0.028
    features = jax.random.normal(jax.random.key(1), (100, 64))
    logits = embedding.apply(variables, features, method="logits")
    # Its mean square, over 100 features of 64 normal numbers each, is known to 0.018,
    # and over the 64,000 of the table to 0.0056: five times their root sum of squares.
    assert abs(float((logits**2).mean()) - 1.0) < 0.095


def test_the_dtype_of_the_table_is_kept():
    table = TABLE.astype(jnp.bfloat16)
    assert embed(table, jnp.array([0])).dtype == jnp.bfloat16
    assert tied_logits(table, table).dtype == jnp.bfloat16
