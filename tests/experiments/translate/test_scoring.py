"""Scores of translations: of joined words, by category, by length."""

import io
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from experiments.translate import lengths, scoring
from tests.experiments.translate.texts import PLAIN, SOURCES, TARGETS, TEXT, spoil
from zoo.data.text import ParallelText
from zoo.errors import InputError


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
