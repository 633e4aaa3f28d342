"""Scores of whole corpora, counted on the host from strings: no arrays, no tokens.

BLEU and chrF come from sacreBLEU, and with them its signature, without which two
published numbers cannot be compared (Post 2018, "A Call for Clarity in Reporting BLEU
Scores"). Exact match is for corpora in which the source determines the target.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import sacrebleu

from zoo.errors import InputError

# Those of sacreBLEU's tokenizers that work without a download.
TOKENIZERS = ("13a", "intl", "char", "none", "zh", "ja-mecab", "ko-mecab")


@dataclass(frozen=True)
class Score:
    """A score from 0 to 100, and sacreBLEU's signature of how it was counted."""

    value: float
    signature: str


def check_pairs(hypotheses: Sequence[str], references: Sequence[str]) -> None:
    """Raises InputError unless there are as many hypotheses as references, and any."""
    if len(hypotheses) != len(references):
        raise InputError(
            f"{len(hypotheses)} hypotheses cannot be scored against "
            f"{len(references)} references: give one reference per hypothesis"
        )
    if not hypotheses:
        raise InputError("no hypotheses to score: give at least one sentence")


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
            everything.

    Raises:
        InputError: for unequal numbers of sentences or none, an unknown tokenizer, or
            one whose extra is not installed.
    """
    check_pairs(hypotheses, references)
    if tokenize not in TOKENIZERS:
        raise InputError(
            f"BLEU has no tokenizer {tokenize!r}; there are {', '.join(TOKENIZERS)}"
        )
    try:
        metric = sacrebleu.BLEU(lowercase=lowercase, tokenize=tokenize)
    except (ImportError, RuntimeError) as error:
        extra = tokenize.removesuffix("-mecab")
        raise InputError(
            f"BLEU's tokenizer {tokenize!r} needs a dictionary: "
            f"pip install 'sacrebleu[{extra}]'"
        ) from error
    score = metric.corpus_score(hypotheses, [references]).score
    # Four equal precisions of 1 give 100.00000000000004.
    return Score(min(score, 100.0), str(metric.get_signature()))


def chrf(hypotheses: Sequence[str], references: Sequence[str]) -> Score:
    """Returns chrF2, the F-score of character n-grams; Popović (2015).

    It needs no tokenizer, so it compares systems in any language alike.

    >>> chrf(["안녕하세요"], ["안녕하세요"]).value
    100.0

    Raises:
        InputError: for unequal numbers of sentences, or none.
    """
    check_pairs(hypotheses, references)
    metric = sacrebleu.CHRF()
    score = metric.corpus_score(hypotheses, [references]).score
    return Score(score, str(metric.get_signature()))


def exact_match(hypotheses: Sequence[str], references: Sequence[str]) -> float:
    """Returns the percentage of hypotheses equal to their reference, letter for letter.

    >>> exact_match(["하나", "둘", "넷"], ["하나", "둘", "셋"])
    66.66666666666667

    Raises:
        InputError: for unequal numbers of sentences, or none.
    """
    check_pairs(hypotheses, references)
    equal = sum(x == y for x, y in zip(hypotheses, references, strict=True))
    return 100 * equal / len(hypotheses)


def exact_match_by(
    categories: Sequence[str], hypotheses: Sequence[str], references: Sequence[str]
) -> dict[str, float]:
    """Returns exact match in percent for each category, in the order of their names.

    >>> exact_match_by(["b", "a", "a"], ["x", "y", "z"], ["x", "y", "!"])
    {'a': 50.0, 'b': 100.0}

    Raises:
        InputError: for unequal numbers of categories or sentences, or none.
    """
    check_pairs(hypotheses, references)
    if len(categories) != len(hypotheses):
        raise InputError(
            f"{len(categories)} categories for {len(hypotheses)} hypotheses: "
            "give one category per hypothesis"
        )
    scores = {}
    for category in sorted(set(categories)):
        chosen = [i for i, name in enumerate(categories) if name == category]
        scores[category] = exact_match(
            [hypotheses[i] for i in chosen], [references[i] for i in chosen]
        )
    return scores
