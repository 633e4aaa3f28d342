"""Scores of whole corpora, counted on the host from strings: no arrays, no tokens.

BLEU and chrF come from sacreBLEU, and with them its signature, without which two
published numbers cannot be compared (Post 2018, "A Call for Clarity in Reporting BLEU
Scores"). Exact match is for corpora in which the source determines the target. Each is
a function of counts that are summed over the sentences: so a part of a corpus, or a
resample of it for a bootstrap (Koehn 2004, "Statistical Significance Tests for Machine
Translation Evaluation"), is scored without another look at the text.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import sacrebleu
from jaxtyping import Float, Int
from sacrebleu.metrics.base import Metric

from zoo.errors import InputError

# Those of sacreBLEU's tokenizers that work without a download.
TOKENIZERS = ("13a", "intl", "char", "none", "zh", "ja-mecab", "ko-mecab")
# sacreBLEU's own defaults: the resamples are those of its command line.
NUM_RESAMPLES = 1000
SEED = 12345


@dataclass(frozen=True)
class Score:
    """A score from 0 to 100, and sacreBLEU's signature of how it was counted."""

    value: float
    signature: str


@dataclass(frozen=True)
class Counts:
    """What a corpus score is made of.

    Attributes:
        rows: numbers of each sentence, such as its n-grams and how many match.
        score_of: the score, from 0 to 100, of the sum of some rows.
        signature: sacreBLEU's, "" for exact match.
    """

    rows: Int[np.ndarray, "sentences numbers"]
    score_of: Callable[[list[int]], float]
    signature: str

    def score(self) -> Score:
        """Returns the score of the whole corpus."""
        return Score(self.score_of(self.rows.sum(axis=0).tolist()), self.signature)

    def of(self, sentences: Sequence[int]) -> "Counts":
        """Returns the counts of some sentences, given by their numbers from 0."""
        return replace(self, rows=self.rows[list(sentences)])


@dataclass(frozen=True)
class Difference:
    """By how much the second of two systems is better than the first.

    Attributes:
        value: second minus first, on the corpus as it is.
        interval: between which 95 % of the resampled differences lie.
        p_value: how often chance alone would make a difference as large.
    """

    value: float
    interval: tuple[float, float]
    p_value: float


def check_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Raises InputError unless there are as many hypotheses as references, and any."""
    if len(hypotheses) != len(references):
        raise InputError(
            f"{len(hypotheses)} hypotheses cannot be scored against "
            f"{len(references)} references: give one reference per hypothesis"
        )
    if not hypotheses:
        raise InputError("no hypotheses to score: give at least one sentence")


def bleu_counts(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
) -> Counts:
    """Returns lengths, n-grams and matches of each sentence, as `bleu` adds them up.

    Raises:
        InputError: as `bleu`.
    """
    if tokenize not in TOKENIZERS:
        raise InputError(
            f"BLEU has no tokenizer {tokenize!r}; there are {', '.join(TOKENIZERS)}"
        )
    try:
        # Forced, sacreBLEU does not warn that tokenized text looks tokenized.
        metric = sacrebleu.BLEU(
            lowercase=lowercase, tokenize=tokenize, force=tokenize == "none"
        )
    except (ImportError, RuntimeError) as error:
        extra = tokenize.removesuffix("-mecab")
        raise InputError(
            f"BLEU's tokenizer {tokenize!r} needs a dictionary: "
            f"pip install 'sacrebleu[{extra}]'"
        ) from error
    return _counts(metric, hypotheses, references)


def chrf_counts(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    word_order: int = 0,
    lowercase: bool = False,
) -> Counts:
    """Returns n-grams and matches of each sentence, as `chrf` adds them up.

    Args:
        word_order: longest n-gram of words; 0 for chrF, 2 for chrF++.

    Raises:
        InputError: as `chrf`.
    """
    metric = sacrebleu.CHRF(word_order=word_order, lowercase=lowercase)
    return _counts(metric, hypotheses, references)


def _counts(
    metric: Metric, hypotheses: Sequence[str], references: Sequence[str]
) -> Counts:
    check_pairs(hypotheses, references)
    rows = metric._extract_corpus_statistics(hypotheses, [references])
    return Counts(
        np.array(rows),
        # Four equal precisions of 1 give 100.00000000000004.
        lambda total: min(metric._compute_score_from_stats(total).score, 100.0),
        str(metric.get_signature()),
    )


def exact_match_counts(hypotheses: Sequence[str], references: Sequence[str]) -> Counts:
    """Returns for each sentence whether it equals its reference, and 1.

    Raises:
        InputError: for unequal numbers of sentences, or none.
    """
    check_pairs(hypotheses, references)
    pairs = zip(hypotheses, references, strict=True)
    rows = np.array([[int(x == y), 1] for x, y in pairs])
    return Counts(rows, lambda total: 100 * total[0] / total[1], "")


def bleu(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    lowercase: bool = False,
    tokenize: str = "13a",
) -> Score:
    """Returns corpus BLEU; Papineni et al. (2002), one reference per hypothesis.

    >>> bleu(["the cat sat on the mat"], ["the cat sat on the mat"]).value
    100.0

    Args:
        lowercase: Whether "The" matches "the".
        tokenize: One of TOKENIZERS. "13a" splits at spaces and Western punctuation,
            which is right for European languages and takes a Korean word with its
            particles as one token. "ko-mecab" splits into morphemes and "ja-mecab"
            into Japanese words, each with an extra of sacreBLEU; "char" splits
            everything. "none" is for text that is tokenized already.

    Raises:
        InputError: for unequal numbers of sentences or none, an unknown tokenizer, or
            one whose extra is not installed.
    """
    return bleu_counts(
        hypotheses, references, lowercase=lowercase, tokenize=tokenize
    ).score()


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Returns chrF2, the F-score of character n-grams; Popović (2015).

    It needs no tokenizer, so it compares systems in any language alike.

    >>> chrf(["안녕하세요"], ["안녕하세요"]).value
    100.0

    Raises:
        InputError: for unequal numbers of sentences, or none.
    """
    return chrf_counts(hypotheses, references).score()


