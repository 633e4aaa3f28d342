"""Laws that every model of the zoo that answers questions about images keeps.

To compile takes far longer here than to run, so each model is compiled twice: once for
all that is asked of a batch, and once for questions alone.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.visual_models import (
    ANSWERS,
    BATCH,
    TINY,
    VOCAB,
    WIDTH,
    batch,
    draw,
    every_model,
    make,
    shapes_of,
    small,
)
from zoo.catalogue import model_config
from zoo.decoding import beam_search, score_pairs
from zoo.laws import step_by_step_is_teacher_forcing
from zoo.layers.norms import RMSNorm
from zoo.layers.positions import AlibiPositions, RelativePositions
from zoo.losses import sigmoid_cross_entropy
from zoo.models.contract import Seq2Seq
from zoo.models.visual_configs import VISUAL_PRESETS, ViltConfig
from zoo.models.visual_contract import AnswerClassifier, VisualModel, answer_and_look
from zoo.visual_laws import (
    pictures_of_the_batch_cannot_matter,
    questions_of_one_image_cannot_influence_each_other,
    violations,
)


@functools.cache
def evaluator(name):
    """Returns what gives (loss, (logits, looks)) and gradients."""
    model, _ = make(name)

    def loss(params, image, questions, labels):
        logits, found = answer_and_look(model, params, image, questions)
        targets = jax.nn.one_hot(labels, logits.shape[-1])
        total = sigmoid_cross_entropy(logits, targets, questions.any(axis=-1))
        return total.smoothed / total.count, (logits, found)

    return jax.jit(jax.value_and_grad(loss, has_aux=True))


def logits_of(name, image, questions):
    (_, (logits, _)), _ = evaluator(name)(make(name)[1], image, questions, batch()[2])
    return np.asarray(logits)


@functools.cache
def results(name):
    """Returns logits, looks and gradients for the batch."""
    (_, (logits, found)), gradients = evaluator(name)(make(name)[1], *batch())
    return jax.device_get((logits, found, gradients))


def test_the_laws_cover_every_family():
    families = {type(config) for config in VISUAL_PRESETS.values()}
    # ViLT takes no features; its laws are in tests/pretrained/test_vilt.py.
    here = {type(model_config(f"{name}-tiny")) for name in TINY}
    assert here == families - {ViltConfig}


@every_model
def test_every_model_keeps_the_contract(name):
    model, _ = make(name)
    assert isinstance(model, VisualModel)
    assert isinstance(model, AnswerClassifier) != isinstance(model, Seq2Seq)


def check_parts(model, image):
    """Calls every method of a model in bfloat16, without computing anything."""

    def in_parts(params, image, questions):
        call = functools.partial(model.apply, {"params": params})
        regions, valid = call(image, method="encode_image")
        if not isinstance(model, Seq2Seq):
            return call(regions, valid, questions, method="answer")
        memory = call(regions, valid, questions, method="read")
        carry = call(memory, 2, 3, method="start")
        tokens = jnp.ones((6, 2), jnp.int32)
        _, features = call(memory, carry, tokens, jnp.int32(0), method="step")
        return call(features, method="logits")

    half = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, jnp.bfloat16), shapes_of(model)
    )
    logits = jax.eval_shape(in_parts, half, image, batch()[1][:2])
    assert logits.dtype == jnp.bfloat16
    expected = (6, 2, VOCAB) if isinstance(model, Seq2Seq) else (2, 3, ANSWERS)
    assert logits.shape == expected


@every_model
def test_init_draws_what_each_method_uses_and_bfloat16_stays_bfloat16(name):
    check_parts(make(name)[0], jnp.zeros((2, 5, WIDTH)))


@pytest.mark.parametrize("sight", ["cnn_dim", "patch_size"])
def test_parameters_do_not_depend_on_the_size_of_an_image(sight):
    model = small("single-stream", **{"patch_size": 0, sight: 8})
    check_parts(model, jnp.zeros((2, 27, 41, 3), jnp.uint8))


@every_model
def test_the_image_does_matter(name):
    image, questions, _ = batch()
    image = image.copy()
    image[0, 0] += 1.0
    changed = np.abs(logits_of(name, image, questions) - results(name)[0])
    assert changed[0].max(axis=-1).min() > 1e-3


@every_model
def test_the_question_does_matter(name):
    image, questions, _ = batch()
    changed = questions.copy()
    changed[:, :, 0] = np.where(questions[:, :, 0] == 7, 8, 7)
    difference = np.abs(logits_of(name, image, changed) - results(name)[0])
    assert difference.max(axis=-1).min() > 1e-3


@every_model
def test_other_images_of_the_batch_cannot_matter(name):
    logits = functools.partial(logits_of, name)
    inputs = map(jnp.asarray, batch()[:2])
    assert pictures_of_the_batch_cannot_matter(logits, *inputs) < 1e-5


@every_model
def test_questions_of_one_image_cannot_influence_each_other(name):
    logits = functools.partial(logits_of, name)
    law = questions_of_one_image_cannot_influence_each_other
    assert law(logits, *map(jnp.asarray, batch()[:2])) < 1e-5


@every_model
def test_the_order_of_regions_given_as_features_cannot_matter(name):
    image, questions, _ = batch()
    logits = logits_of(name, np.roll(image, 2, axis=1), questions)
    np.testing.assert_allclose(logits, results(name)[0], atol=1e-5)


@every_model
def test_alone_and_unasked_under_pmap_is_together_and_asked_under_jit(name):
    # One question, without the regions of zeros, with more padding, and nobody asks for
    # attention.
    model, params = make(name)
    image, questions, _ = batch()
    chosen = np.stack([questions[0, 0], questions[1, 2]])
    padded = np.pad(chosen, ((0, 0), (0, 2)))

    def answer(image, questions):
        arguments = image, questions
        if isinstance(model, Seq2Seq):
            arguments = arguments, jnp.full((1, 1), model.start_id)
        return model.apply({"params": params}, *arguments)

    alone = jax.pmap(answer, devices=jax.devices()[:2])(
        image[:2, None, :3], padded[:, None, None]
    )
    logits = results(name)[0]
    together = np.stack([logits[0, 0], logits[1, 2]])
    np.testing.assert_allclose(alone.reshape(2, -1), together, atol=1e-4)


def test_a_model_keeps_every_law():
    # One model, as every operation is compiled alone; the laws of layers are eager too.
    model, params = make("vqa-baseline")
    found = violations(model, params, *map(jnp.asarray, batch()[:2]))
    assert len(found) == 6
    assert max(found.values()) < 1e-4


@every_model
def test_each_look_is_a_distribution_over_the_real_regions(name):
    found = results(name)[1]
    assert (
        list(found)
        == {
            "vqa-baseline": [],
            "stacked-attention": ["glimpse 1", "glimpse 2"],
            "mcan": ["glimpse 1"],
            "single-stream": ["layer 1"],
            "answer-decoder": ["layer 1"],
        }[name]
    )
    for weights in found.values():
        assert weights.shape == (BATCH, 3, 5)
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)
        assert weights[:2, :, 3:].max() == 0.0
        assert np.abs(weights[:, 0] - weights[:, 2]).max() > 1e-3


def test_a_fork_that_writes_its_answers_decodes_as_it_is_trained():
    # With parts that the zoo's own does not have: a bias, a last norm, another start.
    model, _ = make("answer-decoder")
    fork = model.clone(
        source_positions=RelativePositions(4, True),
        target_positions=AlibiPositions(4),
        final_norm=RMSNorm,
        embedding_norm=RMSNorm,
        zero_start=True,
    )
    image, questions, _ = batch()
    inputs = jnp.array([[1, 5, 6, 7], [1, 6, 7, 5]] * 3)
    arguments = draw(fork), (image[:2], questions[:2]), inputs
    assert step_by_step_is_teacher_forcing(fork, *arguments) < 1e-4


@every_model
def test_gradients_are_finite_beside_padding_and_reach_every_parameter(name):
    gradients = jax.tree_util.tree_leaves_with_path(results(name)[2])
    assert all(np.isfinite(leaf).all() for _, leaf in gradients)
    for path, leaf in gradients:
        where = jax.tree_util.keystr(path)
        # What changes all scores of a query alike changes no softmax, and the first
        # word that is written sees itself alone.
        silent = where.endswith(("['key']['bias']", "['score']['bias']"))
        alone = "['decoder_0']['self_attention']" in where
        if not (silent or (alone and ("query" in where or "key" in where))):
            assert np.abs(leaf).max() > 0, where


def places():
    """Returns every picture of a bright region, with two questions: where, and what is
    opposite? A fifth region and a third question are padding.
    """
    bright = np.arange(BATCH) % 4
    image = np.zeros((BATCH, 5, WIDTH), np.float32)
    image[:, :4, :4] = np.eye(4)
    image[np.arange(BATCH), bright, 4] = 2.0
    questions = np.array([[3, 0, 0, 0], [5, 4, 0, 0], [0, 0, 0, 0]], np.int32)
    questions = np.tile(questions, (BATCH, 1, 1))
    labels = np.stack([bright, (bright + 2) % 4, bright], axis=1).astype(np.int32)
    return image, questions, labels


@every_model
def test_every_model_learns_to_find_a_place(name):
    params = make(name)[1]
    first, second = (jax.tree.map(np.zeros_like, params) for _ in range(2))
    top_rate = 0.005 if "num_layers" in TINY[name] else 0.03
    for step in range(1, 121):
        (_, (logits, _)), gradients = evaluator(name)(params, *places())
        # Adam (Kingma and Ba 2015), algorithm 1.
        first = jax.tree.map(
            lambda m, g: 0.9 * m + 0.1 * np.asarray(g), first, gradients
        )
        second = jax.tree.map(
            lambda v, g: 0.98 * v + 0.02 * np.asarray(g) ** 2, second, gradients
        )
        rate = top_rate * np.sqrt(1 - 0.98**step) / (1 - 0.9**step)
        params = jax.tree.map(
            lambda p, m, v, rate=rate: np.float32(p - rate * m / (np.sqrt(v) + 1e-8)),
            params,
            first,
            second,
        )
    right = np.asarray(logits).argmax(axis=-1) == places()[2]
    assert right[:, :2].all()


def test_what_a_beam_writes_scores_as_teacher_forcing_says():
    model, params = make("answer-decoder")
    source = batch()[0][:2], batch()[1][:2]

    def search(params, source):
        found = beam_search(
            model, params, source, 3, num_hypotheses=2, length_penalty=0.0
        )
        best = found.tokens[:, 0]
        inputs = jnp.pad(best[:, :-1], ((0, 0), (1, 0)), constant_values=1)
        return found, score_pairs(model, params, source, inputs, best)

    found, log_probs = jax.jit(search)(params, source)
    # A row for each of the three questions of two images.
    assert found.tokens.shape == (6, 2, 3)
    np.testing.assert_allclose(found.scores[:, 0], log_probs.sum(axis=1), atol=1e-4)
