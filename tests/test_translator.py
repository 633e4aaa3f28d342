"""The translator as a user holds it, over a model with random weights."""

import jax
import numpy as np
import pytest

import zoo
from zoo import translator as subject
from zoo.data.tokenizer import Tokenizer
from zoo.models.contract import initialize
from zoo.translator import Translator

WORDS = [f"word{number} other{number}" for number in range(60)]


@pytest.fixture(scope="module")
def translator():
    tokenizer = Tokenizer.train(WORDS, 330)
    model = zoo.create_model(
        "transformer-tiny",
        vocab_size=tokenizer.vocab_size,
        model_dim=16,
        mlp_dim=16,
        num_heads=2,
        num_layers=1,
    )
    params = jax.tree.map(lambda leaf: 3 * leaf, initialize(model, jax.random.key(0)))
    return Translator(model, params, tokenizer, max_length=40)


def test_order_is_kept_whatever_the_lengths(translator):
    sentences = [" ".join(WORDS[n : n + 1 + n % 4]) for n in range(20)]
    together = translator.translate(sentences, beam_size=1)
    for sentence, hypotheses in zip(sentences, together, strict=True):
        (alone,) = translator.translate([sentence], beam_size=1)
        assert alone[0].text == hypotheses[0].text
        assert alone[0].score == pytest.approx(hypotheses[0].score, abs=1e-4)


def test_shapes_are_bucketed_so_that_compilations_are_few(translator):
    subject._search.cache_clear()
    for count in (1, 2, 8, 20):
        for length in (1, 3, 4, 7):
            translator.translate([" ".join(WORDS[:length])] * count, beam_size=1)
    searches = subject._search.cache_info().currsize
    shapes = 3 * len(subject.ROWS)  # sources are padded to 16, 32 or 40
    assert searches <= 3, "one search for each length limit"
    compiled = sum(
        subject._search(translator.model, limit, 1, 1.0)._cache_size()
        for limit in (32, 40)
    )
    assert 2 <= compiled <= shapes


def test_n_best_come_sorted_with_scores(translator):
    ((*hypotheses,),) = translator.translate([WORDS[0]], beam_size=4, num_best=3)
    assert len(hypotheses) == 3
    assert len({hypothesis.text for hypothesis in hypotheses}) > 1


def test_an_empty_sentence_has_the_empty_translation(translator):
    empty, full = translator.translate(["", WORDS[3]])
    assert [hypothesis.text for hypothesis in empty] == [""]
    assert len(full) == 1
    assert translator.translate([]) == []


def test_max_length_bounds_the_translation(translator):
    ((cut,),) = translator.translate([WORDS[0]], beam_size=1, max_length=3)
    ((whole,),) = translator.translate([WORDS[0]], beam_size=1)
    # A character that is cut in the middle of its bytes reads U+FFFD.
    assert whole.text.startswith(cut.text.rstrip("\ufffd"))
    assert len(cut.text) < len(whole.text)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"beam_size": 65}, "beam_size is 65"),
        ({"beam_size": 2, "num_best": 3}, "num_best is 3"),
        ({"max_length": 41}, "max_length is 41"),
    ],
)
def test_a_number_out_of_range_is_refused(translator, options, message):
    with pytest.raises(zoo.InputError, match=message):
        translator.translate([WORDS[0]], **options)


def test_a_sentence_that_is_too_long_is_named(translator):
    with pytest.raises(zoo.InputError, match=r"sentence 2 has .* more than the 40"):
        translator.translate([WORDS[0], " ".join(WORDS)])


def test_attention_has_a_row_for_each_written_and_a_column_for_each_read_piece(
    translator,
):
    looked = translator.attention("word1 other2", "other2 word1 word3")
    rows, columns = len(looked.target_pieces), len(looked.source_pieces)
    assert looked.source_pieces[-1] == looked.target_pieces[-1] == "</s>"
    (between,) = looked.between().values()
    assert between.shape == (2, rows, columns)
    np.testing.assert_allclose(between.sum(axis=-1), 1.0, atol=1e-5)
    assert looked.weights["decoder_0/self_attention"].shape == (2, rows, rows)
    assert looked.weights["encoder_0/self_attention"].shape == (2, columns, columns)
    with pytest.raises(zoo.InputError, match="not empty"):
        translator.attention("", "word1")


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(zoo.InputError, match=r"no config\.json"):
        zoo.load(tmp_path)
