"""Laws that every sequence-to-sequence model of the zoo keeps."""

import dataclasses
import functools
import itertools
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
import zoo.laws
from zoo.catalogue import model_config
from zoo.decoding import IMPOSSIBLE, beam_search, greedy_search
from zoo.laws import LAWS
from zoo.losses import sequence_loss
from zoo.models.configs import (
    PRESETS,
    BartConfig,
    M2M100Config,
    MBartConfig,
    T5Config,
    TransformerConfig,
)
from zoo.models.contract import Seq2Seq, attention_maps, initialize
from zoo.training.step import init_state, make_train_step

VOCAB = 11
RNN = {"model_dim": 16}
TRANSFORMER = {"model_dim": 16, "mlp_dim": 24, "num_heads": 4, "num_layers": 1}
# One small model of each kind, as (preset, overrides); sizes of presets differ, the
# code does not.
TINY = {
    "rnn-gru": ("rnn-gru", RNN),
    "rnn-lstm": ("rnn-lstm", RNN),
    "rnn-bahdanau": ("rnn-bahdanau", {**RNN, "attention_dim": 12}),
    "rnn-luong-dot": ("rnn-luong-dot", RNN),
    "rnn-luong-general": ("rnn-luong-general", RNN),
    "rnn-luong-concat": ("rnn-luong-concat", RNN),
    **{
        f"transformer-{positions}": (
            "transformer-tiny",
            {**TRANSFORMER, "positions": positions, "max_positions": 16},
        )
        for positions in ("sinusoidal", "learned", "rotary", "relative", "alibi")
    },
    "marian": ("marian-tiny", {**TRANSFORMER, "num_decoder_layers": 1}),
}
SOURCE = np.array([[3, 4, 5, 2, 0, 0], [6, 7, 8, 9, 10, 2], [5, 2, 0, 0, 0, 0]])
INPUTS = np.array([[1, 5, 4, 3], [1, 10, 9, 8], [1, 7, 7, 3]])


@functools.cache
def make(name, vocab_size=VOCAB):
    preset, sizes = TINY[name]
    model = zoo.create_model(preset, vocab_size=vocab_size, dropout_rate=0.0, **sizes)
    params = jax.jit(functools.partial(initialize, model))(jax.random.key(0))
    # Noise in every parameter, so that no bias is zero and no difference hides in
    # rounding.
    rng = np.random.default_rng(1)
    return model, jax.tree.map(
        lambda leaf: 1.5 * leaf + np.float32(0.3 * rng.normal(size=leaf.shape)), params
    )


def jitted(name, method=None, vocab_size=VOCAB):
    """Returns what the laws have compiled, or will."""
    return zoo.laws._compiled(make(name, vocab_size)[0], method)


def logits_of(name, source, inputs):
    return jitted(name)(make(name)[1], jnp.asarray(source), jnp.asarray(inputs))


every_model = pytest.mark.parametrize("name", TINY)


# Held step by step against their reference implementations, in tests/pretrained.
COMPARED = (BartConfig, MBartConfig, M2M100Config, T5Config)


def test_the_laws_cover_every_family_and_all_its_choices():
    def choices(config):
        return {
            (type(config), field.name, getattr(config, field.name))
            for field in dataclasses.fields(config)
            if isinstance(getattr(config, field.name), str)
        } | {(type(config),)}

    covered = set().union(
        *(choices(model_config(preset, **sizes)) for preset, sizes in TINY.values())
    )
    offered = set().union(
        *(choices(x) for x in PRESETS.values() if type(x) not in COMPARED)
    )
    types = typing.get_type_hints(TransformerConfig)["positions"]
    offered |= {
        (TransformerConfig, "positions", name) for name in typing.get_args(types)
    }
    assert covered == offered


def test_a_choice_that_there_is_not_is_refused_with_the_nearest():
    with pytest.raises(zoo.InputError, match="rotary"):
        zoo.create_model("transformer-tiny", positions="rotory")
    with pytest.raises(zoo.InputError, match="general"):
        zoo.create_model("rnn-luong-dot", score="generel")


