"""The commands for an accelerator, at toy size on a CPU: what they time is the work."""

import json
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.accelerators import attention, command, recipe, updates, utilisation
from benchmarks.accelerators.prepare import prepare
from experiments.translate.config import PRESETS
from zoo.catalogue import create_model
from zoo.data.batching import training_batches
from zoo.data.sources import FilesData
from zoo.errors import InputError
from zoo.losses import sequence_loss
from zoo.models.contract import initialize
from zoo.training.optimizers import make_optimizer
from zoo.training.step import init_state, make_train_step
from zoo.translation.translator import Translator

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("tyro", "grain", "sentencepiece", "sacrebleu", "babel", "matplotlib")
WORDS = ["a", "b", "c", "d", "e", "f", "g", "h"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recipe of ten updates in scans of four, as it is prepared from text."""
    root = tmp_path_factory.mktemp("recipe")
    generator = np.random.default_rng(0)
    for split, number in {"train": 40, "val": 8, "test": 8}.items():
        for language in ("de", "en"):
            lines = [
                " ".join(generator.choice(WORDS, generator.integers(1, 7)))
                for _ in range(number)
            ]
            (root / f"{split}.{language}").write_text("\n".join(lines) + "\n")
    _, preset = PRESETS["wu2021"]
    sizes = {"num_layers": 1, "model_dim": 8, "mlp_dim": 8, "num_heads": 2}
    training = {"tokens_per_batch": 64, "num_buckets": 2, "num_steps": 10}
    prepare(
        replace(
            preset,
            model=replace(preset.model, **sizes),
            data=FilesData(folder=root, tokens="words"),
            optimizer=replace(preset.optimizer, warmup_steps=2),
            training=replace(preset.training, evaluation_interval=4, **training),
            decoding=replace(preset.decoding, average=2),
            workdir=root / "made",
        )
    )
    return root / "made"


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("output")
    recipe.run(folder, output, "float32")
    return output


def ids_of(rows):
    """Returns the tokens of padded rows without their ends."""
    return [row[row != 0][:-1].tolist() for row in rows[:-1]]


def test_scanned_updates_are_the_updates_of_an_ordinary_run(folder, trained):
    made = recipe.read_recipe(folder)
    assert len(made.plan.buckets) == 2
    optimizer = make_optimizer(made.optimizer, len(made.plan))
    init_key, dropout_key = jax.random.split(jax.random.key(made.seed))
    loss = partial(sequence_loss, made.model, smoothing=made.smoothing)
    clip_norm = made.optimizer.clip_norm
    step = jax.jit(make_train_step(loss, optimizer, dropout_key, clip_norm=clip_norm))
    state = init_state(jax.jit(partial(initialize, made.model))(init_key), optimizer)
    batches = training_batches(
        made.plan,
        ids_of(made.train["source"]),
        ids_of(made.train["labels"]),
        first_step=0,
    )
    kept = []
    for number, batch in enumerate(batches, 1):
        state, _ = step(state, batch)
        if number in (8, 10):
            kept.append(state.params)
    expected = jax.tree.map(lambda first, second: (first + second) / 2, *kept)
    params = Translator.from_run(trained / "recipe").params
    # The gradient of a key's bias is zero, of whose rounding Adam makes whole updates.
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(expected),
        strict=True,
    ):
        if "['key']['bias']" not in jax.tree_util.keystr(path):
            np.testing.assert_allclose(leaf, other, atol=1e-4)


def test_what_the_recipe_writes_is_a_run_that_translates(trained):
    report = json.loads((trained / "accelerators-recipe.json").read_text())
    assert [point["updates"] for point in report["curve"]] == [4, 8, 10]
    assert report["updates"] == 10
    assert report["skipped_updates"] == 0
    assert all(0 < point["validation_loss"] < 10 for point in report["curve"])
    translator = Translator.from_run(trained / "recipe")
    assert len(translator.translate(["a b c"])) == 1


def test_a_second_recipe_does_not_take_the_place_of_the_first(folder, trained):
    with pytest.raises(InputError, match=r"params\.safetensors exists already"):
        recipe.run(folder, trained, "float32")


def test_an_update_after_the_last_one_changes_nothing():
    tokens = {"source": jnp.ones((3, 4), jnp.int32)}
    scan = recipe.make_scan(lambda state, batch: 1 / 0, [])
    rows = jnp.zeros((2, 3), jnp.int32)
    state, (_, labels) = scan(jnp.float32(7), tokens, jnp.zeros(2, jnp.int32), rows)
    assert state == 7
    assert not labels.any()


def test_the_commands_need_no_extras(tmp_path):
    script = (
        f"import runpy, sys\nsys.modules.update(dict.fromkeys({EXTRAS}))\n"
        "from benchmarks.accelerators import attention, searches, utilisation\n"
        f"sys.argv = ['recipe', '--toy', '--output', {str(tmp_path)!r}]\n"
        "runpy.run_module('benchmarks.accelerators.recipe', run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    report = json.loads((tmp_path / "accelerators-recipe.json").read_text())
    assert report["toy"]
    assert len(report["curve"]) == 3


def test_attention_is_timed_where_it_is_the_same(tmp_path, monkeypatch):
    both = attention.ways()
    assert set(both) == {"zoo", "xla"}

    def fail(query, key, value):
        raise NotImplementedError("no such shape\nand much more")

    ways = {**both, "other": lambda query, key, value: value, "none": fail}
    monkeypatch.setattr(attention, "ways", lambda: ways)
    attention.main(["base-512x64", "--toy", "--output", str(tmp_path)])
    written = tmp_path / "accelerators-attention-base-512x64.json"
    found = json.loads(written.read_text())["rows"]["base-512x64"]
    assert found["xla"]["difference"] < attention.TOLERANCE
    assert found["xla"]["seconds"] > 0
    assert found["other"]["difference"] > attention.TOLERANCE
    assert "seconds" not in found["other"]
    assert found["none"] == {"error": "NotImplementedError: no such shape"}


def test_fused_attention_is_that_of_the_zoo():
    model = create_model("transformer-tiny", **updates.NARROW)
    source = inputs = np.random.default_rng(0).integers(3, 40, (2, 5), np.int32)
    params = {"params": initialize(model, jax.random.key(0))}
    fused = utilisation.with_fused_attention(model).apply(params, source, inputs)
    np.testing.assert_allclose(fused, model.apply(params, source, inputs), atol=1e-5)
    later = np.concatenate([inputs[:, :3], (inputs[:, 3:] + 1) % 37 + 3], axis=1)
    other = utilisation.with_fused_attention(model).apply(params, source, later)
    np.testing.assert_allclose(other[:, :3], fused[:, :3], atol=1e-5)


def test_the_share_of_the_peak_is_written_or_why_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(utilisation, "RUNS", 2)
    monkeypatch.setattr(command, "PEAKS", {"cpu": 1e12})
    monkeypatch.setattr(
        utilisation, "rematerialized", lambda model: model.no_such_thing
    )
    output = ["--toy", "--output", str(tmp_path)]
    utilisation.main(["cudnn", "remat", *output])
    (written,) = tmp_path.iterdir()
    assert written.name == "accelerators-utilisation-cudnn-remat.json"
    rows = json.loads(written.read_text())["rows"]
    assert rows["cudnn"]["utilisation"] == pytest.approx(
        rows["cudnn"]["flops"] / rows["cudnn"]["seconds"] / 1e12
    )
    assert rows["remat"]["error"].startswith("AttributeError")


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA H100 PCIe", None),  # a slower board
        ("cpu", None),
    ],
)
def test_the_peak_is_that_of_a_known_device(monkeypatch, kind, peak):
    device = SimpleNamespace(device_kind=kind)
    monkeypatch.setattr(jax, "devices", lambda: [device])
    assert command.peak_flops() == peak
    expected = None if peak is None else pytest.approx(0.5)
    assert command.utilisation(989e12, 2.0) == expected


def test_no_row_is_begun_late(monkeypatch, capsys):
    times = iter([0.0, 0.0, 200.0, 301.0])
    monkeypatch.setattr(command.time, "monotonic", lambda: next(times))
    rows = {"first": 1, "second": 2, "third": 3}
    assert dict(command.in_time(rows)) == {"first": 1, "second": 2}
    assert capsys.readouterr().out == "third: left out, 300 s are over\n"


def test_an_unknown_row_is_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        updates.main(["huge"])
    assert "no row huge; there are base, big, luong" in capsys.readouterr().err
