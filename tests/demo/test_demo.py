"""The demo in a real browser, over tiny models with random weights, and off the net."""

import io
import socket
import struct
import sys
import zlib
from functools import partial

import jax
import numpy as np
import pytest
from PIL import Image

import zoo
from experiments.command import run
from experiments.demo import __main__ as command
from experiments.demo import replies
from experiments.vqa import viewing
from tests.viewer.hostile import HOSTILE
from zoo.data.tokenizer import Tokenizer
from zoo.data.vqa.answer_table import AnswerTable
from zoo.data.vqa.words import QuestionWords, train_words
from zoo.models.contract import initialize
from zoo.models.visual_contract import initialize as initialize_visual
from zoo.translation.translator import Translator
from zoo.viewer.page import text, visible
from zoo.visual.answerer import VisualAnswerer
from zoo.visual.images import OneShape

SIZES = {"model_dim": 16, "mlp_dim": 16, "num_heads": 2, "num_layers": 1}
SIGHT = {"region_dim": 0, "cnn_dim": 8, "model_dim": 16, "word_dim": 8}
QUESTION = "what is red"


def noise(init):
    """Returns noise for every parameter, for which nothing need be compiled."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32),
        jax.eval_shape(init, jax.random.key(0)),
    )


@pytest.fixture(scope="module")
def translator():
    tokenizer = Tokenizer.train([f"word{number} other" for number in range(60)], 330)
    vocab_size = tokenizer.vocab_size
    model = zoo.create_model("transformer-tiny", vocab_size=vocab_size, **SIZES)
    params = noise(partial(initialize, model))
    return Translator(model, params, tokenizer, max_length=16)


@pytest.fixture(scope="module")
def answerer():
    words = train_words([QUESTION])
    sizes = {"vocab_size": words.vocab_size, "num_answers": 3}
    model = zoo.create_model("stacked-attention-tiny", **sizes, **SIGHT)
    return VisualAnswerer(
        model,
        noise(partial(initialize_visual, model)),
        QuestionWords(words, 8),
        OneShape((32, 32, 3)),
        AnswerTable(("cat", "<b>dog</b>", "bird")),
    )


def png(size=(40, 30)):
    file = io.BytesIO()
    Image.new("RGB", size, "red").save(file, "png")
    return file.getvalue()


def bomb():
    """Returns a PNG of some bytes, whose head promises 30,000 by 30,000 pixels."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data))
        + (kind + data)
        + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "mine.png"
    path.write_bytes(png())
    return path


@pytest.fixture(scope="module")
def off_the_net():
    """Collects whom this process looks for, or speaks with, beyond this machine."""
    asked = []
    patch = pytest.MonkeyPatch()
    connect, lookup = socket.socket.connect, socket.getaddrinfo

    def connect_(self, address):
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1"):
            asked.append(address)
        return connect(self, address)

    def lookup_(host, *arguments, **options):
        if host not in ("127.0.0.1", "localhost", None, b"127.0.0.1"):
            asked.append(host)
            raise socket.gaierror("not from here")
        return lookup(host, *arguments, **options)

    patch.setattr(socket.socket, "connect", connect_)
    patch.setattr(socket, "getaddrinfo", lookup_)
    yield asked
    patch.undo()


@pytest.fixture(scope="module")
def demo(browser, off_the_net, translator, answerer, tmp_path_factory):
    pytest.importorskip("gradio", reason="no gradio here: pip install -e '.[demo]'")
    from experiments.demo import page as gradio_page

    path = tmp_path_factory.mktemp("pictures") / "picked.png"
    path.write_bytes(png())
    patch = pytest.MonkeyPatch()
    patch.setattr(gradio_page, "MAX_FILE", "1mb")
    served = gradio_page.make_page(
        translator, answerer, ["word7 other"], [(path, QUESTION)]
    )
    address = gradio_page.launch(served)
    patch.undo()
    page = browser.new_context().new_page()
    page.set_default_timeout(12_000)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    yield page
    page.context.close()
    served.close(verbose=False)
    assert not [x for x in asked if not x.startswith((address, "data:", "blob:"))]
    assert off_the_net == []


def frame(page, title):
    page.locator(f"iframe[title^='{title}']").wait_for()
    return page.frame_locator(f"iframe[title^='{title}']")


def press(page, role, name):
    """Presses by the keyboard: Chromium may lose a click after a look into a frame."""
    page.get_by_role(role, name=name).press("Enter")


def upload(page, name, content):
    """Puts a file in the place of the picture that stands there."""
    press(page, "tab", "Ask a picture")
    if page.get_by_label("Clear").is_visible():
        press(page, "button", "Clear")
    file = {"name": name, "mimeType": "image/png", "buffer": content}
    page.locator("input[type=file]").first.set_input_files(file)