def test_learned_positions_refuse_a_sentence_beyond_their_table():
    model, params = make("transformer-learned")

    def shapes(length, room):
        source = jnp.ones((1, length), jnp.int32)
        memory = model.apply({"params": params}, source, method="encode")
        return model.apply({"params": params}, memory, 1, room, method="start")

    jax.eval_shape(functools.partial(shapes, 16, 16))
    for length, room in ((17, 16), (16, 17)):
        with pytest.raises(ValueError, match="17 positions"):
            jax.eval_shape(functools.partial(shapes, length, room))


@every_model
def test_every_model_keeps_the_contract(name):
    assert isinstance(make(name)[0], Seq2Seq)


@every_model
def test_init_draws_every_parameter_that_decoding_uses(name):
    model, params = make(name)
    memory = jitted(name, "encode")(params, jnp.asarray(SOURCE))
    carry = model.apply({"params": params}, memory, 2, 4, method="start")
    tokens = jnp.ones((3, 2), jnp.int32)
    carry, features = jitted(name, "step")(params, memory, carry, tokens, jnp.int32(0))
    jitted(name, "logits")(params, features)


@every_model
def test_the_source_does_matter(name):
    first = logits_of(name, SOURCE[:1], INPUTS[:1])
    other = logits_of(name, np.array([[9, 4, 5, 2, 0, 0]]), INPUTS[:1])
    assert np.abs(first - other).max() > 1e-2


@every_model
def test_the_past_does_matter(name):
    changed = INPUTS.copy()
    changed[:, 2:] = 6
    difference = logits_of(name, SOURCE, INPUTS) - logits_of(name, SOURCE, changed)
    assert np.abs(difference[:, 2:]).max() > 1e-2


@pytest.mark.parametrize("law", LAWS)
@every_model
def test_every_model_keeps_every_law(name, law):
    model, params = make(name)
    assert LAWS[law](model, params, jnp.asarray(SOURCE), jnp.asarray(INPUTS)) < 1e-4


@every_model
def test_pmap_is_jit(name):
    _, params = make(name)
    rows = [np.stack([array] * 2) for array in (SOURCE, INPUTS)]
    model = make(name)[0]
    both = jax.pmap(
        lambda source, inputs: model.apply({"params": params}, source, inputs),
        devices=jax.devices()[:2],
    )(*rows)
    for device in (0, 1):
        np.testing.assert_allclose(
            np.asarray(both)[device], logits_of(name, SOURCE, INPUTS), atol=1e-4
        )


@functools.cache
def search(name, width, max_length, vocab_size=VOCAB):
    """Returns beam search as a function of (params, source, length_penalty)."""
    model, _ = make(name, vocab_size)
    return jax.jit(
        lambda params, source, length_penalty: beam_search(
            model,
            params,
            source,
            max_length,
            num_hypotheses=width,
            length_penalty=length_penalty,
        )
    )


@every_model
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
def test_a_beam_as_wide_as_the_space_is_exhaustive_search(name, length_penalty):
    vocab_size, max_length = 5, 3
    model, params = make(name, vocab_size)
    source = jnp.array([[3, 4, 3, 2, 0], [4, 4, 2, 0, 0]])
    others = [token for token in range(vocab_size) if token != model.eos_id]
    sentences = [
        (*beginning, model.eos_id)
        for length in range(max_length)
        for beginning in itertools.product(others, repeat=length)
    ]
    wide = search(name, len(others) ** max_length * 2, max_length, vocab_size)
    found = wide(params, source, length_penalty)
    tokens = np.zeros((len(sentences), max_length), np.int32)
    for row, sentence in enumerate(sentences):
        tokens[row, : len(sentence)] = sentence
    inputs = np.concatenate([np.ones((len(tokens), 1), int), tokens[:, :-1]], axis=1)
    apply = jitted(name, vocab_size=vocab_size)
    for number in range(2):
        repeated = jnp.repeat(source[number : number + 1], len(sentences), axis=0)
        log_probs = np.asarray(jax.nn.log_softmax(apply(params, repeated, inputs)))
        scores = [
            sum(log_probs[row, place, token] for place, token in enumerate(sentence))
            / len(sentence) ** length_penalty
            for row, sentence in enumerate(sentences)
        ]
        order = np.argsort(scores)[::-1]
        for rank, row in enumerate(order):
            np.testing.assert_array_equal(found.tokens[number, rank], tokens[row])
            assert found.scores[number, rank] == pytest.approx(scores[row], abs=1e-4)


