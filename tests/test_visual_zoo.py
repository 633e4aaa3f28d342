"""Laws that every model of the zoo that answers questions about images keeps.

To compile takes far longer here than to run, so each model is compiled twice: once for
all that is asked of a batch, and once for questions alone.
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.catalogue import build, config_from_json, config_to_json, model_config
from zoo.decoding import beam_search, score_pairs
from zoo.losses import sigmoid_cross_entropy
from zoo.models.contract import Seq2Seq
from zoo.models.visual_configs import (
    VISUAL_PRESETS,
    EfficientNetConfig,
    ViltConfig,
    VisionTransformerConfig,
)
from zoo.models.visual_contract import (
    AnswerClassifier,
    VisualModel,
    answer_and_look,
    initialize,
    onto_regions,
    region_grid,
)

VOCAB, ANSWERS, WIDTH = 9, 4, 6
SMALL = {"vocab_size": VOCAB, "model_dim": 16, "dropout_rate": 0.0}
CHOICE = {"num_answers": ANSWERS}
BLOCKS = {"mlp_dim": 24, "num_heads": 4, "num_layers": 1}
# One small model of each family; it is given features of regions, which compile fast.
TINY = {
    "vqa-baseline": {**CHOICE, "word_dim": 8, "joint_dim": 16},
    "stacked-attention": {
        **CHOICE,
        **{"word_dim": 8, "attention_dim": 12, "hidden_dim": 10},
    },
    "mcan": {**CHOICE, **BLOCKS, "word_dim": 8, "pooling_dim": 12},
    "single-stream": {**CHOICE, **BLOCKS},
    "answer-decoder": BLOCKS,
}
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
BATCH = 8
every_model = pytest.mark.parametrize("name", TINY)


def small(name, **sight):
    return zoo.create_model(f"{name}-tiny", **SMALL, **TINY[name], **sight)


@functools.cache
def shapes_of(model):
    return jax.eval_shape(functools.partial(initialize, model), jax.random.key(0))


def draw(model, seed=1):
    """Returns noise for every parameter, so that none is zero."""
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(
            0.3 * rng.normal(size=leaf.shape) + ("scale" in str(path[-1])), jnp.float32
        ),
        shapes_of(model),
    )


@functools.cache
def make(name):
    model = small(name, region_dim=WIDTH)
    return model, draw(model)


@functools.cache
def batch():
    """Returns images, questions and labels.

    Of the five regions of images 0 and 1, three are real; the second question of
    image 1 is padding alone.
    """
    rng = np.random.default_rng(0)
    image = rng.normal(size=(BATCH, 5, WIDTH)).astype(np.float32)
    image[:2, 3:] = 0.0
    questions = rng.integers(3, VOCAB, (BATCH, 3, 4)).astype(np.int32)
    questions[:, 0, 2:] = 0
    questions[1, 1] = 0
    return image, questions, rng.integers(0, ANSWERS, (BATCH, 3)).astype(np.int32)


@functools.cache
def evaluator(name):
    """Returns what gives (loss, (logits, looks)) and gradients, compiled."""
    model, params = make(name)

    def loss(params, image, questions, labels):
        logits, found = answer_and_look(model, params, image, questions)
        targets = jax.nn.one_hot(labels, logits.shape[-1])
        total = sigmoid_cross_entropy(logits, targets, questions.any(axis=-1))
        return total.smoothed / total.count, (logits, found)

    evaluate = jax.jit(jax.value_and_grad(loss, has_aux=True))
    return evaluate.lower(params, *batch()).compile(compiler_options=FAST)


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
    image, questions, _ = batch()
    other = np.concatenate([image[:1], np.flip(image[1:], axis=0)])
    changed = logits_of(name, other, questions)
    np.testing.assert_allclose(changed[0], results(name)[0][0], atol=1e-5)
    assert np.abs(changed - results(name)[0])[1].max() > 1e-3


@every_model
def test_questions_of_one_image_cannot_influence_each_other(name):
    image, questions, _ = batch()
    turned = np.stack([questions[:, 2], questions[:, 1] * 0 + 5, questions[:, 0]], 1)
    changed = logits_of(name, image, turned)
    np.testing.assert_allclose(changed[:, 0], results(name)[0][:, 2], atol=1e-5)
    np.testing.assert_allclose(changed[:, 2], results(name)[0][:, 0], atol=1e-5)


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


def test_eager_is_jit():
    # One model, as every operation is compiled alone; the laws of layers are eager too.
    image, questions, _ = batch()
    model, params = make("vqa-baseline")
    logits = model.apply({"params": params}, jnp.asarray(image), jnp.asarray(questions))
    np.testing.assert_allclose(logits, results("vqa-baseline")[0], atol=1e-4)


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

    compiled = jax.jit(search).lower(params, source).compile(compiler_options=FAST)
    found, log_probs = compiled(params, source)
    # A row for each of the three questions of two images.
    assert found.tokens.shape == (6, 2, 3)
    np.testing.assert_allclose(found.scores[:, 0], log_probs.sum(axis=1), atol=1e-4)


def test_onto_regions_by_hand():
    # Two heads, two queries, two words and then two regions: the first query gives the
    # regions .2 and .6 with one head, 0 and .4 with the other.
    first = jnp.array([[0.1, 0.1, 0.2, 0.6], [0.3, 0.3, 0.0, 0.4]])
    weights = jnp.stack([first, jnp.ones((2, 4))], axis=1)[None]
    np.testing.assert_allclose(onto_regions(weights, 2), [[1 / 6, 5 / 6]], atol=1e-6)


@pytest.mark.parametrize("shape", [(64, 64, 3), (75, 96, 3)])
@pytest.mark.parametrize(("name", "size"), [("cnn", 8), ("patches", 32)])
def test_the_grid_of_a_model_has_a_cell_for_each_region(name, size, shape):
    sight = {"patch_size": 0 if name == "cnn" else size}
    model = zoo.create_model("single-stream-tiny", **sight)
    image = jax.ShapeDtypeStruct((1, *shape), jnp.uint8)
    encode = functools.partial(model.apply, method="encode_image")
    regions, _ = jax.eval_shape(encode, {"params": shapes_of(model)}, image)
    rows, columns = region_grid(model, shape)
    assert (rows, columns) == (-(-shape[0] // size), -(-shape[1] // size))
    assert rows * columns == regions.shape[1]


def test_features_of_regions_have_no_grid():
    assert region_grid(zoo.create_model("mcan-small"), (100, 2048)) is None


def num_params(name):
    return sum(leaf.size for leaf in jax.tree.leaves(shapes_of(zoo.create_model(name))))


@pytest.mark.parametrize("name", [n for n in VISUAL_PRESETS if n.endswith("-tiny")])
def test_tiny_is_under_a_million_parameters(name):
    config = model_config(name)
    assert config.vocab_size == 200
    assert getattr(config, "num_answers", 20) == 20
    assert num_params(name) < 1_000_000


def mcan_by_hand(words, width, mlp, pooled):
    """Adds up the layers of MCAN for 2,048 features a region and 3,129 answers."""
    attention = 4 * (width * width + width)
    feed_forward = width * mlp + mlp + mlp * width + width
    norm = 2 * width
    embedding = words * 300
    lstm = 4 * width * (300 + width) + 4 * width
    image = 2048 * width + width
    encoder = 6 * (attention + feed_forward + 2 * norm)
    guided = 6 * (2 * attention + feed_forward + 3 * norm)
    pooling = 2 * (width * 512 + 512 + 512 + 1 + width * pooled + pooled)
    out = 2 * pooled + pooled * 3129 + 3129
    return embedding + lstm + image + encoder + guided + pooling + out


@pytest.mark.parametrize(
    ("name", "sizes", "millions"),
    [
        ("mcan-small", (512, 2048, 1024), 57.8),
        ("mcan-large", (1024, 4096, 2048), 201.7),
    ],
)
def test_mcan_has_the_parameters_of_openvqa(name, sizes, millions):
    # With OpenVQA's vocabulary of 20,573 words; torch's LSTM has one bias more.
    assert num_params(name) == mcan_by_hand(20_573, *sizes)
    assert round(num_params(name) / 1e6, 1) == millions


@pytest.mark.parametrize("name", ["single-stream", "vilt"])
def test_a_single_stream_has_the_parameters_of_the_paper(name):
    # Kim et al. (2021), table 6: 87.4M, embeddings, positions and heads apart.
    shapes = shapes_of(zoo.create_model(name))
    sizes = [
        leaf.size
        for path, leaf in jax.tree_util.tree_leaves_with_path(shapes)
        if path[0].key.startswith(("blocks", "image_encoder"))
        and path[-1].key != "positions"
    ]
    assert round(sum(sizes) / 1e6, 1) == 87.4


@pytest.mark.parametrize("name", VISUAL_PRESETS)
def test_a_configuration_goes_to_json_and_back(name):
    config = model_config(name)
    assert config_from_json(config_to_json(config)) == config
    assert build(config) is build(model_config(name))
    assert name in zoo.list_models()


def test_a_description_tells_paper_and_size():
    description = zoo.describe("mcan-tiny")
    assert "1906.10770" in description.paper
    assert description.num_params == num_params("mcan-tiny")


def test_a_tower_goes_to_json_and_back_and_reads_the_image():
    tower = VisionTransformerConfig(
        image_size=16, patch_size=8, model_dim=12, mlp_dim=20, num_heads=3, num_layers=1
    )
    config = model_config("stacked-attention-tiny", tower=tower)
    assert config_from_json(json.loads(json.dumps(config_to_json(config)))) == config
    model = build(config)
    params = shapes_of(model)["image_encoder"]
    assert params["tower"]["patches"]["positions"].shape == (2, 2, 12)
    assert params["out"]["kernel"].shape == (12, config.model_dim)
    assert region_grid(model, (20, 24)) == (3, 3)
    with pytest.raises(zoo.InputError, match="field of tower: 'depth'"):
        config_from_json({"family": "stacked-attention", "tower": {"depth": 1}})


def test_the_family_of_a_tower_is_known_and_left_where_it_stands():
    values = {"family": "stacked-attention", "region_dim": 0}
    tower = {"family": "efficientnet", "width": 0.5}
    values |= {"tower": dict(tower)}
    assert config_from_json(values).tower == EfficientNetConfig(width=0.5)
    assert values["tower"] == tower
    values["tower"]["family"] = "efficientnets"
    with pytest.raises(zoo.InputError, match="family of towers: 'efficientnets'"):
        config_from_json(values)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"tower": VisionTransformerConfig(), "region_dim": 8}, "need no tower"),
        ({"tower": 3}, "tower is 3"),
    ],
)
def test_a_wrong_tower_is_refused(overrides, message):
    with pytest.raises(zoo.InputError, match=message):
        zoo.create_model("stacked-attention-tiny", **overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_heads": 5}, "num_heads 5"),
        ({"model_dim": 18, "num_heads": 2}, "model_dim 18"),
        ({"cnn_dim": 20}, "cnn_dim 20"),
        ({"region_dim": -1}, "region_dim is -1"),
        ({"region_dim": 8, "patch_size": 4}, "set patch_size to 0"),
        ({"patch_size": -1}, "patch_size is -1"),
        ({"num_answer": 3}, "num_answers"),
    ],
)
def test_a_wrong_size_is_refused_by_name(overrides, message):
    with pytest.raises(zoo.InputError, match=message):
        zoo.create_model("single-stream-tiny", **overrides)
