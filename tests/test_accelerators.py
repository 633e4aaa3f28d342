"""The commands for an accelerator, at toy size on a CPU: what they time is the work."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.accelerators import attention, command, recipe, updates, utilisation
from benchmarks.accelerators.prepare import prepare
from benchmarks.attentions import FusedAttention, with_attention
from experiments.translate.config import PRESETS
from zoo import losses
from zoo.catalogue import create_model
from zoo.data.batching import training_batches
from zoo.data.sources import FilesData
from zoo.errors import InputError
from zoo.layers.chunked_attention import ChunkedAttention
from zoo.losses import sequence_loss
from zoo.models.contract import initialize
from zoo.pretrained.parameters import load_params
from zoo.training.optimizers import make_optimizer
from zoo.training.step import init_state, make_train_step
from zoo.translation.translator import Translator

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("tyro", "grain", "sentencepiece", "sacrebleu", "babel", "matplotlib")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What ten updates of a recipe in scans of four leave, made without our extras."""
    output = tmp_path_factory.mktemp("output")
    script = (
        f"import runpy, sys\nsys.modules.update(dict.fromkeys({EXTRAS}))\n"
        "from benchmarks.accelerators import attention, searches, utilisation\n"
        "sys.argv = ['recipe', '--toy', '--precision', 'float32']\n"
        f"sys.argv += ['--output', {str(output)!r}]\n"
        "runpy.run_module('benchmarks.accelerators.recipe', run_name='__main__')"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    return output


def ids_of(rows):
    """Returns the tokens of padded rows without their ends."""
    return [row[row != 0][:-1].tolist() for row in rows[:-1]]


def test_scanned_updates_are_the_updates_of_an_ordinary_run(trained, tmp_path):
    recipe.write_toy(tmp_path)
    made = recipe.read_recipe(tmp_path)
    assert len(made.plan.buckets) == 2
    optimizer = make_optimizer(made.optimizer, len(made.plan))
    init_key, dropout_key = jax.random.split(jax.random.key(made.seed))
    loss = partial(sequence_loss, made.model, label_smoothing=made.label_smoothing)
    clip_norm = made.optimizer.clip_norm
    step = jax.jit(make_train_step(loss, optimizer, dropout_key, clip_norm=clip_norm))
    state = init_state(jax.jit(partial(initialize, made.model))(init_key), optimizer)
    sides = ids_of(made.train["source"]), ids_of(made.train["labels"])
    kept = []
    for number, batch in enumerate(training_batches(made.plan, *sides, first_step=0)):
        state, _ = step(state, batch)
        if number + 1 in (8, 10):
            kept.append(state.params)
    expected = jax.tree.map(lambda first, second: (first + second) / 2, *kept)
    params = load_params(trained / "recipe" / "params.safetensors")
    for (path, leaf), other in zip(
        jax.tree_util.tree_leaves_with_path(params),
        jax.tree.leaves(expected),
        strict=True,
    ):
        # The gradient of these is zero, of whose rounding Adam makes whole updates.
        if "['key']['bias']" not in jax.tree_util.keystr(path):
            np.testing.assert_allclose(leaf, other, atol=1e-4)


def test_the_curve_of_a_recipe_is_written(trained):
    report = json.loads((trained / "accelerators-recipe.json").read_text())
    assert report["toy"]
    assert [point["updates"] for point in report["curve"]] == [4, 8, 10]
    assert all(0 < point["validation_loss"] < 10 for point in report["curve"])
    assert report["updates"] == 10
    assert report["skipped_updates"] == 0


def test_what_a_prepared_recipe_leaves_is_a_run_that_translates(tmp_path, monkeypatch):
    for split in ("train", "val", "test"):
        for language in ("de", "en"):
            (tmp_path / f"{split}.{language}").write_text("a b c d\nd c b\n" * 8)
    _, preset = PRESETS["wu2021"]
    sizes = {"num_layers": 1, "model_dim": 8, "mlp_dim": 8, "num_heads": 2}
    folder, output = tmp_path / "made", tmp_path / "output"
    data = FilesData(folder=tmp_path, tokens="words")
    model = replace(preset.model, **sizes)
    prepare(replace(preset, model=model, data=data, workdir=folder))

    def untrained(made, precision):
        assert made.plan[7_999][0] in made.plan.buckets
        assert made.validation["source"].shape == (17, 5)
        measured = {"updates": 0, "seconds": 1.0, "compile_seconds": 1.0}
        return initialize(made.model, jax.random.key(0)), measured

    monkeypatch.setattr(recipe, "train", untrained)
    recipe.run(folder, output, "float32")
    translator = Translator.from_run(output / "recipe")
    assert [len(tokens) for tokens in translator.tokenizer.encode(["b c"])] == [2]
    assert translator.model.vocab_size == translator.tokenizer.vocab_size < 100
    with pytest.raises(InputError, match=r"exists already; choose another --output"):
        recipe.run(folder, output, "float32")
    with pytest.raises(InputError, match="write it where the text is"):
        recipe.run(tmp_path, tmp_path / "other", "float32")


def test_an_update_after_the_last_one_changes_nothing():
    tokens = {"source": jnp.ones((3, 4), jnp.int32)}
    scan = recipe.make_scan(lambda state, batch: 1 / 0, [])
    rows = jnp.zeros((2, 3), jnp.int32)
    state, (_, labels) = scan(jnp.float32(7), tokens, jnp.zeros(2, jnp.int32), rows)
    assert state == 7
    assert not labels.any()


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


@pytest.mark.parametrize(
    "kind", [FusedAttention, partial(ChunkedAttention, chunk_size=2)]
)
def test_other_attentions_are_that_of_the_zoo(kind):
    model = create_model("transformer-tiny", **updates.NARROW)
    source = inputs = jax.random.randint(jax.random.key(1), (2, 5), 3, 40)
    params = {"params": initialize(model, jax.random.key(0))}
    found = with_attention(model, kind).apply(params, source, inputs)
    np.testing.assert_allclose(found, model.apply(params, source, inputs), atol=1e-5)


class Stub:
    """Work that takes no time, in parts of the loss that it remembers."""

    parts: ClassVar[list[int]] = []

    def __init__(self, row, cache):
        self.parts.append(losses.TOKENS_PER_PART)
        if row.remat:
            raise MemoryError("out of memory\nwhile a program ran")

    def run(self):
        time.sleep(0.01)

    def peak_bytes(self):
        return 7


def test_the_share_of_the_peak_is_written_or_why_there_is_none(tmp_path, monkeypatch):
    monkeypatch.setattr(utilisation, "Work", Stub)
    monkeypatch.setattr(command, "PEAKS", {"cpu": 1e9})
    rows = ["plain", "remat", "parts-of-4096"]
    utilisation.main([*rows, "--toy", "--output", str(tmp_path)])
    (written,) = tmp_path.iterdir()
    assert written.name == "accelerators-utilisation-plain-remat-parts-of-4096.json"
    found = json.loads(written.read_text())["rows"]
    assert 0.004 < found["plain"]["seconds"] < 0.1  # of one of two updates
    assert found["plain"]["utilisation"] == pytest.approx(
        found["plain"]["flops"] / found["plain"]["seconds"] / 1e9
    )
    assert found["remat"] == {"error": "MemoryError: out of memory"}
    assert Stub.parts == [512, 512, 4_096]
    assert losses.TOKENS_PER_PART == 512


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
