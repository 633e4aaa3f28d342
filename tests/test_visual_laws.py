"""The visual laws tell a model that breaks them, each its own mistake."""

import jax.numpy as jnp
import numpy as np
import pytest

from zoo import visual_laws as laws

RNG = np.random.default_rng(0)
IMAGE = jnp.asarray(RNG.normal(size=(3, 4, 5)), jnp.float32)
QUESTIONS = jnp.array([[[3, 4], [5, 0]], [[6, 7], [8, 3]], [[4, 4], [7, 0]]])
VALID = jnp.ones((3, 4), bool)


def sound(image, questions):
    """Returns "logits" [B, G, 5] of a question alone and its own image."""
    words = (questions * (questions != 0)).sum(axis=-1)
    return words[:, :, None] * image.mean(axis=1)[:, None]


def looks_at_padding(image, questions):
    return sound(image, questions + 1)


def hears_other_questions(image, questions):
    logits = sound(image, questions)
    return logits - logits.mean(axis=1, keepdims=True)


def hears_earlier_questions(image, questions):
    return jnp.cumsum(sound(image, questions), axis=1)


def counts_the_questions(image, questions):
    return sound(image, questions) * questions.shape[1]


def sees_other_pictures(image, questions):
    return sound(image - image.mean(axis=0), questions)


def is_no_number(image, questions):
    return sound(image, questions) * jnp.nan


@pytest.mark.parametrize(
    ("law", "broken"),
    [
        (laws.padding_of_a_question_cannot_matter, looks_at_padding),
        (
            laws.questions_of_one_image_cannot_influence_each_other,
            hears_other_questions,
        ),
        (
            laws.questions_of_one_image_cannot_influence_each_other,
            hears_earlier_questions,
        ),
        (laws.questions_at_once_are_one_by_one, counts_the_questions),
        (laws.pictures_of_the_batch_cannot_matter, sees_other_pictures),
    ],
)
def test_each_law_tells_its_mistake(law, broken):
    assert law(sound, IMAGE, QUESTIONS) < 1e-5
    assert law(broken, IMAGE, QUESTIONS) > 1e-2
    assert np.isnan(law(is_no_number, IMAGE, QUESTIONS))


def test_a_region_that_is_masked_and_looked_at_is_told():
    def answer(regions, valid, questions):
        return sound(regions * valid[:, :, None], questions)

    def careless(regions, valid, questions):
        return sound(regions, questions)

    law = laws.masked_regions_cannot_matter
    assert law(answer, IMAGE, VALID, QUESTIONS) < 1e-5
    assert law(careless, IMAGE, VALID, QUESTIONS) > 1e-2


def test_a_compiled_function_that_is_another_is_told():
    assert laws.jit_is_eager(sound, sound, IMAGE, QUESTIONS) < 1e-5
    assert laws.jit_is_eager(sound, looks_at_padding, IMAGE, QUESTIONS) > 1e-2
