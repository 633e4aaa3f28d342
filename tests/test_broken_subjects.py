"""A law that cannot fail proves nothing: these fail once their subject is broken."""

import jax.numpy as jnp
import pytest

import zoo.decoding.ensemble
import zoo.laws
import zoo.layers.attention
import zoo.layers.blocks
import zoo.models.transformer
from tests import test_zoo as models
from tests.decoding import test_ensemble as ensembles
from tests.decoding import test_rules as rules
from tests.layers import test_chunked_attention as chunks
from tests.layers import test_positions as positions

fails = pytest.raises(AssertionError)


@pytest.mark.parametrize(
    ("law", "subject", "broken"),
    [
        ("the future", "causal_mask", lambda n: jnp.ones((1, 1, n, n), bool)),
        ("padding", "padding_mask", lambda valid: jnp.ones_like(valid)[:, None, None]),
    ],
)
def test_a_transformer_without_a_mask_breaks_a_law(law, subject, broken, monkeypatch):
    monkeypatch.setattr(zoo.models.transformer, subject, broken)
    zoo.laws._compiled.cache_clear()
    (law,) = (name for name in zoo.laws.LAWS if name.startswith(law))
    with fails:
        models.test_every_model_keeps_every_law("transformer-sinusoidal", law)
    zoo.laws._compiled.cache_clear()


@pytest.mark.parametrize(
    ("law", "method", "broken"),
    [
        ("reordering", "reorder", lambda self, carry, parents: carry),
        (
            "other sentences",
            "logits",
            lambda self, features: features - features.mean(0),
        ),
    ],
)
def test_a_model_that_mixes_hypotheses_or_sentences_breaks_a_law(
    law, method, broken, monkeypatch
):
    monkeypatch.setattr(zoo.models.transformer.Transformer, method, broken)
    zoo.laws._compiled.cache_clear()
    (law,) = (name for name in zoo.laws.LAWS if name.startswith(law))
    with fails:
        models.test_every_model_keeps_every_law("transformer-sinusoidal", law)
    zoo.laws._compiled.cache_clear()


def test_a_cache_that_is_written_one_place_too_late_breaks_a_law(monkeypatch):
    step = zoo.layers.blocks.DecoderBlock.step
    monkeypatch.setattr(
        zoo.layers.blocks.DecoderBlock,
        "step",
        lambda self, inputs, cache, position, *rest: step(
            self, inputs, cache, position + 1, *rest
        ),
    )
    zoo.laws._compiled.cache_clear()
    with fails:
        models.test_every_model_keeps_every_law(
            "transformer-sinusoidal", "step by step is teacher forcing"
        )
    zoo.laws._compiled.cache_clear()


def test_a_step_that_is_not_a_number_breaks_a_law(monkeypatch):
    step = zoo.models.transformer.Transformer.step

    def undefined(self, *arguments):
        carry, features = step(self, *arguments)
        return carry, features * jnp.nan

    monkeypatch.setattr(zoo.models.transformer.Transformer, "step", undefined)
    zoo.laws._compiled.cache_clear()
    with fails:
        models.test_every_model_keeps_every_law(
            "transformer-sinusoidal", "step by step is teacher forcing"
        )
    zoo.laws._compiled.cache_clear()


def test_rotations_by_the_square_of_a_position_know_more_than_the_distance(monkeypatch):
    rotate = positions.rotate
    monkeypatch.setattr(positions, "rotate", lambda heads, at: rotate(heads, at**2))
    with fails:
        positions.test_rotary_scores_depend_on_distance_only(1)


def test_a_look_at_the_number_of_a_key_does_not_commute(monkeypatch):
    weights = zoo.layers.attention.attention_weights

    def numbered(query, key, mask=None, bias=None):
        return weights(
            query, key, mask, 0.1 * jnp.arange(1.0 * key.shape[1])[None, None, None]
        )

    monkeypatch.setattr(zoo.layers.attention, "attention_weights", numbered)
    with fails:
        positions.test_without_positions_attention_commutes_with_a_permutation_of_its_keys()


def test_chunks_without_the_mask_are_not_the_whole(monkeypatch):
    attend = chunks.chunked_attention
    monkeypatch.setattr(
        chunks,
        "chunked_attention",
        lambda query, key, value, mask=None, bias=None, *, chunk_size: attend(
            query, key, value, None, bias, chunk_size=chunk_size
        ),
    )
    chunks.chunked.cache_clear()
    with fails:
        chunks.test_chunked_is_whole_with_its_gradients(3)
    chunks.chunked.cache_clear()


def test_a_ban_of_nothing_lets_the_banned_token_through(monkeypatch):
    ban = rules.ban
    monkeypatch.setattr(rules, "ban", lambda token_ids, size: ban((), size))
    with fails:
        rules.test_a_banned_token_never_appears_and_the_rest_scores_as_without_a_rule()


def test_an_ensemble_that_adds_up_twice_is_not_the_model(monkeypatch):
    mean = zoo.decoding.ensemble._log_of_mean
    monkeypatch.setattr(
        zoo.decoding.ensemble, "_log_of_mean", lambda logits: 2.0 * mean(logits)
    )
    with fails:
        ensembles.test_an_ensemble_of_one_is_the_model("rnn-bahdanau")