@every_model
def test_a_sentence_is_decoded_alike_in_any_batch(name):
    params = make(name)[1]
    together = search(name, 4, 6)(params, jnp.asarray(SOURCE), 1.0)
    for row in range(3):
        alone = search(name, 4, 6)(params, jnp.asarray(SOURCE[row : row + 1]), 1.0)
        np.testing.assert_array_equal(alone.tokens[0], together.tokens[row])
        np.testing.assert_allclose(alone.scores[0], together.scores[row], atol=1e-4)


@every_model
def test_scores_are_the_log_probabilities_of_the_hypotheses(name):
    model, params = make(name)
    found = search(name, 4, 6)(params, jnp.asarray(SOURCE), 1.0)
    assert (np.diff(np.asarray(found.scores), axis=1) <= 1e-6).all() or (
        np.asarray(found.tokens)[..., -1] != model.pad_id
    ).any()
    for row, rank in itertools.product(range(3), range(4)):
        sentence = np.asarray(found.tokens[row, rank])
        (ends,) = np.nonzero(sentence == model.eos_id)
        length = ends[0] + 1 if len(ends) else len(sentence)
        inputs = np.concatenate([[model.start_id], sentence[:-1]])[None]
        log_probs = jax.nn.log_softmax(logits_of(name, SOURCE[row : row + 1], inputs))
        chosen = log_probs[0, np.arange(length), sentence[:length]]
        assert found.scores[row, rank] == pytest.approx(
            float(chosen.sum()) / length, abs=1e-4
        )
        assert (sentence[length:] == model.pad_id).all()
        assert found.scores[row, rank] > IMPOSSIBLE


@every_model
def test_bfloat16_parameters_compute_in_bfloat16(name):
    model, params = make(name)
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), params)
    arguments = {"params": half}, jnp.asarray(SOURCE), jnp.asarray(INPUTS)
    features = jax.eval_shape(
        functools.partial(model.apply, method="features"), *arguments
    )
    assert features.dtype == jnp.bfloat16


@every_model
def test_asking_for_attention_does_not_change_the_logits(name):
    model, params = make(name)
    source, inputs = jnp.asarray(SOURCE), jnp.asarray(INPUTS)

    @jax.jit
    def asked(params, source, inputs):
        logits, _ = model.apply(
            {"params": params}, source, inputs, mutable="intermediates"
        )
        return logits, attention_maps(model, params, source, inputs)

    logits, maps = asked(params, source, inputs)
    np.testing.assert_allclose(logits, logits_of(name, SOURCE, INPUTS), atol=1e-5)
    assert bool(maps) == (name not in ("rnn-gru", "rnn-lstm"))
    for weights in maps.values():
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, atol=1e-5)
    for path, weights in maps.items():
        if not path.startswith("decoder") or path.endswith("cross_attention"):
            assert weights.shape[-1] == SOURCE.shape[1]
            assert np.asarray(weights)[0, ..., 4:].max() == 0.0


def reversals(rng, rows):
    """Returns words of 2 to 4 tokens, and the same words backwards."""
    batch = {name: np.zeros((rows, 5), np.int32) for name in ("source", "labels")}
    for row, length in enumerate(rng.integers(2, 5, rows)):
        word = rng.integers(3, VOCAB, length)
        batch["source"][row, : length + 1] = [*word, 2]
        batch["labels"][row, : length + 1] = [*word[::-1], 2]
    starts = np.ones((rows, 1), np.int32)
    batch["inputs"] = np.concatenate([starts, batch["labels"][:, :-1]], axis=1)
    return batch


