"""The commands that score runs: evaluate, compare two, train several seeds.

Nothing is trained here: runs are folders with what training leaves in them.
"""

import json
import re
from types import SimpleNamespace

import pytest

from experiments.translate import compare, evaluate, lengths, scoring
from experiments.translate.config import Config, FilesData
from tests.commands import refused
from tests.experiments.translate.texts import PLAIN, SOURCES, TARGETS, TEXT, spoil
from zoo.catalogue import model_config
from zoo.data.text import ParallelText, sha256
from zoo.training.records import write_json
from zoo.translation.translator import Translator


@pytest.fixture
def make_run(tmp_path):
    """Makes a folder that looks like a finished run."""

    def make(name, translations, *, targets=TARGETS, data="data", **options):
        folder = tmp_path / data
        folder.mkdir(exist_ok=True)
        for ending, lines in (("ko", SOURCES), ("en", targets)):
            (folder / f"test.{ending}").write_text("".join(f"{x}\n" for x in lines))
        data = FilesData(folder=folder, source="ko", target="en", **options)
        config = Config(model=model_config("transformer-small"), data=data)
        workdir = tmp_path / name
        workdir.mkdir()
        write_json(workdir / "config.json", config.to_json())
        prints = {"test": sha256(ParallelText(SOURCES, list(targets)))}
        result = {"data_sha256": prints, "seed": 0, "averaged": 1}
        write_json(workdir / "result.json", result)
        if translations is not None:
            lines = "".join(f"{x}\n" for x in translations)
            (workdir / "test.txt").write_text(lines)
        return workdir

    return make


@pytest.fixture
def stand_in(monkeypatch):
    """A translator that makes mistakes, and keeps what it was asked for."""
    asked = {}

    def translate(sentences, **options):
        asked.update(options)
        answers = dict(zip(SOURCES, spoil(TARGETS, 5), strict=True))
        return [[SimpleNamespace(text=answers[x])] for x in sentences]

    def score(sources, targets, *, length_penalty):
        pairs = zip(sources, targets, strict=True)
        return [-len(x.split()) / len(y.split()) ** length_penalty for x, y in pairs]

    def load(_, workdir, *, average=1):
        asked["average"] = average
        return SimpleNamespace(translate=translate, score=score)

    monkeypatch.setattr(Translator, "from_run", classmethod(load))
    return asked


def test_evaluate_prints_json_then_a_table_and_draws(
    make_run, stand_in, tmp_path, capsys
):
    workdir = make_run("run", None)
    output, picture = tmp_path / "out.txt", tmp_path / "lengths.svg"
    options = ["--output", output, "--plot", picture, "--average", "3", "--by-length"]
    evaluate.main(["--model", str(workdir), *map(str, options)])
    first, *rest = capsys.readouterr().out.splitlines()
    line = json.loads(first)
    scores = scoring.score(TEXT, spoil(TARGETS, 5), **PLAIN)
    assert (line["bleu"], line["chrf_pp"]) == (scores.bleu, scores.chrf_pp)
    assert line["intervals"]["bleu"][0] < line["bleu"] < line["intervals"]["bleu"][1]
    assert "nw:2" in line["signatures"]["chrf_pp"]
    bins = lengths.length_bins([len(x.split()) for x in SOURCES])
    assert sum(bool(re.search(r"\d+–\d+ │ +\d+ │", x)) for x in rest) == len(bins)
    assert "<svg" in picture.read_text()
    assert output.read_text().splitlines() == spoil(TARGETS, 5)
    assert stand_in == {"average": 3, "beam_size": 4, "length_penalty": 1.0}


