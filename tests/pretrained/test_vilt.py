"""ViLT against Hugging Face's torch model, tiny and random, and its surroundings."""

import jax
import numpy as np
import pytest

from tests.pretrained.torch_models import (
    picture,
    randomised,
    save,
    torch,
    transformers,
)
from zoo.data.vqa.resizing import together
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
    def answer(params, images, questions):
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
    logits, first = answer(params, images, questions)
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
