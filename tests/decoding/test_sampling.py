import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.decoding.models import Trigrams, draw_tables, log_prob, written
from zoo.decoding import ban, greedy_search, no_repeated_ngrams, sample
from zoo.decoding.sampling import truncate

KEYS = jax.random.split(jax.random.key(0), 8)
ROWS = jnp.arange(8)[:, None]


def chi_square_per_outcome(drawn, probabilities):
    """Returns Pearson's statistic over its number of outcomes; about 1 if all is well.

    Outcomes of which fewer than 10 are to be expected count as one.
    """
    number = sum(drawn.values())
    assert set(drawn) <= set(probabilities)
    often = [one for one, p in probabilities.items() if p * number >= 10]
    expected = [probabilities[one] * number for one in often]
    observed = [drawn[one] for one in often]
    if len(often) < len(probabilities):
        expected.append(number - sum(expected))
        observed.append(number - sum(observed))
    pairs = zip(observed, expected, strict=True)
    return sum((o - e) ** 2 / e for o, e in pairs) / len(often)


@jax.jit
def draw(tables, rows, keys, temperature, top_p, allowed):
    """Returns 3,000 samples of at most three tokens for each of eight sentences."""
    return sample(
        Trigrams(),
        tables,
        rows,
        3,
        keys=keys,
        num_hypotheses=3000,
        temperature=temperature,
        top_p=top_p,
        rules=[lambda tokens, position: allowed],
    )


def test_sentences_come_as_often_as_they_are_probable():
    tables = draw_tables(0, 8)
    found = draw(tables, ROWS, KEYS, 1.0, 1.0, ban([], 6)(None, None))
    words = (3, 4, 5)
    ended = [
        (*begin, 2) for n in range(3) for begin in itertools.product(words, repeat=n)
    ]
    cut = list(itertools.product(words, repeat=3))
    for table, tokens, scores in zip(tables, *jax.device_get(found), strict=True):
        log_probs = {one: log_prob(table, one) for one in ended + cut}
        drawn = Counter(map(written, tokens))
        probabilities = {one: np.exp(x) for one, x in log_probs.items()}
        # Of about 20 outcomes; by chance, fewer than 1 of 100 keys exceed 2.
        assert chi_square_per_outcome(drawn, probabilities) < 2.0
        expected = [log_probs[one] / len(one) for one in map(written, tokens)]
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        assert (np.diff(scores) <= 0).all()


def test_temperature_and_rules_come_before_truncation():
    # Without 5 the three others have .4 .3 .1, at temperature one half .16 .09 .01 of
    # .26, and the two likeliest reach 0.9.
    with np.errstate(divide="ignore"):
        table = np.log(np.array([0.0, 0.0, 0.3, 0.4, 0.1, 0.2], np.float32))
    tables = np.broadcast_to(table, (8, 6, 6, 6))
    found = draw(tables, ROWS, KEYS, 0.5, 0.9, ban([5], 6)(None, None))
    drawn = Counter(np.asarray(found.tokens[:, :, 0]).ravel().tolist())
    assert chi_square_per_outcome(drawn, {3: 16 / 25, 2: 9 / 25}) < 4.0
    for tokens, score in zip(
        found.tokens[0, ::500], found.scores[0, ::500], strict=True
    ):
        expected = log_prob(tables[0], written(tokens)) / len(written(tokens))
        np.testing.assert_allclose(score, expected, atol=1e-5)


def test_samples_of_a_sentence_do_not_depend_on_its_batch():
    tables, anything = draw_tables(4, 8), ban([], 6)(None, None)
    others = jnp.array([7, 1, 1, 0, 5, 5, 3, 2])
    together = draw(tables, ROWS, KEYS, 1.0, 0.9, anything)
    among_others = draw(tables, ROWS[others], KEYS[others], 1.0, 0.9, anything)
    np.testing.assert_array_equal(among_others.tokens, together.tokens[others])


@pytest.mark.parametrize(
    ("top_k", "top_p", "kept"),
    [
        (None, None, {0, 1, 2, 3}),
        (2, None, {1, 3}),
        (9, None, {0, 1, 2, 3}),
        (None, 0.0, {1}),
        (None, 0.49, {1}),
        (None, 0.51, {1, 3}),
        (None, 0.79, {1, 3}),
        (None, 0.81, {1, 3, 0}),
        (None, 1.0, {0, 1, 2, 3}),
        (2, 0.6, {1}),  # of .5 and .3, .5 is more than 0.6
    ],
)
def test_what_is_left_to_draw_from(top_k, top_p, kept):
    logits = jnp.log(jnp.array([[[0.15, 0.5, 0.05, 0.3]]]))
    left, tokens = truncate(logits, top_k, top_p)
    assert {
        int(t) for t, x in zip(tokens[0, 0], left[0, 0], strict=True) if x > -9
    } == kept


def test_the_likeliest_token_alone_is_greedy_search():
    rules = [no_repeated_ngrams(2, 6)]
    greedy, drawn = jax.jit(
        lambda tables: (
            greedy_search(Trigrams(), tables, ROWS, 6, rules=rules),
            sample(Trigrams(), tables, ROWS, 6, keys=KEYS, top_k=1, rules=rules),
        )
    )(draw_tables(3, 8))
    np.testing.assert_array_equal(greedy.tokens, drawn.tokens)
    np.testing.assert_allclose(greedy.scores, drawn.scores, atol=1e-6)


@pytest.mark.parametrize("options", [{"top_k": 0}, {"temperature": 0.0}])
def test_a_choice_from_nothing_is_refused(options):
    (name,) = options
    with pytest.raises(ValueError, match=name):
        sample(Trigrams(), draw_tables(0, 8), ROWS, 3, keys=KEYS, **options)
