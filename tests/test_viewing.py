"""What the commands put into a page is what the models do."""

import base64
import json
import re
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import zoo
from experiments.translate import plot
from experiments.translate.viewing import view, watched_search
from experiments.vqa import drawing, viewing
from experiments.vqa.viewing import ANSWER, looks_of, maps_of
from tests import visual_models
from tests.translation.test_translator import make_speller
from zoo.data.tokenizer import Tokenizer
from zoo.data.vqa.examples import VisualQuestions
from zoo.data.vqa.words import QuestionWords, encode_questions, train_words
from zoo.errors import InputError
from zoo.models.contract import initialize
from zoo.translation.attention_maps import AttentionMaps
from zoo.translation.translator import Hypothesis, Translator

SIZES = {"model_dim": 16, "mlp_dim": 16, "num_heads": 2, "num_layers": 2}


@pytest.fixture(scope="module")
def translator():
    texts = [f"word{number} other{number}" for number in range(60)]
    tokenizer = Tokenizer.train(texts, 330)
    vocab_size = tokenizer.vocab_size
    model = zoo.create_model("transformer-tiny", vocab_size=vocab_size, **SIZES)
    params = jax.jit(partial(initialize, model))(jax.random.key(0))
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    return Translator(model, params, tokenizer, max_length=20)


def data_of(path):
    (block,) = re.findall(r'id="data">(.*?)</script>', path.read_text())
    return json.loads(block)


def weights_of(layer, shape):
    whole = np.frombuffer(base64.b64decode(layer["weights"]), "<u2")
    return whole.reshape(layer["heads"], *shape) / 65535


def test_a_page_holds_every_sentence_of_the_beam_and_its_weights(translator, tmp_path):
    path = tmp_path / "map.html"
    best = view(translator, "word1 other2", None, path)
    data = data_of(path)
    assert best == data["sentences"][0]["text"]
    assert len(data["sentences"]) == 4
    scores = [x["score"] for x in data["sentences"]]
    assert scores == sorted(scores, reverse=True)
    steps = data["steps"]
    assert all(len(x["texts"]) == len(x["log_probs"]) == 4 for x in steps)
    assert sum(steps[0]["began"]) == 1
    likeliest = [max(x["log_probs"]) for x in steps]
    assert likeliest == sorted(likeliest, reverse=True), "longer is never likelier"
    found, _ = watched_search(translator, "word1 other2")
    assert [x.text for x in found] == [x["text"] for x in data["sentences"]]
    read_again = translator.tokenizer.encode([x.text for x in found])
    written = [list(x.tokens[: len(x.tokens) - 1]) for x in found]
    assert read_again != written, "want a text that would be cut in another way"
    for hypothesis, sentence in zip(found, data["sentences"], strict=True):
        looked = translator.attention("word1 other2", hypothesis.tokens)
        assert sentence["pieces"] == looked.target_pieces
        assert sentence["inputs"] == ["<s>", *looked.target_pieces[:-1]]
        layers = {(x["kind"], x["layer"]): x for x in sentence["layers"]}
        for number in (1, 2):
            for kind, name in [("between", "cross"), ("decoder", "self")]:
                expected = looked.weights[f"decoder_{number - 1}/{name}_attention"]
                shown = weights_of(layers[kind, number], expected.shape[1:])
                np.testing.assert_allclose(shown, expected, atol=1e-5)
    for layer, number in zip(data["source"]["layers"], (0, 1), strict=True):
        expected = looked.weights[f"encoder_{number}/self_attention"]
        shown = weights_of(layer, expected.shape[1:])
        np.testing.assert_allclose(shown, expected, atol=1e-5)


def test_the_best_began_with_its_own_words_and_not_with_parts_of_them():
    # Each word is a token, and begins all that come after it in the alphabet.
    speller = make_speller(0, "a aa aaa aaaa aaaaa aaaaaa aaaaaaa")
    found, steps = watched_search(speller, "a aa")
    best = found[0].text.split(" ")
    misled = False
    for number, step in enumerate(steps, start=1):
        for text, began in zip(step.texts, step.began, strict=True):
            assert began == (text.split(" ") == best[:number])
            misled |= not began and found[0].text.startswith(text)
    assert misled
    assert steps[0].began.count(True) == 1


def test_a_given_sentence_stands_alone(translator, tmp_path):
    view(translator, "word1", "other1", tmp_path / "map.html")
    data = data_of(tmp_path / "map.html")
    assert [(x["text"], x["score"]) for x in data["sentences"]] == [("other1", None)]
    assert not data["steps"]


def test_the_best_is_the_first_that_is_not_empty(translator, tmp_path, monkeypatch):
    ids = *translator.tokenizer.encode(["other1"])[0], translator.tokenizer.eos_id
    found = [[Hypothesis("", 0.0, ids[-1:]), Hypothesis("other1", -1.0, ids)]]
    monkeypatch.setattr(Translator, "translate", lambda *_, **__: found)
    assert view(translator, "word1", None, tmp_path / "map.html") == "other1"
    (sentence,) = data_of(tmp_path / "map.html")["sentences"]
    assert sentence["text"] == "other1"