def test_evaluate_scores_given_pairs_in_order(make_run, stand_in, tmp_path, capsys):
    workdir = make_run("run", None)
    files = ["--source", tmp_path / "a.ko", "--reference", tmp_path / "a.en"]
    files[1].write_text("가 나\n다\t라 마\n")
    files[3].write_text("one two three four\nfive\n")
    pairs = ["--model", workdir, *files, "--score", "--length-penalty", "0.5"]
    evaluate.main([str(x) for x in pairs])
    assert capsys.readouterr().out.split("\n") == [
        "-1.0000\t가 나\tone two three four",
        "-3.0000\t다 라 마\tfive",
        "",
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--source", "a.ko"], "go together"),
        (["--score", "--by-length"], "--score translates nothing"),
        (["--plot", "a.gif"], "a.gif: a picture ends in"),
    ],
)
def test_evaluate_refuses_what_cannot_be_before_it_loads(
    capsys, monkeypatch, options, message
):
    def never(*_, **__):
        raise AssertionError("loaded")

    monkeypatch.setattr(Translator, "from_run", never)
    assert message in refused(capsys, monkeypatch, evaluate, *options)


def test_a_run_does_not_differ_from_itself(make_run, capsys):
    workdir = make_run("run", spoil(TARGETS, 4))
    compare.main([str(workdir), str(workdir), "--json"])
    line = json.loads(capsys.readouterr().out)
    assert line["n"] == len(TEXT)
    for row in line["metrics"].values():
        assert row["first"] == row["second"]
        assert row["difference"] == 0
        assert row["interval"] == [0, 0]
        assert row["p_value"] == 1


def test_a_better_run_is_said_to_be_better(make_run, capsys):
    bad = make_run("bad", spoil(TARGETS, 3))
    good = make_run("good", spoil(TARGETS, 9))
    row = compare.comparison(bad, good)["metrics"]["bleu"]
    assert row["first"] == scoring.score(TEXT, spoil(TARGETS, 3), **PLAIN).bleu
    assert row["second"] == scoring.score(TEXT, spoil(TARGETS, 9), **PLAIN).bleu
    assert row["difference"] == row["second"] - row["first"]
    assert 0 < row["interval"][0] < row["difference"] < row["interval"][1]
    assert row["p_value"] < 0.01
    compare.main([str(bad), str(good)])
    printed = capsys.readouterr().out
    assert f"{row['difference']:+.2f}" in printed
    assert "chrF++" in printed


def test_a_run_without_translations_translates_as_it_was_tested(make_run, stand_in):
    workdir = make_run("run", None)
    result = json.loads((workdir / "result.json").read_text())
    write_json(workdir / "result.json", {**result, "averaged": 4})
    assert compare.translations_of(workdir, TEXT) == spoil(TARGETS, 5)
    assert stand_in == {"average": 4, "beam_size": 1, "length_penalty": 1.0}


def test_runs_on_different_tests_are_refused(make_run, capsys, monkeypatch):
    one = make_run("one", TARGETS)
    two = make_run("two", TARGETS, targets=spoil(TARGETS, 2), data="other")
    line = refused(capsys, monkeypatch, compare, one, two)
    assert "tested on different texts" in line
    assert sha256(TEXT)[:8] in line


def test_runs_that_count_case_differently_are_refused(make_run, capsys, monkeypatch):
    one, two = make_run("one", TARGETS), make_run("two", TARGETS, lowercase=True)
    assert "different ways" in refused(capsys, monkeypatch, compare, one, two)


def test_a_test_set_that_has_changed_is_refused(make_run, capsys, monkeypatch):
    one, two = make_run("one", TARGETS), make_run("two", TARGETS)
    (one.parent / "data" / "test.en").write_text("".join(f"{x}!\n" for x in TARGETS))
    assert "has changed since" in refused(capsys, monkeypatch, compare, one, two)


def test_translations_of_another_text_are_refused(make_run, capsys, monkeypatch):
    one, two = make_run("one", TARGETS), make_run("two", TARGETS[:-1])
    line = refused(capsys, monkeypatch, compare, one, two)
    assert "two/test.txt has 59 lines for 60 test sentences" in line


def test_an_unfinished_run_is_refused(make_run, capsys, monkeypatch):
    one, two = make_run("one", TARGETS), make_run("two", TARGETS)
    (two / "result.json").unlink()
    line = refused(capsys, monkeypatch, compare, one, two)
    assert "two: no result.json" in line
