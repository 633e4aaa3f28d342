import logging
import math

import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu.significance import PairedTest

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
    assert metrics.chrf_pp(sentences, sentences).value == 100.0


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
    assert "nw:0" in score.signature


def test_chrf_pp_counts_words_and_pairs_of_words_too():
    # Characters: 3 of 4, 1 of 3 ("ab" of ab, bc, cd), none of 2 and 1; one word of 2.
    score = metrics.chrf_pp(["ab cd"], ["ab ce"])
    characters = [3 / 4, 2 / 3, 1 / 2, 0]
    assert score.value == pytest.approx(100 * (sum(characters) + 1 / 2 + 0) / 6)
    assert "nw:2" in score.signature


def test_exact_match_wants_every_letter():
    assert metrics.exact_match(["둘", "셋 ", "Four"], ["둘", "셋", "four"]) == (
        pytest.approx(100 / 3)
    )


def test_a_category_is_scored_alone():
    equal = metrics.exact_match_counts(["a", "b", "c", "d"], ["a", "x", "c", "y"])
    scores = metrics.score_by(["time", "money", "time", "time"], equal)
    assert scores == {"money": 0.0, "time": pytest.approx(200 / 3)}


def test_categories_come_in_the_order_of_their_names():
    names = list("hdbgafce")
    counts = metrics.exact_match_counts(names, names)
    assert list(metrics.score_by(names, counts)) == sorted(names)


@pytest.mark.parametrize(
    "score", [metrics.bleu, metrics.chrf, metrics.chrf_pp, metrics.exact_match]
)
def test_nothing_or_unequal_numbers_cannot_be_scored(score):
    with pytest.raises(InputError, match="at least one"):
        score([], [])
    with pytest.raises(InputError, match=r"2 hypotheses.* 1 references"):
        score(["a", "b"], ["a"])


def test_every_hypothesis_has_a_category():
    counts = metrics.exact_match_counts(["a", "b"], ["a", "b"])
    with pytest.raises(InputError, match="1 categories for 2 sentences"):
        metrics.score_by(["time"], counts)


def test_an_unknown_tokenizer_is_refused_and_the_known_are_named():
    with pytest.raises(InputError, match=r"'mecab'.*13a.*ko-mecab"):
        metrics.bleu(["a"], ["a"], tokenize="mecab")


def test_a_tokenizer_without_its_dictionary_names_the_extra(monkeypatch):
    def fail(**_):
        raise RuntimeError("Korean tokenization requires extra dependencies")

    monkeypatch.setattr(metrics.sacrebleu, "BLEU", fail)
    with pytest.raises(InputError, match=r"pip install 'sacrebleu\[ko\]'"):
        metrics.bleu(["a"], ["a"], tokenize="ko-mecab")


def test_tokenized_text_is_scored_without_a_warning(caplog):
    sentences = [f"number {i} ends here ." for i in range(120)]
    with caplog.at_level(logging.WARNING, logger="sacrebleu"):
        score = metrics.bleu(sentences, sentences, tokenize="none")
    assert not caplog.records
    assert "tok:none" in score.signature


@pytest.fixture(scope="module")
def systems():
    """References, a bad system, a better one, and one that differs a little."""
    rng = np.random.default_rng(0)
    words = [" ".join(rng.choice(list("abcdefgh"), size=9)) for _ in range(150)]

    def spoilt(rate):
        return [
            " ".join("z" if rng.random() < rate else w for w in line.split())
            for line in words
        ]

    return words, spoilt(0.3), spoilt(0.1), spoilt(0.29)


def counts_of(hypotheses, references, name="bleu"):
    counters = {
        "bleu": metrics.bleu_counts,
        "chrf": metrics.chrf_counts,
        "exact_match": metrics.exact_match_counts,
    }
    return counters[name](hypotheses, references)


def test_some_sentences_are_scored_as_if_there_were_no_others(systems):
    references, hypotheses, *_ = systems
    for name, score in [("bleu", metrics.bleu), ("chrf", metrics.chrf)]:
        part = counts_of(hypotheses, references, name).of([3, 1, 4])
        chosen = [[text[i] for i in (3, 1, 4)] for text in (hypotheses, references)]
        assert part.score() == score(*chosen)


def test_the_bootstrap_of_two_sentences_by_hand():
    # 0, 1 or 2 of two drawn sentences are right, a quarter, a half, a quarter.
    scores = metrics.bootstrap(metrics.exact_match_counts(["a", "b"], ["a", "x"]))
    values, times = np.unique(scores, return_counts=True)
    assert values.tolist() == [0.0, 50.0, 100.0]
    np.testing.assert_allclose(times / 1000, [0.25, 0.5, 0.25], atol=0.05)