@pytest.mark.parametrize("name", ["map.png", "map.html"])
@pytest.mark.parametrize("given", [[""], []])
def test_where_nothing_is_written_nothing_is_drawn(
    translator, tmp_path, monkeypatch, name, given
):
    found = [[Hypothesis("", 0.0, (translator.tokenizer.eos_id,))]]
    monkeypatch.setattr(Translator, "translate", lambda *_, **__: found)
    monkeypatch.setattr(zoo, "load", lambda *_, **__: translator)
    with pytest.raises(InputError, match="nothing was written"):
        plot.main(["word1", *given, f"--output={tmp_path / name}"])
    assert not list(tmp_path.iterdir())


def test_a_model_without_attention_has_no_page(translator, tmp_path, monkeypatch):
    nothing = AttentionMaps({}, ["word1"], ["other1"])
    monkeypatch.setattr(translator, "attention", lambda *_: nothing, raising=False)
    with pytest.raises(InputError, match="no attention to show; choose a model with"):
        view(translator, "word1", "other1", tmp_path / "map.html")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "max_words", "of_answer", "of_words", "by_cells"),
    [
        ("stacked-attention", 4, 2, 0, 0),
        ("mcan", 4, 1, 0, 5),
        ("mcan", 5, 1, 0, 5),  # as many as there are regions
        ("single-stream", 4, 5, 5, 0),
        ("answer-decoder", 4, 5, 5, 0),
    ],
)
def test_looks_are_those_of_the_answer_and_those_of_words(
    monkeypatch, name, max_words, of_answer, of_words, by_cells
):
    # One layer of four heads: their mean, and each.
    model, params = visual_models.make(name)
    words = train_words(["is it red"])
    reader = QuestionWords(words, max_words)
    answerer = SimpleNamespace(model=model, params=params, reader=reader)
    # Features of regions, which compile fast, in the place of pixels.
    monkeypatch.setattr("experiments.vqa.viewing.region_grid", lambda *_: (1, 5))
    image = visual_models.batch()[0][-1]
    looks = looks_of(answerer, image, "is it red")
    assert looks[0].looking[0] == ANSWER
    assert sum(look.looking[0] == ANSWER for look in looks) == of_answer
    told = ["is", "it", "red"]
    free = [look for look in looks if look.looking[-3:] == told and not look.by_cells]
    assert len(free) == of_words
    guided = [look for look in looks if look.by_cells]
    assert len(guided) == by_cells
    for look in guided:
        assert look.looking == told
        # What a cell gives to the words is all that it has.
        np.testing.assert_allclose(look.weights.sum(axis=0), 1, atol=1e-5)

    ids = encode_questions(words, ["is it red"], max_words)
    maps = maps_of(model)(params, image[None], ids[None])
    expected = model.looks({path: x[None] for path, x in maps.items()}, 5)
    whole = [
        look for look in looks if look.looking[0] == ANSWER and "head" not in look.name
    ]
    for look, distribution in zip(whole, expected.values(), strict=True):
        first = look.weights[0] / look.weights[0].sum()
        np.testing.assert_allclose(first, distribution[0], atol=1e-5)


def test_what_scores_is_right_whatever_the_commonest_answer(monkeypatch, tmp_path):
    # Of ten annotators two say "dog", which is worth 0.6, and none says "bird".
    said = ("cat",) * 8 + ("dog",) * 2
    questions = VisualQuestions(
        images=np.zeros((1, 2, 2, 3), np.uint8),
        image_ids=["a"],
        image_of=np.zeros(2, np.int32),
        question_ids=np.arange(2),
        questions=["what is it", "who is it"],
        answers=[said, said],
        top_answers=["cat", "cat"],
        **{x: ["", ""] for x in ("question_types", "answer_types", "groups")},
        boxes=np.array([[0, 0, 1, 1], [np.nan] * 4]),
    )
    answerer = SimpleNamespace(
        cell_size=1,
        grid=(1, 1),
        predict=lambda _: (["dog", "bird"], np.array([0.5, 0.5])),
        looks=lambda _: {},
    )
    told = []
    monkeypatch.setattr(drawing, "sheet", told.extend)
    monkeypatch.setattr(drawing, "save", lambda *_: None)
    monkeypatch.setattr(viewing, "looks_of", lambda *_: [])
    monkeypatch.setattr(viewing, "write", lambda asked, *_: told.extend(asked))
    for draw in (drawing.draw_sheet, viewing.view_sheet):
        draw(answerer, questions, [1, 0], tmp_path / "sheet")
    assert [x.predicted for x in told] == ["bird", "dog"] * 2
    assert [x.right for x in told] == [False, True] * 2
    assert [np.isnan(x.box).any() for x in told] == [True, False] * 2
