"""Several seeds of one config: their commands, their mean and deviation."""

import json
import statistics
from pathlib import Path

import pytest

from experiments.translate import seeds, train
from tests.commands import refused
from zoo.training.records import write_json


def test_mean_and_sample_deviation_by_hand():
    runs = [
        {"bleu": 20.0, "by_category": {"a": 0.0}, "other": None},
        {"bleu": 22.0, "by_category": {"a": 100.0}, "other": None},
        {"bleu": 27.0, "by_category": {"a": 50.0}, "other": 3.0},
    ]
    found = seeds.summarise(runs)
    # Mean 23; squares 9 + 1 + 16 over two.
    assert found["bleu"] == seeds.Summary(23.0, 13**0.5, [20.0, 22.0, 27.0])
    assert found["by_category.a"].mean == 50
    assert "other" not in found
    assert seeds.summarise(runs[:1])["bleu"] == seeds.Summary(20.0, None, [20.0])


@pytest.fixture
def training(monkeypatch):
    """Stands in for train; keeps the commands that it was given."""
    given = []

    def fake(arguments):
        given.append(arguments)
        values = dict(zip(arguments[-4::2], arguments[-3::2], strict=True))
        workdir, seed = Path(values["--workdir"]), int(values["--seed"])
        workdir.mkdir(parents=True)
        metrics = {"bleu": 10.0 + seed, "chrf": 5.0}
        result = {"preset": "files", "signature": "s", "metrics": metrics}
        write_json(workdir / "result.json", result)

    monkeypatch.setattr(train, "main", fake)
    return given


def test_every_seed_is_trained_with_the_same_options(training, tmp_path, capsys):
    options = ["files", "--model.num-layers", "2", "--data.lowercase"]
    places = ["--seeds", "1", "2", "6", "--workdir", str(tmp_path)]
    seeds.main([*options[:1], *places, *options[1:]])
    assert training == [
        [*options, "--seed", str(n), "--workdir", str(tmp_path / f"seed-{n}")]
        for n in (1, 2, 6)
    ]
    written = json.loads((tmp_path / "seeds.json").read_text())
    assert written["seeds"] == [1, 2, 6]
    bleu = {"mean": 13.0, "deviation": statistics.stdev([11, 12, 16])}
    assert written["metrics"]["bleu"] == {**bleu, "values": [11.0, 12.0, 16.0]}
    printed = capsys.readouterr().out
    assert "bleu 13.00 ± 2.65" in printed
    assert "chrf 5.00 ± 0.00" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "1", "1"], "each once"),
        (["--seeds"], "at least one"),
        (["--seed=3"], "give --seeds"),
    ],
)
def test_seeds_that_are_no_set_of_seeds_are_refused(
    training, capsys, monkeypatch, tmp_path, options, message
):
    arguments = [*options, "--workdir", tmp_path]
    assert message in refused(capsys, monkeypatch, seeds, *arguments)
    assert not training


def test_an_unknown_preset_is_refused(capsys, monkeypatch, tmp_path):
    workdir = tmp_path / "runs"
    line = refused(capsys, monkeypatch, seeds, "multi31k", "--workdir", workdir)
    assert "did you mean multi30k" in line
    assert not workdir.exists()


def test_an_unknown_option_of_train_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        seeds.main(["--workdir", str(tmp_path), "--model.num-layer", "2"])
    assert exit_.value.code == 2
    assert "num-layers" in capsys.readouterr().err
