"""ViLT against Hugging Face's torch model, tiny and random, and its surroundings."""

import json
import shutil

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import zoo
from experiments.vqa import answer
from tests.pretrained.torch_models import (
    picture,
    randomised,
    save,
    torch,
    transformers,
)
from zoo.data.vqa.examples import VisualQuestions
from zoo.data.vqa.resizing import together
from zoo.pretrained import vilt
from zoo.pretrained.loading import from_pretrained

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "?", "is", "the", "red", "cat"]
PIECES += ["##s", "a", "color", "what", "cafe", "dog"]
QUESTIONS = ["Is the CAT red?", "what colors?", "a café", "zebra dogs is a cat, is it"]
ANSWERS = ["yes", "no", "a cat", "2", "red"]
SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": 12,
    "patch_size": 4,
    "max_position_embeddings": 14,
}


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
    """Returns their model and processor, and the directory that they wrote."""
    folder = tmp_path_factory.mktemp("vilt")
    vocab = folder / "pieces.txt"
    vocab.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    tokenizer = transformers.BertTokenizer(str(vocab))
    pictures = transformers.ViltImageProcessorPil(
        size={"shortest_edge": 12}, size_divisor=4
    )
    labels = dict(enumerate(ANSWERS))
    config = transformers.ViltConfig(**SIZES, vocab_size=len(PIECES), id2label=labels)
    model = transformers.ViltForQuestionAnswering(config)
    save(randomised(model), folder, pictures, tokenizer)
    return model, pictures, tokenizer, folder


@pytest.fixture(scope="module")
def ours(theirs):
    return from_pretrained(theirs[-1])


def test_answers_to_padded_questions_about_pictures_of_two_sizes_are_theirs(
    theirs, ours
):
    model, processor, tokenizer, _ = theirs
    network, params, prepared = ours
    pictures = [picture(25, 61), picture(40, 30), picture(25, 61), picture(40, 30)]
    words = tokenizer(QUESTIONS, padding=True, return_tensors="pt")
    inputs = {**words, **processor(pictures, return_tensors="pt")}
    with torch.inference_mode():
        outputs = model(**inputs)
        pooled = model.vilt(**inputs).pooler_output

    @jax.jit
    def evaluate(params, images, questions):
        variables = {"params": params}
        regions = network.apply(variables, images, method="encode_image")
        return (
            network.apply(variables, images, questions),
            network.apply(variables, *regions, questions, method="pool"),
        )

    images = together([prepared.resize(one) for one in pictures[:2]])
    assert images.shape == (2, 16, 16, 4)  # of 8 x 16 and 16 x 12
    ids = prepared.reader.encode(QUESTIONS)
    questions = np.stack([ids[[0, 2]], ids[[1, 3]]])  # [B, G, S]
    logits, first = evaluate(params, images, questions)
    order = [0, 2, 1, 3]
    rows = logits.reshape(4, -1), first.reshape(4, -1)
    np.testing.assert_allclose(rows[0], outputs.logits[order], atol=1e-4)
    np.testing.assert_allclose(rows[1], pooled[order], atol=1e-4)


def test_the_ids_of_a_question_are_theirs(theirs, ours):
    _, _, tokenizer, _ = theirs
    ids = ours[2].reader.encode(QUESTIONS)
    for row, question in zip(ids, QUESTIONS, strict=True):
        expected = tokenizer(question)["input_ids"]
        assert row[row != 0].tolist() == expected


@pytest.fixture(scope="module")
def answerer(theirs):
    return zoo.load(theirs[-1])


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("pictures") / "photo.png"
    picture(25, 61).save(path)
    return path


def test_answers_and_looks_from_python_are_theirs(theirs, answerer, photo):
    model, processor, tokenizer, _ = theirs
    inputs = tokenizer(QUESTIONS[0], return_tensors="pt")
    inputs |= processor(picture(25, 61), return_tensors="pt")
    with torch.inference_mode():
        outputs = model(**inputs, output_attentions=True)
    expected = outputs.logits[0].sigmoid().numpy()
    found = answerer.answer(photo, QUESTIONS[0], top=5)
    assert [one.text for one in found] == [ANSWERS[n] for n in (-expected).argsort()]
    likely = [one.probability for one in found]
    np.testing.assert_allclose(likely, np.sort(expected)[::-1], atol=1e-4)
    looks = answerer.look(photo, QUESTIONS[0])
    assert answerer.grid_of(photo) == (2, 4)
    assert list(looks) == ["layer 1", "layer 2"]
    for weights, theirs_of in zip(looks.values(), outputs.attentions, strict=True):
        patches = theirs_of[0, :, 0, -8:].mean(dim=0).numpy()
        # Theirs come in an order drawn at random.
        np.testing.assert_allclose(
            np.sort(weights), np.sort(patches / patches.sum()), atol=1e-4
        )