def chrf_pp(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Returns chrF2++, which counts words and pairs of words too; Popović (2017).

    >>> chrf_pp(["we met"], ["we met"]).value
    100.0

    Raises:
        InputError: for unequal numbers of sentences, or none.
    """
    return chrf_counts(hypotheses, references, word_order=2).score()


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Returns the percentage of hypotheses equal to their reference, letter for letter.

    >>> exact_match(["하나", "둘", "넷"], ["하나", "둘", "셋"])
    66.66666666666667

    Raises:
        InputError: for unequal numbers of sentences, or none.
    """
    return exact_match_counts(hypotheses, references).score().value


def score_by(categories: Sequence[str], counts: Counts) -> dict[str, float]:
    """Returns the score of each category of sentences, in the order of their names.

    >>> score_by(["b", "a", "a"], exact_match_counts(["x", "y", "z"], ["x", "y", "!"]))
    {'a': 50.0, 'b': 100.0}

    Raises:
        InputError: for another number of categories than sentences.
    """
    if len(categories) != len(counts.rows):
        raise InputError(
            f"{len(categories)} categories for {len(counts.rows)} sentences: "
            "give one category per sentence"
        )
    scores = {}
    for category in sorted(set(categories)):
        chosen = [n for n, name in enumerate(categories) if name == category]
        scores[category] = counts.of(chosen).score().value
    return scores


def bootstrap(
    counts: Counts, *, num_resamples: int = NUM_RESAMPLES, seed: int = SEED
) -> Float[np.ndarray, "resamples"]:
    """Returns the scores of corpora of the same size, drawn with replacement.

    The same seed draws the same sentences for every corpus of as many sentences.
    """
    rng = np.random.default_rng(seed)
    size = len(counts.rows)
    scores = []
    for _ in range(num_resamples):
        drawn = np.bincount(rng.choice(size, size=size), minlength=size)
        scores.append(counts.score_of((drawn @ counts.rows).tolist()))
    return np.array(scores, dtype=float)


def interval(samples: Float[np.ndarray, "resamples"]) -> tuple[float, float]:
    """Returns between which 95 % of the samples lie, the lowest and highest 2.5 % cut.

    >>> interval(np.arange(1000.0))
    (25.0, 974.0)
    """
    cut = len(samples) // 40
    ordered = np.sort(samples)
    return float(ordered[cut]), float(ordered[-1 - cut])


def paired_bootstrap(
    first: Counts,
    second: Counts,
    *,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = SEED,
) -> Difference:
    """Returns how two systems differ on the same references; Koehn (2004).

    Both are scored on the same resamples. The p-value is two-sided: how often a
    resampled difference lies as far from the mean of all as the measured one lies from
    zero. sacreBLEU takes the absolute differences first, which is one-sided for systems
    that differ, and calls two equal systems different.

    Raises:
        ValueError: the systems have translated different numbers of sentences.
    """
    if len(first.rows) != len(second.rows):
        raise ValueError(
            f"{len(first.rows)} sentences of one system beside {len(second.rows)} of "
            "the other: want the same corpus for both"
        )
    value = second.score().value - first.score().value
    resample = partial(bootstrap, num_resamples=num_resamples, seed=seed)
    differences = resample(second) - resample(first)
    by_chance = np.abs(differences - differences.mean()) >= abs(value)
    p_value = (int(by_chance.sum()) + 1) / (num_resamples + 1)
    return Difference(value, interval(differences), p_value)