def test_a_sentence_is_translated_and_its_words_looked_at(demo, translator):
    (found,) = translator.translate(["word3 other"], num_best=4)
    texts = [visible(x.text) for x in found if x.text]
    demo.get_by_label("Sentence").fill("word3  other")
    press(demo, "button", "Translate")
    shown = frame(demo, "translations")
    written = shown.locator("label:has(input[name=sentence]) bdi")
    written.first.wait_for()
    assert written.all_text_contents() == texts
    token = shown.locator(".token").last
    token.hover()
    told = shown.locator(".summary").inner_text()
    assert told.startswith(f"“{token.locator('bdi').inner_text()}”")
    assert "looks most at" in told


def test_a_picked_sentence_is_translated_at_once(demo):
    press(demo, "button", "word7 other")
    shown = frame(demo, "translations")
    shown.get_by_role("heading", name="word7 other").wait_for()


def test_an_uploaded_picture_is_asked_and_its_cells_looked_at(demo, answerer, picture):
    best, *_ = found = answerer.answer(picture, QUESTION)
    upload(demo, "mine.png", picture.read_bytes())
    demo.get_by_label("Question").fill(QUESTION)
    press(demo, "button", "Ask")
    shown = frame(demo, "the picture")
    assert shown.locator(".answers").inner_text().startswith(best.text)
    assert shown.get_by_role("gridcell").count() == np.prod(answerer.grid)
    shown.get_by_role("gridcell").first.hover()
    assert "row 1, column 1" in shown.locator(".summary").inner_text()
    for one in found:
        demo.get_by_text(one.text, exact=True).first.wait_for()
    assert demo.locator("b", has_text="dog").count() == 0


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("text.png", b"no picture", "no picture that we can read"),
        ("cut.png", png((300, 300))[:200], "a damaged picture"),
        ("vast.png", bomb(), "more than 89,478,485 pixels"),
        ("fat.png", bytes(2**20 + 1), "exceed the maximum allowed size"),
    ],
    ids=["text", "cut", "vast", "fat"],
)
def test_a_bad_upload_gets_a_sentence(demo, name, content, fault):
    upload(demo, name, content)
    if name != "fat.png":
        demo.locator("img").first.wait_for(state="attached")
        demo.get_by_label("Question").fill(QUESTION)
        press(demo, "button", "Ask")
    demo.get_by_text(fault).first.wait_for()
    assert name in demo.get_by_text(fault).first.inner_text()
    assert "/" not in demo.get_by_text(fault).first.inner_text()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("", "Type something"),
        (" \n\t", "Type something"),
        ("word1 " * 30, "tokens, more than the 16 that the model was trained for"),
        ("x" * 5_000, "5,000 letters, more than the 2,000"),
    ],
)
def test_an_empty_or_long_text_gets_a_sentence(translator, words, fault):
    reply = replies.translation(translator, words)
    assert reply.startswith('<p role="alert">')
    assert fault in reply


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("", "Type a question"),
        ("is red " * 20, "words, more than"),
        ("x" * 5_000, "5,000 letters"),
    ],
)
def test_an_empty_or_long_question_gets_a_sentence(answerer, picture, words, fault):
    chances, reply = replies.answer(answerer, picture, words)
    assert chances == {}
    assert fault in reply


def test_without_a_picture_there_is_nothing_to_ask(answerer):
    assert "Choose a picture" in replies.answer(answerer, None, QUESTION)[1]


@pytest.mark.parametrize("words", HOSTILE)
def test_hostile_words_are_text_in_every_reply(translator, words):
    reply = replies.translation(translator, words)
    assert reply.count("<") == 2
    assert reply.startswith(('<p role="alert">', '<iframe sandbox="allow-scripts" '))


def test_a_model_without_attention_still_translates_and_answers(
    translator, answerer, picture, monkeypatch
):
    monkeypatch.setattr(replies, "page_of", lambda *_: None)
    (found,) = translator.translate(["word3 other"], num_best=4)
    reply = replies.translation(translator, "word3 other")
    assert all(text(x.text) in reply for x in found)
    assert "no attention to look at" in reply
    monkeypatch.setattr(viewing, "looks_of", lambda *_: [])
    chances, reply = replies.answer(answerer, picture, QUESTION)
    assert len(chances) == 3
    assert "no attention to look at" in reply


def refused(capsys, monkeypatch, *arguments):
    """Runs the command; returns the one line that it dies with."""
    monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        run(command.main)
    assert exit_.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_is_no_model_of_the_kind_is_refused(
    capsys, monkeypatch, tmp_path, translator
):
    pytest.importorskip("gradio", reason="no gradio here: pip install -e '.[demo]'")
    monkeypatch.chdir(tmp_path)
    line = refused(capsys, monkeypatch)
    assert "neither runs/translate nor runs/vqa" in line
    monkeypatch.setattr(zoo, "load", lambda _: translator)
    line = refused(capsys, monkeypatch, "--answerer", tmp_path)
    assert f"{tmp_path}: a Translator and no VisualAnswerer" in line


def test_without_gradio_the_command_says_what_to_install(capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "experiments.demo.page", raising=False)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert "pip install -e '.[experiments,demo]'" in refused(capsys, monkeypatch)