def test_a_data_set_is_answered_as_its_pictures_are(answerer, photo):
    pixels = np.asarray(picture(25, 61))
    questions = VisualQuestions(
        images=np.stack([pixels, pixels[:, ::-1]]),
        image_ids=["a", "b"],
        image_of=np.array([0, 0, 1]),
        question_ids=np.arange(3),
        question_types=[""] * 3,
        answer_types=[""] * 3,
        questions=[QUESTIONS[0], QUESTIONS[1], QUESTIONS[1]],
        answers=[("yes",), ("red",), ("red",)],
        top_answers=["yes", "red", "red"],
        groups=["all"] * 3,
    )
    texts, likely = answerer.predict(questions)
    for image, question, text, probability in zip(
        (photo, photo, pixels[:, ::-1]), questions.questions, texts, likely, strict=True
    ):
        best = answerer.answer(image, question)[0]
        assert best.text == text
        np.testing.assert_allclose(best.probability, probability, atol=1e-5)


def test_the_command_answers_and_draws(theirs, photo, tmp_path, capsys):
    drawn = tmp_path / "look.png"
    command = [str(photo), "is the cat red?", "--model", str(theirs[-1]), "--top", "2"]
    answer.main([*command, "--overlay", str(drawn)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[0].split("\t")[1] in ANSWERS
    assert drawn.stat().st_size > 1_000


@pytest.mark.parametrize(
    ("question", "message"),
    [("  ", "has no word"), ("the cat " * 7, "16 word pieces, more than the limit")],
)
def test_a_question_that_cannot_be_read_is_refused(answerer, photo, question, message):
    with pytest.raises(zoo.InputError, match=message):
        answerer.answer(photo, question)


def copied(source, target):
    shutil.copytree(source, target, dirs_exist_ok=True)
    return target


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"id2label": None}, "no id2label"),
        ({"id2label": {"0": "yes", "2": "no"}}, "no list of 2 answers"),
        ({"id2label": {"0": "yes"}}, "2 wrong"),
        ({"hidden_size": "16"}, "no whole number"),
        ({"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ({"layer_norm_eps": 1e-5}, "layer_norm_eps is 1e-05"),
        ({"num_hidden_layers": 10**9}, "num_hidden_layers"),
        ({"num_hidden_layers": 3}, "16 missing"),
        ({"num_hidden_layers": 1}, "16 left over"),
        ({"patch_size": 6}, "whole patches"),
        ({"image_size": 16}, "positions"),
        ({"vocab_size": 15}, "16 pieces, but the model knows 15"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(theirs, tmp_path, changed, message):
    folder = copied(theirs[-1], tmp_path)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    with pytest.raises(zoo.InputError, match=message):
        from_pretrained(folder)


@pytest.mark.parametrize("shape", [(2, 8), (16,), ()])
def test_types_of_words_that_fit_no_positions_are_refused(theirs, tmp_path, shape):
    folder = copied(theirs[-1], tmp_path)
    weights = load_file(folder / "model.safetensors")
    weights[vilt.WORD_TYPES] = np.ones(shape, np.float32)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(zoo.InputError, match="no tables of one width"):
        from_pretrained(folder)


@pytest.mark.parametrize("text", ["{", "{}", '{"model": {"type": "WordPiece"}}'])
def test_a_damaged_tokenizer_is_refused(theirs, tmp_path, text):
    folder = copied(theirs[-1], tmp_path)
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(zoo.InputError, match=r"tokenizer\.json: no tokenizer"):
        from_pretrained(folder)


def test_a_vocabulary_alone_will_do(theirs, ours, tmp_path):
    folder = copied(theirs[-1], tmp_path)
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.txt").write_text("\n".join(PIECES), encoding="utf-8")
    reader = from_pretrained(folder)[2].reader
    np.testing.assert_array_equal(
        reader.encode(QUESTIONS), ours[2].reader.encode(QUESTIONS)
    )
    (folder / "vocab.txt").write_text("cat\n")
    with pytest.raises(zoo.InputError, match=r"no piece \[PAD\]"):
        from_pretrained(folder)


def test_an_image_encoder_answers_no_questions(tmp_path):
    sizes = {name: SIZES[name] for name in list(SIZES)[:-1]}
    model = transformers.ViTModel(transformers.ViTConfig(**sizes))
    processor = transformers.ViTImageProcessorPil(size={"height": 12, "width": 12})
    save(model, tmp_path, processor)
    with pytest.raises(zoo.InputError, match="answers no questions"):
        zoo.load(tmp_path)
