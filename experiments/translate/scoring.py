"""What a translator is worth on a text: scores, and translations to look at."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from experiments.translate.config import DecodingConfig
from zoo import metrics
from zoo.data.text import ParallelText

if TYPE_CHECKING:
    from zoo.translation.translator import Translator

SUBWORD_MARK = "@@ "
NAMES = {
    "bleu": "BLEU",
    "chrf": "chrF",
    "chrf_pp": "chrF++",
    "exact_match": "exact match %",
}


@dataclass(frozen=True)
class Scores:
    """Scores of one text, from 0 to 100, and what BLEU was counted with.

    Attributes:
        chrf_pp: chrF++.
        exact_match_by_category: None where the text has no categories.
    """

    bleu: float
    chrf: float
    chrf_pp: float
    exact_match: float
    exact_match_by_category: dict[str, float] | None
    signature: str


def translate_all(
    translator: "Translator", sentences: Sequence[str], decoding: DecodingConfig
) -> list[str]:
    """Returns the best translation of every sentence."""
    found = translator.translate(
        sentences,
        beam_size=decoding.beam_size,
        length_penalty=decoding.length_penalty,
    )
    return [hypotheses[0].text for hypotheses in found]


def join_subwords(sentence: str) -> str:
    """Returns the words of a sentence that byte-pair encoding has cut, as fairseq does.

    >>> join_subwords("ein gras@@ grün@@ er ball@@")
    'ein grasgrüner ball'
    """
    return f"{sentence} ".replace(SUBWORD_MARK, "").rstrip()


def comparable(
    sentences: Sequence[str], *, lowercase: bool, tokenize: str
) -> list[str]:
    """Returns sentences as they are scored.

    Args:
        lowercase: whether case counts for nothing.
        tokenize: as for `metrics.bleu`; subwords of "none", tokenized text, are joined.
    """
    if tokenize == "none":
        sentences = [join_subwords(sentence) for sentence in sentences]
    return [x.lower() for x in sentences] if lowercase else list(sentences)


def count(
    hypotheses: Sequence[str],
    references: Sequence[str],
    *,
    names: Collection[str] = NAMES,
    lowercase: bool,
    tokenize: str = "13a",
) -> dict[str, metrics.Counts]:
    """Returns what each score is made of; the arguments are those of `comparable`.

    Raises:
        InputError: for unequal numbers of sentences, none, or an unknown tokenizer.
    """
    hypotheses = comparable(hypotheses, lowercase=lowercase, tokenize=tokenize)
    references = comparable(references, lowercase=lowercase, tokenize=tokenize)
    counters = {
        "bleu": partial(metrics.bleu_counts, lowercase=lowercase, tokenize=tokenize),
        "chrf": partial(metrics.chrf_counts, lowercase=lowercase),
        "chrf_pp": partial(metrics.chrf_counts, word_order=2, lowercase=lowercase),
        "exact_match": metrics.exact_match_counts,
    }
    return {name: counters[name](hypotheses, references) for name in names}


def scores_of(
    counts: Mapping[str, metrics.Counts], category: Sequence[str] | None = None
) -> Scores:
    """Returns the scores that counts make; the category is that of each sentence."""
    by_category = None
    if category is not None:
        by_category = metrics.score_by(category, counts["exact_match"])
    return Scores(
        **{name: counts[name].score().value for name in NAMES},
        exact_match_by_category=by_category,
        signature=counts["bleu"].signature,
    )


def intervals(counts: Mapping[str, metrics.Counts]) -> dict[str, tuple[float, float]]:
    """Returns between which 95 % of each score lie when the sentences are resampled."""
    return {
        name: metrics.interval(metrics.bootstrap(rows)) for name, rows in counts.items()
    }


def signatures(counts: Mapping[str, metrics.Counts]) -> dict[str, str]:
    """Returns sacreBLEU's signature of each score that has one."""
    return {name: rows.signature for name, rows in counts.items() if rows.signature}


def score(
    text: ParallelText,
    hypotheses: Sequence[str],
    *,
    lowercase: bool,
    tokenize: str = "13a",
) -> Scores:
    """Compares translations with the references of a text, as `count` does.

    Raises:
        InputError: for another number of hypotheses, none, or an unknown tokenizer.
    """
    counts = count(hypotheses, text.target, lowercase=lowercase, tokenize=tokenize)
    return scores_of(counts, text.category)


def show(console: Console, scores: Scores) -> None:
    """Prints the scores, by category where there are any."""
    console.print(
        f"BLEU {scores.bleu:.2f}, chrF {scores.chrf:.2f}, "
        f"chrF++ {scores.chrf_pp:.2f}, exact match {scores.exact_match:.2f} %",
        highlight=False,
    )
    if scores.exact_match_by_category:
        table = Table("category", "exact match %")
        table.columns[1].justify = "right"
        for category, value in scores.exact_match_by_category.items():
            table.add_row(category, f"{value:.1f}")
        console.print(table)


def show_samples(
    console: Console, text: ParallelText, hypotheses: list[str], count: int = 10
) -> None:
    """Prints translations from all over the text beside their references."""
    stride = max(1, len(text) // count)
    for number in range(0, min(len(text), stride * count), stride):
        same = hypotheses[number] == text.target[number]
        console.print(f"  source     {text.source[number]}", markup=False)
        console.print(
            f"  {'=' if same else '≠'} output   {hypotheses[number]}", markup=False
        )
        if not same:
            console.print(f"    expected {text.target[number]}", markup=False)
