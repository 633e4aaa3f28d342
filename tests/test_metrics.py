import math

import pytest

from zoo import metrics
from zoo.errors import InputError


def test_bleu_by_hand():
    # Of 6 words 5 match, of 5 pairs 3, of 4 triples 2, of 3 quadruples 1; no brevity.
    score = metrics.bleu(["the cat sat on a mat"], ["the cat sat on the mat"])
    expected = 100 * math.prod([5 / 6, 3 / 5, 2 / 4, 1 / 3]) ** 0.25
    assert score.value == pytest.approx(expected)


def test_bleu_punishes_a_short_hypothesis():
    score = metrics.bleu(["a b c d"], ["a b c d e f g h"])
    assert score.value == pytest.approx(100 * math.exp(1 - 8 / 4))


def test_bleu_counts_n_grams_over_the_corpus_not_per_sentence():
    hypotheses = ["a b c d", "x y"]
    corpus = metrics.bleu(hypotheses, ["a b c d", "p q"]).value
    expected = 100 * math.prod([4 / 6, 3 / 4, 2 / 2, 1 / 1]) ** 0.25
    assert corpus == pytest.approx(expected)


def test_a_perfect_score_is_exactly_100():
    sentences = [f"{i} und {i + 1} sind {2 * i + 1} ." for i in range(20)]
    assert metrics.bleu(sentences, sentences).value == 100.0
    assert metrics.chrf(sentences, sentences).value == 100.0


def test_case_matters_unless_lowercase():
    pair = ["The Cat Sat Down"], ["the cat sat down"]
    assert metrics.bleu(*pair).value == 0
    score = metrics.bleu(*pair, lowercase=True)
    assert score.value == 100
    assert "case:lc" in score.signature
    assert "tok:13a" in score.signature


def test_the_tokenizer_decides_what_a_korean_word_is():
    # One particle differs: one of four words, one of nine letters.
    pair = ["나는 학교에 걸어서 간다"], ["나는 학교로 걸어서 간다"]
    by_word = metrics.bleu(*pair)
    by_letter = metrics.bleu(*pair, tokenize="char")
    assert by_word.value < by_letter.value
    assert "tok:char" in by_letter.signature


def test_chrf_by_hand():
    # Of 3 letters 2 match, of 2 pairs 1, of 1 triple 0: precision = recall = 7/18.
    score = metrics.chrf(["abc"], ["abd"])
    assert score.value == pytest.approx(100 * (2 / 3 + 1 / 2 + 0) / 3)
    assert "nc:6" in score.signature


def test_exact_match_wants_every_letter():
    assert metrics.exact_match(["둘", "셋 ", "Four"], ["둘", "셋", "four"]) == (
        pytest.approx(100 / 3)
    )


def test_exact_match_by_category_weighs_no_category_by_another():
    scores = metrics.exact_match_by(
        ["time", "money", "time", "time"], ["a", "b", "c", "d"], ["a", "x", "c", "y"]
    )
    assert scores == {"money": 0.0, "time": pytest.approx(200 / 3)}


def test_categories_come_in_the_order_of_their_names():
    names = list("hdbgafce")
    assert list(metrics.exact_match_by(names, names, names)) == sorted(names)


@pytest.mark.parametrize("score", [metrics.bleu, metrics.chrf, metrics.exact_match])
def test_nothing_or_unequal_numbers_cannot_be_scored(score):
    with pytest.raises(InputError, match="at least one"):
        score([], [])
    with pytest.raises(InputError, match=r"2 hypotheses.* 1 references"):
        score(["a", "b"], ["a"])


def test_every_hypothesis_has_a_category():
    with pytest.raises(InputError, match="1 categories for 2 hypotheses"):
        metrics.exact_match_by(["time"], ["a", "b"], ["a", "b"])


def test_an_unknown_tokenizer_is_refused_and_the_known_are_named():
    with pytest.raises(InputError, match=r"'mecab'.*13a.*ko-mecab"):
        metrics.bleu(["a"], ["a"], tokenize="mecab")


def test_a_tokenizer_without_its_dictionary_names_the_extra(monkeypatch):
    def fail(**_):
        raise RuntimeError("Korean tokenization requires extra dependencies")

    monkeypatch.setattr(metrics.sacrebleu, "BLEU", fail)
    with pytest.raises(InputError, match=r"pip install 'sacrebleu\[ko\]'"):
        metrics.bleu(["a"], ["a"], tokenize="ko-mecab")
