"""What the demo replies: a page of the viewer in a frame, or what is amiss, in words.

The frame is a sandbox of an origin of its own, so that a page of foreign words could do
nothing to the demo, even if its own policy did not stop it.
"""

from html import escape
from pathlib import Path

from experiments.translate.viewing import page_of
from experiments.vqa.viewing import asked_of
from zoo.errors import InputError
from zoo.translation.translator import Translator
from zoo.viewer.page import table, text
from zoo.viewer.pictures import pictures_page
from zoo.visual.answerer import VisualAnswerer

NUM_BEST = 4
MAX_LETTERS = 2_000  # more than any model reads, and a tokenizer's time is bounded
Chances = dict[str, float]


def translation(translator: Translator, words: str) -> str:
    """Returns the HTML of the best translations and of where the model looked."""
    source = one_line(words)
    if fault := _amiss(source, "Type something to translate."):
        return sentence(fault)
    try:
        (found,) = translator.translate([source], num_best=NUM_BEST)
        found = [hypothesis for hypothesis in found if hypothesis.text]
        if not found:
            return sentence("The model wrote nothing.")
        page = page_of(translator, source, found)
    except InputError as error:
        return sentence(str(error))
    if page is not None:
        return framed(page, "translations, and where the model looked", height=62)
    rows = [[x.text, f"{x.score:.3f}"] for x in found]
    return table(["translation", "score"], rows) + sentence(
        "This model has no attention to look at."
    )


def answer(
    answerer: VisualAnswerer, picture: Path | None, words: str
) -> tuple[Chances, str]:
    """Returns the likeliest answers, and the HTML of where the model looked."""
    question = one_line(words)
    if picture is None:
        return {}, sentence("Choose a picture, or upload one.")
    if fault := _amiss(question, "Type a question about the picture."):
        return {}, sentence(fault)
    try:
        answers = answerer.answer(picture, question)
        asked = asked_of(answerer, picture, question, answers[0])
    except InputError as error:
        return {}, sentence(str(error).replace(str(picture), picture.name))
    chances = {x.text: x.probability for x in answers}
    if not asked.looks:
        return chances, sentence("This model has no attention to look at.")
    page = pictures_page(picture.name, [asked])
    return chances, framed(page, "the picture, and where the model looked", height=38)


def one_line(words: str) -> str:
    """Returns words on one line; half a character, which no file can hold, is "?"."""
    return " ".join(words.encode(errors="replace").decode().split())


def sentence(words: str) -> str:
    """Returns HTML that says what is amiss."""
    return f'<p role="alert">{text(words)}</p>'


def framed(page: str, title: str, *, height: int) -> str:
    """Returns a frame that shows a page, and lets it do nothing else.

    Args:
        height: in lines of the page around it.
    """
    return (
        f'<iframe sandbox="allow-scripts" title="{escape(title)}" '
        f'style="height: {height}rem" srcdoc="{escape(page)}"></iframe>'
    )


def _amiss(words: str, if_empty: str) -> str:
    if len(words) > MAX_LETTERS:
        return (
            f"That has {len(words):,} letters, more than the {MAX_LETTERS:,} that are "
            "read; shorten it."
        )
    return "" if words else if_empty
