"""The command `translate`: which wishes reach the translator, and what is printed."""

import json
import subprocess
import sys

import pytest

import zoo
from experiments.command import run
from experiments.translate import translate
from zoo.translation.translator import Hypothesis, Translator


@pytest.fixture
def asked(monkeypatch):
    """Puts a stand-in in the translator's place; returns what it was asked for."""
    asked = {}

    def answer(sentences, **options):
        asked.update(options, sentences=list(sentences))
        ranks = range(options["num_best"])
        return [
            [Hypothesis(f"{x} \n{rank}", -rank) for rank in ranks] for x in sentences
        ]

    def align(source, target, *, layer):
        asked["aligned"] = source, target, layer
        return [(1, 0), (0, 2)]

    def load(_, workdirs, *, average):
        asked.update(models=list(map(str, workdirs)), average=average)
        translator = Translator.__new__(Translator)
        translator.translate, translator.align = answer, align
        return translator

    monkeypatch.setattr(Translator, "from_runs", classmethod(load))
    return asked


def refused(capsys, monkeypatch, *arguments):
    """Runs the command; returns the one line that it dies with."""
    monkeypatch.setattr(sys, "argv", ["command", *arguments])
    with pytest.raises(SystemExit) as exit_:
        run(translate.main)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_without_options_nothing_is_asked_for(asked, capsys):
    translate.main(["a b", "c"])
    assert capsys.readouterr().out == "a b  0\nc  0\n"
    assert asked == {
        "sentences": ["a b", "c"],
        "models": ["runs/translate"],
        "average": None,
        "beam_size": None,
        "length_penalty": None,
        "num_best": 1,
        "max_length": None,
        "prefixes": ["", ""],
        "required": [(), ()],
        "constraints": zoo.Constraints(),
        "sampling": None,
    }


def test_a_run_that_answers_is_no_translator(capsys, monkeypatch):
    monkeypatch.setattr(zoo, "load", lambda *_, **__: object())
    line = refused(capsys, monkeypatch, "--model", "runs/vqa", "a")
    assert "runs/vqa: it answers questions about images" in line


def test_every_wish_reaches_the_translator(asked):
    options = "--model one --model two --average 3 --beam-size 9 --length-penalty 0.5"
    options += " --max-length 30 --min-length 4 --no-repeat-ngram 3 --prefix P"
    options += " --ban x --ban y --require r --n-best 2"
    translate.main([*options.split(), "--require", "s t", "a b", "c"])
    assert asked["models"] == ["one", "two"]
    assert asked["average"] == 3
    assert (asked["beam_size"], asked["length_penalty"]) == (9, 0.5)
    assert (asked["num_best"], asked["max_length"]) == (2, 30)
    assert asked["prefixes"] == ["P", "P"]
    assert asked["required"] == [("r", "s t")] * 2
    assert asked["constraints"] == zoo.Constraints(4, 3, ("x", "y"))


def test_how_to_draw_reaches_the_translator(asked):
    translate.main(["a", "--sampling"])
    assert asked["sampling"] == zoo.Sampling()
    options = "--sampling --temperature 0.5 --top-k 3 --top-p 0.9 --seed 7"
    translate.main(["a", *options.split()])
    assert asked["sampling"] == zoo.Sampling(0.5, 3, 0.9, 7)


def test_rank_and_score_stand_before_and_the_alignment_behind(asked, capsys):
    translate.main(["a", "--n-best", "2", "--scores", "--alignments", "--layer", "3"])
    assert capsys.readouterr().out == (
        "1\t0.0000\ta  0 ||| 1-0 0-2\n2\t-1.0000\ta  1 ||| 1-0 0-2\n"
    )
    assert asked["aligned"] == ("a", "a \n1", 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--temperature 0.5", "--temperature is of --sampling"),
        ("--top-k 5", "--top-k is of --sampling"),
        ("--seed 0", "--seed is of --sampling"),
        ("--sampling --beam-size 2", "--beam-size has no effect with --sampling"),
        ("--sampling --top-p 2", "top_p is 2.0"),
        ("--min-length -1", "min_length is -1"),
        ("--average 0", "average is 0"),
        ("--layer 1", "--layer is of --alignments"),
        ("--input none.txt", "both text and --input none.txt"),
    ],
)
def test_what_has_no_effect_is_refused_before_anything_is_loaded(
    asked, capsys, monkeypatch, options, message
):
    assert message in refused(capsys, monkeypatch, "a", *options.split())
    assert asked == {}


def test_a_config_from_somebody_else_is_one_line(tmp_path):
    config = {"model": {"family": "rnn", "num_layers": 10**9}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [sys.executable, "-m", "experiments.translate.translate", "--model", tmp_path],
        input="",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr == (
        "error: rnn: num_layers is 1000000000, but must be from 0 to 1,000\n"
    )
