"""Small benchmarks of whole updates: plain ways, and long sentences."""

import json
from dataclasses import replace

import pytest

from benchmarks import chunks, dropout
from experiments.translate.config import PRESETS
from zoo.data.sources import FilesData


def test_the_plain_way_is_the_fast_one_but_for_what_is_dropped(tmp_path):
    for split in ("train", "val", "test"):
        for language in ("de", "en"):
            (tmp_path / f"{split}.{language}").write_text("a b c d\nd c b\n" * 4)
    _, preset = PRESETS["multi30k"]
    sizes = {"num_layers": 1, "model_dim": 8, "mlp_dim": 8, "num_heads": 2}
    training = {"num_buckets": 1, "tokens_per_batch": 64}
    config = replace(
        preset,
        model=replace(preset.model, **sizes, dropout_rate=0.0),
        data=FilesData(folder=tmp_path, tokens="words"),
        training=replace(preset.training, **training),
    )
    output = tmp_path / "runs" / "dropout.json"
    dropout.compare(config, num_updates=3, seeds=(0, 1), output=output)
    found = json.loads(output.read_text())
    assert found["fast"] == pytest.approx(found["plain"], abs=1e-5)
    assert found["fast"][0] != found["fast"][1]


def test_the_plain_way_draws_from_jax(monkeypatch):
    import jax
    import jax.numpy as jnp

    from zoo.layers.dropout import dropout as drop

    key, ones = jax.random.key(0), jnp.ones(1_000)
    with dropout.plain_dropout():
        drawn = drop(key, ones, 0.5)
    bits = jax.random.bits(key, (1_000,), "uint32")
    assert ((drawn > 0) == (bits <= 2**31 - 1)).all()
    assert (drawn != drop(key, ones, 0.5)).any()


def test_the_difference_of_means_is_told_in_standard_errors():
    # Variances 1 and 4 of three each: the error is the root of 5/3.
    found = dropout.summary([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    assert found["standard_error"] == pytest.approx((5 / 3) ** 0.5)
    assert found["difference_in_standard_errors"] == pytest.approx(2 / (5 / 3) ** 0.5)


@pytest.mark.parametrize(("held", "said"), [(7e9, "below 8"), (9e9, "not below 8")])
def test_long_sentences_are_held_against_the_limit(
    tmp_path, monkeypatch, capsys, held, said
):
    numbers = {"tokens": 8_192, "first_seconds": 9.0, "seconds": 2.0, "bytes": held}
    monkeypatch.setattr(chunks, "measure", lambda row: numbers)
    chunks.main(["--output", str(tmp_path / "chunks.json")])
    assert capsys.readouterr().out.endswith(f"GB, {said}\n")
    assert json.loads((tmp_path / "chunks.json").read_text())["bytes"] == held