@functools.cache
def trained(name):
    """Returns a model and parameters that have learned to reverse short words."""
    preset, sizes = TINY[name]
    sizes = {**sizes, "model_dim": 32}
    model = zoo.create_model(preset, vocab_size=VOCAB, dropout_rate=0.0, **sizes)
    num_steps = 320
    optimizer = optax.adam(optax.linear_schedule(1e-2, 1e-3, num_steps))

    loss = functools.partial(sequence_loss, model)
    step = jax.jit(make_train_step(loss, optimizer, jax.random.key(1)))
    params = jax.jit(functools.partial(initialize, model))(jax.random.key(0))
    state = init_state(params, optimizer)
    rng = np.random.default_rng(0)
    for _ in range(num_steps):
        state, _ = step(state, reversals(rng, 48))
    return model, state.params


@every_model
def test_every_model_learns_to_reverse_and_greedy_is_a_beam_of_one(name):
    model, params = trained(name)
    batch = reversals(np.random.default_rng(1), 100)
    greedy = jax.jit(lambda p, source: greedy_search(model, p, source, 6))
    beam = jax.jit(lambda p, source: beam_search(model, p, source, 6, num_hypotheses=1))
    found = greedy(params, batch["source"])
    tokens = np.asarray(found.tokens)[:, 0]
    assert (tokens[:, :5] == batch["labels"]).all(axis=1).mean() >= 0.9
    assert set((tokens != 0).sum(axis=1)) >= {3, 4, 5}, "sentences end where words do"
    same = beam(params, batch["source"])
    np.testing.assert_array_equal(found.tokens, same.tokens)
    np.testing.assert_allclose(found.scores, same.scores, atol=1e-4)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(zoo.InputError, match="transformer-tiny"):
        zoo.create_model("transformer-tinny")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_layer": 2}, "num_layers"),
        ({"num_layers": "2"}, "num_layers is '2'"),
        ({"num_layers": True}, "num_layers is True"),
        ({"vocab_size": 1.5}, "vocab_size is 1.5"),
    ],
)
def test_a_wrong_override_is_refused_by_name(overrides, message):
    with pytest.raises(zoo.InputError, match=message):
        zoo.create_model("transformer-tiny", **overrides)


def test_tiny_has_the_parameters_of_wu_2021():
    model = zoo.create_model("transformer-tiny", vocab_size=9_716)
    shapes = jax.eval_shape(functools.partial(initialize, model), jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 2_568_704


def test_a_description_tells_paper_config_and_size():
    description = zoo.describe("transformer-base")
    assert "1706.03762" in description.paper
    assert description.config["model_dim"] == 512
    # Blocks of 6 + 6 layers and a table of 8,000: Vaswani et al. have 65M at 37,000.
    assert description.num_params == 48_234_496
    assert dataclasses.is_dataclass(description)


@pytest.mark.parametrize(
    ("name", "num_params"),
    [
        # Theirs, plus a bias of the logits, less two rows of positions on each side.
        ("bart-base", 139_420_416 + 50_265 - 4 * 768),
        ("mbart-50", 610_879_488 + 250_054 - 4 * 1_024),
        ("m2m100", 483_905_536 + 128_112),
        ("nllb-200", 615_073_792 + 256_206),
        ("flan-t5-base", 247_577_856),
        # The class token holds its own position.
        ("vit-base", 85_798_656 - 768),
        # Without the classifier, and of each BatchNorm a bias alone.
        ("efficientnet-lite0", 4_652_008 - 1_281_000 - 21_008),
    ],
)
def test_the_presets_of_others_have_their_sizes(name, num_params):
    description = zoo.describe(name)
    assert description.num_params == num_params
    assert "(" in description.weights
    assert "arXiv" in description.paper
