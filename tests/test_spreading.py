"""What many devices find is what one finds, whatever the number of rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from tests.training import test_devices as devices
from tests.translation.test_translator import make_speller
from zoo.data.tokenizer import Tokenizer
from zoo.losses import sequence_loss
from zoo.spreading import by_rows, divide, mesh_of, on_all_devices
from zoo.training.devices import make_driver
from zoo.training.step import init_state
from zoo.translation.translator import Translator

SENTENCES = ["a b", "c d e f", "", "g", "g f e d c b a", "h a", "a a a", "e f", "h"]


def test_each_device_has_its_rows_and_nothing_is_lost_of_those_left_over():
    params, seen = on_all_devices({"w": jnp.ones(2)}), []
    assert len(params["w"].sharding.device_set) == 8

    def compute(params, rows, factor):
        seen.append(rows["x"].shape)
        return {"found": factor * params["w"].sum() * rows["x"]}

    for number in (1, 8, 11):
        rows = {"x": np.arange(3.0 * number, dtype=np.float32).reshape(number, 3)}
        found = by_rows(compute, mesh_of(params))(params, rows, jnp.float32(10.0))
        np.testing.assert_array_equal(found["found"], 20 * rows["x"])
    assert seen == [(1, 3), (1, 3), (2, 3)]


def test_parameters_on_one_device_leave_everything_there():
    params, batch = {"w": jnp.ones(2)}, {"x": np.ones(3)}
    assert mesh_of(params) is None
    assert mesh_of({"w": np.ones(2)}) is None
    assert divide(params, batch) is batch


def measured(params):
    """Returns what the model of `test_devices` makes of some rows: loss, hypotheses."""
    model = devices.tiny_model()
    # Letters, with four ids that are no text.
    letters = "a b c d e f g h i j k l m n o p q r s"
    tokenizer = Tokenizer.train([letters], devices.VOCAB, tokens="words")
    assert tokenizer.vocab_size == devices.VOCAB
    batch = divide(params, next(devices.batches(1)))
    loss = jax.jit(lambda *given: sequence_loss(model, *given, None))(params, batch)
    translator = Translator(model, params, tokenizer, max_length=9)
    found = translator.translate(SENTENCES, beam_size=1)
    return loss, [hypothesis for (hypothesis,) in found]


@pytest.fixture(scope="module")
def parts():
    """Returns a loss, and parameters that have something to say."""
    loss, params = devices.loss_and_params()
    return loss, jax.tree.map(lambda leaf: 3 * leaf, params)


@pytest.fixture(scope="module")
def alone(parts):
    return measured(parts[1])


def assert_equal(ours, theirs):
    assert [x.tokens for x in ours] == [x.tokens for x in theirs]
    np.testing.assert_allclose(
        [x.score for x in ours], [x.score for x in theirs], atol=1e-4
    )


@pytest.mark.parametrize(
    ("name", "model_devices"),
    [("jit", 1), ("sharded", 1), ("jit", 2)],
    ids=["data 8", "sharded 8", "4 x 2"],
)
def test_all_drivers_evaluate_and_decode_as_one_device(
    parts, alone, name, model_devices
):
    step = devices.make_step(parts[0], 1)
    driver = make_driver(name, step, model_devices=model_devices)
    state = driver.gather(driver.place(init_state(parts[1], devices.OPTIMIZER)))
    loss, found = measured(state.params)
    np.testing.assert_allclose(loss, alone[0], rtol=1e-5)
    assert_equal(found, alone[1])


def test_all_that_can_be_asked_of_a_translation_is_divided():
    speller = make_speller(0)
    everywhere = speller.on_all_devices()
    options = {
        "prefixes": ["b", *[""] * (len(SENTENCES) - 1)],
        "constraints": zoo.Constraints(banned=("h",)),
        "num_best": 2,
        "sampling": zoo.Sampling(seed=1),
    }
    one, many = (x.translate(SENTENCES, **options) for x in (speller, everywhere))
    for ours, theirs in zip(one, many, strict=True):
        assert_equal(ours, theirs)
    pairs = ["a b", "c"], ["d", "e f g"]
    np.testing.assert_allclose(
        speller.score(*pairs), everywhere.score(*pairs), atol=1e-4
    )
