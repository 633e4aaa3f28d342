"""Small benchmarks of whole updates: plain ways, and long sentences."""

import itertools
import json
from dataclasses import replace

import pytest

from benchmarks import chunks, dropout, exported
from experiments.translate.config import PRESETS
from experiments.translate.train import train
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


def test_an_exported_run_is_translated_as_here(tmp_path, capsys):
    pytest.importorskip("ctranslate2")
    pytest.importorskip("transformers")
    sentences = [" ".join(words) for words in itertools.permutations("abcde", 4)]
    for split in ("train", "val", "test"):
        for language in ("de", "en"):
            (tmp_path / f"{split}.{language}").write_text("\n".join(sentences))
    _, preset = PRESETS["multi30k-marian"]
    sizes = {"num_layers": 1, "num_decoder_layers": 1, "vocab_size": 300}
    training = {"num_buckets": 1, "tokens_per_batch": 256, "num_steps": 100}
    config = replace(
        preset,
        model=replace(preset.model, **sizes, model_dim=32, mlp_dim=32, num_heads=2),
        data=FilesData(folder=tmp_path, tokens="subwords", test="test"),
        optimizer=replace(preset.optimizer, learning_rate=1e-2, warmup_steps=20),
        training=replace(preset.training, **training, evaluation_interval=100),
        workdir=tmp_path / "run",
    )
    train(config)
    output = tmp_path / "exported.json"
    exported.main([str(config.workdir), "--output", str(output)])
    assert "CTranslate2, patience 2: " in capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found["n"] == 120
    result = json.loads((config.workdir / "result.json").read_text())
    assert found["bleu"] == pytest.approx(result["metrics"]["bleu"])
    assert found["ctranslate2"]["2"]["different"] <= 2


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
