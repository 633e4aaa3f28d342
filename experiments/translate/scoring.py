"""What a translator is worth on a text: scores, and translations to look at."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from experiments.translate.config import DecodingConfig
from zoo import metrics
from zoo.data.text import ParallelText
from zoo.translator import Translator


@dataclass(frozen=True)
class Scores:
    """Scores of one text, from 0 to 100, and what BLEU was counted with.

    Attributes:
        exact_match_by_category: None where the text has no categories.
    """

    bleu: float
    chrf: float
    exact_match: float
    exact_match_by_category: dict[str, float] | None
    signature: str


def translate_all(
    translator: Translator, sentences: list[str], decoding: DecodingConfig
) -> list[str]:
    """Returns the best translation of every sentence."""
    found = translator.translate(
        sentences,
        beam_size=decoding.beam_size,
        length_penalty=decoding.length_penalty,
    )
    return [hypotheses[0].text for hypotheses in found]


def score(text: ParallelText, hypotheses: list[str], *, lowercase: bool) -> Scores:
    """Compares translations with the references of a text.

    Args:
        lowercase: whether case counts for nothing, in every score.
    """
    references = text.target
    if lowercase:
        hypotheses = [sentence.lower() for sentence in hypotheses]
        references = [sentence.lower() for sentence in references]
    bleu = metrics.bleu(hypotheses, references, lowercase=lowercase)
    by_category = None
    if text.category is not None:
        by_category = metrics.exact_match_by(text.category, hypotheses, references)
    return Scores(
        bleu=bleu.value,
        chrf=metrics.chrf(hypotheses, references).value,
        exact_match=metrics.exact_match(hypotheses, references),
        exact_match_by_category=by_category,
        signature=bleu.signature,
    )


def show(console: Console, scores: Scores) -> None:
    """Prints the scores, by category where there are any."""
    console.print(
        f"BLEU {scores.bleu:.2f}, chrF {scores.chrf:.2f}, "
        f"exact match {scores.exact_match:.2f} %",
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
