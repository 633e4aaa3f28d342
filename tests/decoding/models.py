"""A model whose probabilities stand in a table, and small real ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

import zoo
from zoo.models.contract import initialize

WORDS = (3, 4, 5)
VOCAB = 6


class Trigrams:
    """A model whose next token depends on the two before it and on the source's first.

    Its params are the logits, [source token, token before last, last, next].
    """

    pad_id, start_id, eos_id = 0, 1, 2

    def apply(self, variables, *arguments, method):
        return getattr(self, method)(jnp.asarray(variables["params"]), *arguments)

    def features(self, params, source, inputs):
        before = jnp.pad(inputs[:, :-1], ((0, 0), (1, 0)), constant_values=1)
        return params[source[:, :1], before, inputs]

    def encode(self, params, source):
        return source[:, :1]

    def start(self, params, memory, num_hypotheses, max_length):
        return jnp.ones((memory.shape[0], num_hypotheses), jnp.int32)

    def step(self, params, memory, carry, tokens, position):
        return tokens, params[memory, carry, tokens]

    def logits(self, params, features):
        return features

    def reorder(self, params, carry, parents):
        return jnp.take_along_axis(carry, parents, axis=1)


def draw_tables(seed, number):
    """Returns params for `number` sources; padding and start have no probability."""
    rng = np.random.default_rng(seed)
    logits = 1.5 * rng.normal(size=(number, VOCAB, VOCAB, VOCAB))
    logits[..., :2] = -np.inf
    return logits.astype(np.float32)


def log_prob(table, sentence, start=0):
    """Returns log p of the tokens of a sentence from place `start` on, in a loop."""
    history, total = (1, 1, *sentence), 0.0
    for place in range(start, len(sentence)):
        before, last, token = history[place : place + 3]
        row = table[before, last]
        total += row[token] - np.log(np.exp(row).sum())
    return total


def written(tokens):
    """Returns the tokens of a hypothesis without the padding at its end."""
    return tuple(np.trim_zeros(np.asarray(tokens), "b").tolist())


@functools.cache
def make(name, seed=0):
    """Returns a model of width 16 whose parameters are all noise."""
    sizes = {
        "rnn-gru": {},
        "rnn-bahdanau": {"attention_dim": 12},
        "transformer-tiny": {"mlp_dim": 24, "num_heads": 2, "num_layers": 1},
    }[name]
    model = zoo.create_model(
        name, vocab_size=11, dropout_rate=0.0, model_dim=16, **sizes
    )
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(functools.partial(initialize, model), jax.random.key(0))
    params = jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0.0, 0.5, leaf.shape), jnp.float32), shapes
    )
    return model, params
