"""What the commands for an accelerator time is what PyTorch and Hugging Face do."""

import json
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from benchmarks import decoding, training  # noqa: E402
from benchmarks.accelerators import command, searches, updates  # noqa: E402
from benchmarks.accelerators.utilisation import update_flops  # noqa: E402
from benchmarks.pairs import Paired, relative_distance  # noqa: E402


@pytest.fixture(autouse=True)
def _keep_what_the_suite_has_compiled(monkeypatch):
    for module in (training, searches):
        monkeypatch.setattr(module, "keep_compiled", lambda folder: None)


@pytest.mark.parametrize("name", ["base", "luong"])
def test_both_sides_compute_the_same_and_learn(name, tmp_path):
    row = updates.TOYS[name]
    ours = updates.Ours(row, tmp_path)
    theirs = updates.Torch(row, tmp_path)
    assert relative_distance(ours.check(), theirs.check())["numbers"] < 1e-4
    before = theirs.model.table.detach().clone()
    theirs.run()
    assert not torch.equal(before, theirs.model.table)
    if name == "base":
        assert theirs.flops() == row.updates * update_flops(row)
        ours.run()
        assert int(ours.state.step) == row.updates
    assert min(ours.peak_bytes(), theirs.peak_bytes()) > 10e6


def test_the_precision_is_that_of_the_row(tmp_path):
    row = replace(updates.TOYS["base"], compiler=None)
    updates.Ours(row, tmp_path)
    seen = []
    for precision in ("bfloat16", "float32"):
        theirs = updates.Torch(replace(row, precision=precision), tmp_path)
        theirs.model.decoder[0].up.register_forward_hook(
            lambda module, inputs, output: seen.append(output.dtype)
        )
        theirs.run()
    assert seen == [torch.bfloat16] * row.updates + [torch.float32] * row.updates


def test_both_searches_write_the_same(tmp_path):
    row = searches.TOYS["base"]
    ours = searches.Ours(row, tmp_path)
    theirs = searches.HuggingFace(row, tmp_path)
    found = decoding.difference(ours.check(), theirs.check())
    assert found["sentences"] <= searches.TOLERANCES["sentences"]
    assert found["scores"] <= searches.TOLERANCES["scores"]
    ours.run()
    theirs.run()
    sizes = [len(batch) for batch in searches.batches_of(row)]
    assert sizes == [64, 64]
    assert theirs.flops() == 2 * decoding.num_flops(row)


def test_what_is_measured_beside_a_peer_is_written(tmp_path, monkeypatch):
    paired = Paired(
        ours=[1.0, 2.0, 3.0],
        peer=[2.0, 4.0, 6.0],
        flops=1e12,
        ours_bytes=1,
        peer_bytes=2,
        cold_seconds=3.0,
        cached_seconds=1.0,
        differences={},
    )
    monkeypatch.setattr(command, "measure", lambda *_, **__: paired)
    monkeypatch.setattr(command, "PEAKS", {"cpu": 2e12})
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    updates.main(["big", "--toy", "--output", str(tmp_path)])
    searches.main(["--toy", "--output", str(tmp_path)])
    report = json.loads((tmp_path / "accelerators-updates-big.json").read_text())
    row = report["rows"]["big"]
    assert (row["ratio"], row["utilisation"], row["peer_utilisation"]) == (
        2,
        0.25,
        0.125,
    )
    # The package may leave out for which CUDA it was built.
    told = report["environment"]["versions"]["torch"]
    assert told
    assert str(torch.__version__).startswith(told)
    assert (tmp_path / "accelerators-searches.json").exists()


def test_searches_are_timed_alone_where_there_is_no_peer(tmp_path, monkeypatch, capsys):
    class Alone:
        def __init__(self, make, **arguments):
            assert make is searches.Ours

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            pass

        def seconds(self):
            return 0.5

    monkeypatch.setattr(searches, "Side", Alone)
    monkeypatch.setattr(searches.importlib.util, "find_spec", lambda name: None)
    searches.main(["--toy", "--output", str(tmp_path)])
    said = "no transformers here: ours alone is timed\nbase: 256 sentences a second\n"
    assert capsys.readouterr().out == said
    rows = json.loads((tmp_path / "accelerators-searches.json").read_text())["rows"]
    np.testing.assert_equal(rows["base"]["seconds"], [0.5, 0.5])
