"""Exported programs: for any batch, and for a Python that has not our code."""

import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

import zoo
from zoo.decoding import ban, beam_search
from zoo.models.contract import initialize
from zoo.serving import export_encoder, export_search

SOURCES = [
    np.array([[5, 6, 2, 0]], np.int32),
    np.array([[7, 2, 0, 0], [3, 4, 5, 2], [9, 9, 2, 0]], np.int32),
]
LOADER = """
import pickle, sys
import jax
from jax import export
program, given, found = sys.argv[1:]
call = export.deserialize(bytearray(open(program, "rb").read())).call
params, sources = pickle.load(open(given, "rb"))
results = jax.device_get([call(params, rows) for rows in sources])
assert not [name for name in sys.modules if name.split(".")[0] in ("zoo", "flax")]
pickle.dump(results, open(found, "wb"))
"""


@pytest.fixture(scope="module", autouse=True)
def open_sizes():
    """No checks of shapes: a size that is left open broadcasts with none."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def model():
    model = zoo.create_model(
        "marian-tiny",
        vocab_size=13,
        model_dim=16,
        mlp_dim=16,
        num_heads=2,
        num_layers=1,
        num_decoder_layers=1,
    )
    return model, jax.jit(lambda key: initialize(model, key))(jax.random.key(0))


@pytest.fixture(scope="module")
def exported(model):
    return export_search(
        *model, 4, 6, vocab_size=13, num_hypotheses=3, length_penalty=0.6, prefix=[7]
    )


def check(model, results):
    search = jax.jit(
        lambda params, source: beam_search(
            model[0],
            params,
            source,
            6,
            num_hypotheses=3,
            length_penalty=0.6,
            rules=[ban([0, 1], 13)],
            prefix=jnp.full((len(source), 1), 7),
        )
    )
    for source, (tokens, scores) in zip(SOURCES, results, strict=True):
        expected = search(model[1], jnp.asarray(source))
        np.testing.assert_array_equal(tokens, expected.tokens)
        assert (tokens[:, :, 0] == 7).all()
        np.testing.assert_allclose(scores, expected.scores, atol=1e-5)


def test_a_whole_search_is_one_program_for_any_batch(model, exported):
    check(model, [exported.call(model[1], source) for source in SOURCES])


def test_a_program_runs_where_our_code_is_not(model, exported, tmp_path):
    pytest.importorskip("flatbuffers")
    program, given, found = (tmp_path / name for name in ("program", "given", "found"))
    program.write_bytes(exported.serialize())
    given.write_bytes(pickle.dumps((jax.device_get(model[1]), SOURCES)))
    command = [sys.executable, "-c", LOADER, program, given, found]
    subprocess.run(command, check=True, cwd=tmp_path)
    check(model, pickle.loads(found.read_bytes()))


def test_an_encoder_is_the_models(model):
    model, params = model
    program = export_encoder(model, params, 4)
    for source in map(jnp.asarray, SOURCES):
        found = program.call(params, source)
        expected = model.apply({"params": params}, source, method="encode")
        for a, b in zip(found, jax.tree.leaves(expected), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)
