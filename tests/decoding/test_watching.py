import jax
import jax.numpy as jnp
import numpy as np

from tests.decoding.models import (
    VOCAB,
    WORDS,
    Trigrams,
    draw_tables,
    log_prob,
    make,
    written,
)
from zoo.decoding import beam_search
from zoo.decoding.watching import Watched


def search(model, params, source, **options):
    found = jax.jit(lambda p, s: beam_search(model, p, s, 6, **options))(params, source)
    jax.effects_barrier()
    return found


def watch(model, params, source, vocab_size, **options):
    """Returns what a search found, and what it told: tokens and scores by position."""
    heard = {}

    def listen(position, tokens, log_probs):
        heard[int(position)] = np.asarray(tokens), np.asarray(log_probs)

    found = search(Watched(model, vocab_size, listen), params, source, **options)
    return found, dict(sorted(heard.items()))


def test_a_beam_holds_the_likeliest_beginnings_of_those_before():
    tables = draw_tables(3, 1)
    _, heard = watch(
        Trigrams(), tables, jnp.zeros((1, 2), int), VOCAB, num_hypotheses=2
    )
    alive = [()]
    for position, (tokens, log_probs) in heard.items():
        assert [written(row) for row in tokens[0]][: len(alive)] == alive
        expected = [log_prob(tables[0], sentence) for sentence in alive]
        np.testing.assert_allclose(log_probs[0][: len(alive)], expected, atol=1e-5)
        longer = [(*sentence, word) for sentence in alive for word in WORDS]
        alive = sorted(longer, key=lambda x: -log_prob(tables[0], x))[:2]
        assert len(alive[0]) == position + 1
    assert len(heard) > 2


def test_a_search_finds_the_same_whether_it_is_watched_or_not():
    model, params = make("transformer-tiny")
    source = jnp.array([[5, 6, 7, 2], [8, 9, 2, 0]])
    plain = search(model, params, source, num_hypotheses=3)
    watched, _ = watch(model, params, source, 11, num_hypotheses=3)
    np.testing.assert_array_equal(watched.tokens, plain.tokens)
    np.testing.assert_array_equal(watched.scores, plain.scores)
