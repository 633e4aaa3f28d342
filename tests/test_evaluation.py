"""Scores of the translation experiment: by length, of two runs, of several seeds.

Nothing is trained here: runs are folders with what training leaves in them.
"""

import io
import json
import re
import statistics
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.command import run
from experiments.translate import compare, evaluate, lengths, scoring, seeds, train
from experiments.translate.config import Config, FilesData
from zoo.catalogue import model_config
from zoo.data.text import ParallelText, sha256
from zoo.errors import InputError
from zoo.training.records import write_json
from zoo.translation.translator import Translator

PLAIN = {"lowercase": False, "tokenize": "13a"}
# Four words and more, up to 33, so that BLEU has its four orders.
TARGETS = [" ".join(f"w{i * k % 7}" for k in range(4 + i % 30)) for i in range(60)]
SOURCES = ["가 " * (3 + i % 30) + str(i) for i in range(60)]
TEXT = ParallelText(SOURCES, TARGETS)


def spoil(lines, every):
    """Returns lines whose every so many-th word is wrong."""
    return [
        " ".join("x" if (n + k) % every == 0 else w for k, w in enumerate(line.split()))
        for n, line in enumerate(lines)
    ]


def refused(capsys, monkeypatch, module, *arguments):
    """Runs a command in this process; returns the one line that it dies with."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run(module.main)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


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
        found = SimpleNamespace(translate=translate, score=score)
        found.on_all_devices = lambda: found
        return found

    monkeypatch.setattr(Translator, "from_run", classmethod(load))
    return asked


def test_subwords_are_joined_as_fairseq_does():
    assert (
        scoring.join_subwords("ein gras@@ grün@@ er ball .") == "ein grasgrüner ball ."
    )
    assert scoring.join_subwords("cut at the e@@") == "cut at the e"
    assert scoring.join_subwords("me@@ you @ @@x") == "meyou @ @@x"


def test_tokenized_text_is_scored_by_its_joined_words():
    text = ParallelText(["q"], ["Ein gras@@ grün@@ er Ball , da ."])
    how = {"lowercase": True, "tokenize": "none"}
    # The same words in other pieces: equal. 13a would cut nothing here but "a.b".
    assert scoring.score(text, ["ein grasgrü@@ ner ball , da ."], **how).bleu == 100
    scores = scoring.score(
        ParallelText(["q"], ["a.b c d e f"]), ["a . b c d e f"], **how
    )
    assert scores.bleu < 100
    assert "tok:none" in scores.signature
    assert "case:lc" in scores.signature


def test_every_score_has_an_interval_and_every_ngram_score_a_signature():
    counts = scoring.count(spoil(TARGETS, 4), TARGETS, **PLAIN)
    scores = scoring.scores_of(counts)
    found = scoring.intervals(counts)
    assert set(found) == {"bleu", "chrf", "chrf_pp", "exact_match"}
    for name, (low, high) in found.items():
        assert low <= getattr(scores, name) <= high
    assert found["bleu"][0] < found["bleu"][1]
    assert set(scoring.signatures(counts)) == {"bleu", "chrf", "chrf_pp"}


def test_scores_by_category_follow_case_as_the_others_do():
    text = ParallelText(["a", "b"], ["Eins", "Zwei"], category=["x", "y"])
    scores = scoring.score(text, ["eins", "zwo"], lowercase=True)
    assert scores.exact_match == 50
    assert scores.exact_match_by_category == {"x": 100.0, "y": 0.0}


def test_bins_by_hand():
    # 3 up to five words, 1 in 6-10: joined with 11-15; 1 beyond: joined with the last.
    found = lengths.length_bins([1, 2, 5, 7, 11, 12, 28], width=5, fewest=2)
    assert found == [(1, 5), (6, 30)]
    assert lengths.length_bins([3], fewest=20) == [(1, 5)]
    assert lengths.length_bins([5, 6], width=5, fewest=1) == [(1, 5), (6, 10)]


@given(
    st.lists(st.integers(1, 70), min_size=1),
    st.integers(1, 12),
    st.integers(1, 30),
)
def test_bins_hold_every_sentence_once_and_none_has_too_few(sizes, width, fewest):
    found = lengths.length_bins(sizes, width=width, fewest=fewest)
    held = [[x for x in sizes if low <= x <= high] for low, high in found]
    assert Counter(x for group in held for x in group) == Counter(sizes)
    assert min(map(len, held)) >= min(fewest, len(sizes))
    assert all((high - low + 1) % width == 0 for low, high in found)


@pytest.mark.parametrize("sizes", [[], [3, 0]])
def test_sentences_without_words_have_no_bin(sizes):
    with pytest.raises(ValueError, match="each at least 1"):
        lengths.length_bins(sizes)


def test_a_bin_is_scored_as_a_text_of_its_own():
    systems = {"bad": spoil(TARGETS, 3), "good": spoil(TARGETS, 9)}
    rows = lengths.by_length(systems, TEXT, **PLAIN)
    assert [row.system for row in rows] == len(rows) // 2 * ["bad"] + (
        len(rows) // 2 * ["good"]
    )
    assert sum(row.count for row in rows if row.system == "bad") == len(TEXT)
    for row in rows:
        low, high = row.bin
        chosen = [i for i, x in enumerate(SOURCES) if low <= len(x.split()) <= high]
        part = ParallelText([SOURCES[i] for i in chosen], [TARGETS[i] for i in chosen])
        alone = scoring.score(part, [systems[row.system][i] for i in chosen], **PLAIN)
        assert row.count == len(chosen)
        assert (row.bleu, row.chrf) == (alone.bleu, alone.chrf)
        assert row.bleu_interval[0] <= row.bleu <= row.bleu_interval[1]
        assert row.chrf_interval[0] <= row.chrf <= row.chrf_interval[1]


def test_given_bins_leave_out_what_is_outside_and_may_not_be_empty():
    systems = {"a": TARGETS}
    rows = lengths.by_length(systems, TEXT, **PLAIN, bins=[(4, 9), (10, 20)])
    assert [row.bin for row in rows] == [(4, 9), (10, 20)]
    assert sum(row.count for row in rows) < len(TEXT)
    with pytest.raises(InputError, match="no sentence has 50 to 60 words"):
        lengths.by_length(systems, TEXT, **PLAIN, bins=[(50, 60)])


def test_the_words_of_cut_text_are_counted_joined():
    text = ParallelText(["gras@@ grün@@ er ball"], ["a"])
    assert lengths.source_lengths(text, tokenize="none") == [2]
    assert lengths.source_lengths(text) == [4]


def test_systems_are_named_once_in_the_table_and_each_has_a_line_in_both_panels():
    systems = {"[bad]": spoil(TARGETS, 3), "good": spoil(TARGETS, 9)}
    rows = lengths.by_length(systems, TEXT, **PLAIN)
    with io.StringIO() as file:
        Console(width=100, file=file).print(lengths.table(rows))
        printed = file.getvalue()
    assert printed.count("[bad]") == printed.count("good") == 1
    bleu, chrf = lengths.draw_by_length(rows).axes
    assert (bleu.get_ylabel(), chrf.get_ylabel()) == ("BLEU", "chrF")
    for axes, name in ((bleu, "bleu"), (chrf, "chrf")):
        drawn = [y for line in axes.lines for y in line.get_ydata()]
        assert drawn == [getattr(row, name) for row in rows]
    ticks = [x.get_text() for x in bleu.get_xticklabels()]
    assert ticks[0] == f"{rows[0].bin[0]}–{rows[0].bin[1]}\nn={rows[0].count}"


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