def test_the_bootstrap_is_that_of_sacrebleu(systems):
    references, hypotheses, *_ = systems
    for metric, name in [(sacrebleu.BLEU(), "bleu"), (sacrebleu.CHRF(), "chrf")]:
        theirs = metric.corpus_score(hypotheses, [references], n_bootstrap=1000)
        ours = metrics.bootstrap(counts_of(hypotheses, references, name))
        low, high = metrics.interval(ours)
        assert ours.mean() == pytest.approx(theirs._mean)
        assert (high - low) / 2 == pytest.approx(theirs._ci)


def test_the_bootstrap_is_a_function_of_its_seed_alone(systems, monkeypatch):
    counts = counts_of(systems[1], systems[0])
    first = metrics.bootstrap(counts, num_resamples=50)
    monkeypatch.setenv("SACREBLEU_SEED", "7")
    np.random.seed(7)
    np.testing.assert_array_equal(metrics.bootstrap(counts, num_resamples=50), first)
    other = metrics.bootstrap(counts, num_resamples=50, seed=1)
    assert (other != first).any()


def test_an_interval_holds_the_score_and_narrows_with_the_root_of_the_sentences(
    systems,
):
    references, hypotheses, *_ = systems
    widths = []
    for times in (1, 4):
        counts = counts_of(times * hypotheses, times * references)
        low, high = metrics.interval(metrics.bootstrap(counts))
        assert low < counts.score().value < high
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.15)


@given(st.integers(40, 400))
def test_an_interval_leaves_out_at_most_a_fortieth_at_each_end(size):
    low, high = metrics.interval(np.arange(float(size))[::-1])
    assert low == size - 1 - high == size // 40


def test_a_system_does_not_differ_from_itself(systems):
    counts = counts_of(systems[1], systems[0])
    same = metrics.paired_bootstrap(counts, counts)
    assert same == metrics.Difference(0.0, (0.0, 0.0), 1.0)


def test_a_clearly_better_system_is_better_and_the_order_turns_the_sign(systems):
    references, bad, good, _ = systems
    pair = counts_of(bad, references), counts_of(good, references)
    better = metrics.paired_bootstrap(*pair)
    assert better.interval[0] > 0
    assert better.p_value == pytest.approx(1 / 1001)
    worse = metrics.paired_bootstrap(*reversed(pair))
    assert worse.value == -better.value
    assert worse.interval == (-better.interval[1], -better.interval[0])
    assert worse.p_value == better.p_value


def test_a_small_difference_may_be_chance(systems):
    references, bad, _, similar = systems
    names = ("bleu", "chrf", "exact_match")
    for name in names:
        pair = counts_of(bad, references, name), counts_of(similar, references, name)
        difference = metrics.paired_bootstrap(*pair)
        assert difference.interval[0] < 0 < difference.interval[1]
        assert difference.p_value > 0.05


def test_systems_are_resampled_together(systems):
    # One word more is wrong in every sentence: the scores vary, their difference less.
    references, bad, *_ = systems
    worse = [f"{line[:-1]}y" for line in bad]
    counts = [counts_of(x, references, "chrf") for x in (bad, worse)]
    difference = metrics.paired_bootstrap(*counts)
    apart = [metrics.interval(metrics.bootstrap(x)) for x in counts]
    paired_width = difference.interval[1] - difference.interval[0]
    assert paired_width < 0.35 * sum(high - low for low, high in apart)


def test_a_p_value_is_about_twice_the_one_sided_one_of_sacrebleu(systems, monkeypatch):
    references, bad, good, similar = systems
    monkeypatch.delenv("SACREBLEU_SEED", raising=False)
    named = [("bad", bad), ("better", similar[:60] + good[60:78] + similar[78:])]
    test = PairedTest(named, {"chrF2": sacrebleu.CHRF()}, [references], test_type="bs")
    theirs = test()[1]["chrF2"][1].p_value
    pair = (counts_of(hypotheses, references, "chrf") for _, hypotheses in named)
    ours = metrics.paired_bootstrap(*pair).p_value
    assert 0.01 < theirs < 0.1
    assert ours == pytest.approx(2 * theirs, rel=0.3)


def test_systems_of_different_corpora_are_refused():
    one, two = (
        metrics.exact_match_counts(["a"], ["a"]),
        metrics.exact_match_counts(["a", "b"], ["a", "b"]),
    )
    with pytest.raises(ValueError, match="1 sentences of one system beside 2"):
        metrics.paired_bootstrap(one, two)
