"""The page of the demo, by Gradio: one tab to translate, one to ask a picture.

Gradio would report its use, look for a newer version, offer a public link and keep
tables of what was asked; all that is off, and uploads are deleted within hours.
"""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

# Read when it is imported, and when a page is made.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(2**62)  # events until a summary

import gradio as gr

from experiments.demo.replies import answer, translation
from zoo.translation.translator import Translator
from zoo.visual.answerer import VisualAnswerer

MAX_FILE = "20mb"
_HOUR = 3_600
# Not for programs; and who asks while an answer is on its way is not forgotten.
_EVENT: dict[str, Any] = {"api_visibility": "private", "trigger_mode": "always_last"}
_STYLE = """
iframe { width: 100%; border: 0; resize: vertical; }
"""


def make_page(
    translator: Translator | None,
    answerer: VisualAnswerer | None,
    phrases: Sequence[str],
    pictures: Sequence[tuple[Path, str]],
) -> gr.Blocks:
    """Returns the page; a tab whose model is missing says how to train one.

    Args:
        phrases: to pick from.
        pictures: to pick from, each with a question.
    """
    with gr.Blocks(
        title="attention-zoo", analytics_enabled=False, delete_cache=(_HOUR, _HOUR)
    ) as page:
        gr.HTML("<h1>Where does a model look?</h1>")
        with gr.Tab("Translate"):
            _translate_tab(translator, phrases)
        with gr.Tab("Ask a picture"):
            _picture_tab(answerer, pictures)
    return page


def launch(page: gr.Blocks) -> str:
    """Serves the page on this machine alone; returns its address at once."""
    _, address, _ = page.launch(
        server_name="127.0.0.1",
        share=False,
        prevent_thread_lock=True,
        quiet=True,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        max_file_size=MAX_FILE,
        css=_STYLE,
    )
    return address


def _translate_tab(translator: Translator | None, phrases: Sequence[str]) -> None:
    if translator is None:
        gr.HTML(_missing("translator", "experiments.translate.train"))
        return
    reply = partial(translation, translator)
    with gr.Row(equal_height=True):
        words = gr.Textbox(label="Sentence", scale=4, autofocus=True)
        button = gr.Button("Translate", variant="primary", scale=0)
    offered = _offered(words, phrases)
    shown = gr.HTML(padding=False)
    button.click(reply, words, shown, **_EVENT)
    words.submit(reply, words, shown, **_EVENT)

    def pick(place: int):
        return phrases[place], reply(phrases[place])

    offered.click(pick, offered, [words, shown], **_EVENT)


def _picture_tab(
    answerer: VisualAnswerer | None, pictures: Sequence[tuple[Path, str]]
) -> None:
    if answerer is None:
        gr.HTML(_missing("model of questions", "experiments.vqa.train"))
        return
    with gr.Row():
        with gr.Column():
            picture = gr.Image(
                label="Picture", sources=["upload", "clipboard"], buttons=[], height=260
            )
            words = gr.Textbox(label="Question")
            button = gr.Button("Ask", variant="primary")
        with gr.Column():
            chances = gr.Label(label="Answers")
            offered = _offered(picture, [str(path) for path, _ in pictures])
    shown = gr.HTML(padding=False)

    def ask(upload: dict[str, Any] | None, question: str):
        return answer(answerer, Path(upload["path"]) if upload else None, question)

    # Gradio would decode an upload with every decoder it has, some of which start
    # programs; so it hands out the file.
    for event in (button.click, words.submit):
        event(ask, [picture, words], [chances, shown], preprocess=False, **_EVENT)

    def pick(place: int):
        path, question = pictures[place]
        return str(path), question, *answer(answerer, path, question)

    outputs = [picture, words, chances, shown]
    offered.click(pick, offered, outputs, **_EVENT)


def _offered(component: Any, samples: Sequence[str]) -> gr.Dataset:
    """Returns what can be picked, by its place."""
    return gr.Dataset(
        label="Or pick one",
        components=[component],
        samples=[[sample] for sample in samples],
        type="index",
        visible=bool(samples),
    )


def _missing(what: str, command: str) -> str:
    return (
        f"<p>There is no {what} yet. <code>python -m {command}</code> trains one in "
        "some minutes; then start the demo again.</p>"
    )
