"""The translator as a user holds it, over a model with random weights."""

import copy
import itertools
import re
from collections import Counter
from functools import partial

import jax
import numpy as np
import pytest

import zoo
from tests.decoding.models import Trigrams
from zoo.data.tokenizer import Tokenizer
from zoo.models.contract import initialize
from zoo.translation import search
from zoo.translation.attention_maps import AttentionMaps
from zoo.translation.options import Defaults
from zoo.translation.requests import read_banned
from zoo.translation.translator import Translator

WORDS = [f"word{number} other{number}" for number in range(60)]
LETTERS = "a b c d e f g h"
SENTENCES = ["a b", "c d e f", "b", "a a a a h", "", "g f e d c b a"]


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
    params = jax.jit(partial(initialize, model))(jax.random.key(0))
    params = jax.tree.map(lambda leaf: 3 * leaf, params)
    return Translator(model, params, tokenizer, max_length=40)


@pytest.fixture(scope="module")
def speller():
    """A translator whose tokens are whole words, so that a text has but one cut."""
    return make_speller(0)


def make_speller(seed, words=LETTERS):
    tokenizer = Tokenizer.train([words], 30, tokens="words")
    size = (tokenizer.vocab_size,) * 4
    tables = np.random.default_rng(seed).normal(scale=1.5, size=size)
    tables[..., :2] = tables[..., 3] = -1e9
    tables[..., 2] -= 1.0  # so that sentences are not too short
    return Translator(Trigrams(), tables.astype(np.float32), tokenizer, max_length=20)


def texts(found):
    return [[hypothesis.text for hypothesis in hypotheses] for hypotheses in found]


def test_order_is_kept_whatever_the_lengths(speller):
    sentences = [" ".join(LETTERS.split()[n % 8 :] * (1 + n % 3)) for n in range(20)]
    sentences = [sentence[:35] for sentence in sentences]
    together = speller.translate(sentences, beam_size=1)
    assert len({row[0].text for row in together}) > 4
    for sentence, (best,) in zip(sentences, together, strict=True):
        ((alone,),) = speller.translate([sentence], beam_size=1)
        assert alone.text == best.text
        assert alone.score == pytest.approx(best.score, abs=1e-4)


def test_shapes_are_bucketed_so_that_compilations_are_few(speller):
    search.compiled.cache_clear()
    for count in (1, 2, 8, 20):
        for length in (1, 3, 14, 18):
            speller.translate([" ".join("a" * length)] * count, beam_size=1)
    assert search.compiled.cache_info().currsize == 1, "the length limit is 20"
    size, plan = speller.tokenizer.vocab_size, search.Plan(1, 1.0)
    compiled = search.compiled(speller.model, size, plan, 20, None)._cache_size()
    # Sources are padded to 16 and 20, and their number to 1, 8 and 64.
    assert compiled == 2 * len(search.ROWS)


def test_n_best_come_sorted_with_scores(speller):
    (hypotheses,) = speller.translate(["c"], beam_size=4, num_best=3)
    assert len({hypothesis.text for hypothesis in hypotheses}) == 3
    scores = [hypothesis.score for hypothesis in hypotheses]
    assert scores == sorted(scores, reverse=True)


def test_an_empty_sentence_has_the_empty_translation(speller):
    empty, full = speller.translate(["", "a"])
    assert [hypothesis.text for hypothesis in empty] == [""]
    assert len(full) == 1
    assert speller.translate([]) == []


def test_max_length_bounds_the_translation(speller):
    whole = texts(speller.translate(SENTENCES, beam_size=1))
    cut = texts(speller.translate(SENTENCES, beam_size=1, max_length=3))
    assert cut == [[" ".join(text.split()[:3])] for (text,) in whole]
    assert cut != whole


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beam_size": 0}, "beam_size is 0"),
        ({"beam_size": 65}, "beam_size is 65"),
        ({"beam_size": 2, "num_best": 3}, "num_best is 3"),
        ({"max_length": 41}, "max_length is 41"),
        ({"max_length": 0}, "max_length is 0"),
        ({"length_penalty": -1.0}, "length_penalty is -1"),
        ({"length_penalty": float("nan")}, "length_penalty is nan"),
        ({"num_best": 65, "sampling": zoo.Sampling()}, "num_best is 65"),
        ({"constraints": zoo.Constraints(min_length=41)}, "min_length is 41"),
        ({"constraints": zoo.Constraints(banned=(" ",))}, "banned: ' ' is no word"),
        ({"required": [[""]]}, "required: '' is no word"),
        ({"required": [["word1"]], "sampling": zoo.Sampling()}, "need a search"),
        ({"prefixes": [" ".join(WORDS)]}, r"sentence 1: prefix .* max_length is 40"),
        ({"required": [WORDS]}, r"sentence 1: .* required words take"),
        (
            {
                "required": [["other1 word2"]],
                "constraints": zoo.Constraints(banned=("word2",)),
            },
            "'other1 word2' is required, but holds a banned word",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(translator, options, message):
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
    assert [word for _, word in translator.align("word1 a", "word2 b")] == [0, 1]
    with pytest.raises(zoo.InputError, match="not empty"):
        translator.attention("", "word1")


def test_attention_is_of_the_tokens_that_were_written(translator):
    tokenizer = translator.tokenizer
    found = translator.translate([WORDS[1]], num_best=4)[0]
    assert tokenizer.decode([x.tokens for x in found]) == [x.text for x in found]
    ids = [tokenizer.piece_table().index(letter) for letter in "▁word"]
    assert tokenizer.decode([ids]) == ["word"]
    assert tokenizer.encode(["word"]) != [ids]
    cut = translator.attention(WORDS[1], ids)
    ended = translator.attention(WORDS[1], [*ids, tokenizer.eos_id])
    assert cut.target_pieces == ["_", *"word"]
    assert ended.target_pieces == ["_", *"word", "</s>"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(zoo.InputError, match=r"no config\.json"):
        zoo.load(tmp_path)


def test_a_translation_scores_as_a_given_pair(speller):
    found = speller.translate(SENTENCES, num_best=4, length_penalty=0.7)
    found = [(x, y) for x, ys in zip(SENTENCES, found, strict=True) for y in ys if x]
    # Those that were cut have no end of sentence, which a pair would count.
    ended = [(x, y) for x, y in found if len(y.text.split(" ")) < 19]
    assert len(ended) > 8
    scores = speller.score(
        [x for x, _ in ended], [y.text for _, y in ended], length_penalty=0.7
    )
    np.testing.assert_allclose(scores, [y.score for _, y in ended], atol=1e-4)


def test_scores_are_alone_as_together_whatever_the_lengths(speller):
    targets = ["a", "b c d e f g h a b c d e f g h a b c", "", "h", "a b", "c"]
    together = speller.score(SENTENCES, targets)
    for source, target, score in zip(SENTENCES, targets, together, strict=True):
        assert speller.score([source], [target])[0] == pytest.approx(score, abs=1e-4)
    assert speller.score([], []) == []
    with pytest.raises(zoo.InputError, match="target 2 has 21 tokens"):
        speller.score(["a", "a"], ["a", " ".join(["b"] * 20)])
    with pytest.raises(ValueError, match="2 sources need as many targets"):
        speller.score(["a", "a"], ["a"])


def test_each_translation_begins_with_its_own_prefix(speller):
    prefixes = ["h g", "", " a ", "b b b", "c", ""]
    found = speller.translate(SENTENCES, prefixes=prefixes)
    for sentence, prefix, (best,) in zip(SENTENCES, prefixes, found, strict=True):
        words = prefix.split() if sentence else []
        assert best.text.split(" ")[: len(words)] == words
    plain = speller.translate(SENTENCES)
    assert [found[place] == plain[place] for place in range(6)] == [0, 1, 0, 0, 1, 1]


@pytest.mark.parametrize("beam_size", [1, 4])
def test_words_that_must_appear_do(speller, beam_size):
    required = [["h g", "c"], ["a"], ["b", "d d d", "e", "f"], ["g"], [], ["h"]]
    found = speller.translate(SENTENCES, beam_size=beam_size, required=required)
    for sentence, words, (best, *_) in zip(SENTENCES, required, found, strict=True):
        assert all(f" {word} " in f" {best.text} " for word in words if sentence)


def test_what_cannot_be_written_cannot_be_asked_for(speller):
    with pytest.raises(zoo.InputError, match="prefix: 'a z' has what is not in"):
        speller.translate(["a"], prefixes=["a z"])
    with pytest.raises(zoo.InputError, match="required: 'z' has what is not in"):
        speller.translate(["a"], required=[["z"]])
    assert read_banned(speller.tokenizer, ("z",), []) is None, "it never appears"
    with pytest.raises(ValueError, match="2 sentences need as many prefixes"):
        speller.translate(["a", "b"], prefixes=["a"])


def test_banned_words_do_not_appear_however_they_are_cut():
    tokenizer = Tokenizer.train(WORDS, 330)
    size = (tokenizer.vocab_size,) * 2
    tables = np.random.default_rng(0).normal(size=(1, 1, *size))
    tables[..., tokenizer.encode(["word1 other2"])[0]] += 6.0
    tables[..., [tokenizer.encode([x])[0][-1] for x in "wordthe"]] += 5.0
    tables[..., 2:4] -= 20.0
    tables[..., :2] += 40.0  # padding and start, which are no text however likely
    scribbler = Translator(Trigrams(), tables, tokenizer, max_length=16)

    def draw(*banned):
        constraints, sampling = zoo.Constraints(banned=banned), zoo.Sampling()
        found = scribbler.translate(
            ["word1"] * 8, num_best=6, constraints=constraints, sampling=sampling
        )
        # U+FFFD is a letter that is not complete.
        return [re.findall("[\\w\ufffd]+", " ".join(row)) for row in texts(found)]

    plain = Counter(word for words in draw() for word in words if "\ufffd" not in word)
    banned = [word for word, _ in plain.most_common(6)]
    assert {"word", "other"} & set(banned)
    left = [word for words in draw(*banned) for word in words]
    assert len(left) > 50
    assert not set(banned) & set(left)


def test_a_length_and_runs_are_kept_to_and_so_are_the_models_own(speller):
    constraints = zoo.Constraints(min_length=12, no_repeated_ngram=2)
    found = texts(speller.translate(SENTENCES[:4], constraints=constraints))
    own = copy.copy(speller)
    own.defaults = Defaults(min_length=12, no_repeated_ngram=2)
    assert texts(own.translate(SENTENCES[:4])) == found
    own.defaults = Defaults(min_length=12, no_repeated_ngram=3)
    fewer = zoo.Constraints(min_length=3, no_repeated_ngram=2)
    assert texts(own.translate(SENTENCES[:4], constraints=fewer)) == found
    for (text,) in found:
        words = text.split(" ")
        assert len(words) >= 11
        runs = list(itertools.pairwise(words))
        assert len(runs) == len(set(runs))


def test_the_prefix_counts_towards_the_shortest_length(speller):
    hasty = copy.copy(speller)
    hasty.params = speller.params.copy()
    hasty.params[..., hasty.tokenizer.eos_id] += 99.0
    options = {"beam_size": 1, "constraints": zoo.Constraints(min_length=6)}
    for prefix in ("", "a b"):
        ((text,),) = texts(hasty.translate(["a"], prefixes=[prefix], **options))
        assert text.startswith(prefix)
        assert len(text.split(" ")) == 5  # and the end


def test_samples_depend_on_the_seed_and_the_number_alone(speller):
    def draw(sentences, seed=0):
        return texts(
            speller.translate(
                sentences,
                num_best=3,
                sampling=zoo.Sampling(temperature=1.5, top_k=6, top_p=0.9, seed=seed),
            )
        )

    together = draw(["a b c", "h", "h", "b c"])
    assert draw(["g", "h", "c"])[1] == together[1]
    assert draw(["g " * 18, "b", "h"])[2] == together[2]
    assert together[1] != together[2]
    assert draw(["a b c", "h"], seed=1)[1] != together[1]


def test_another_wish_of_the_same_shape_needs_no_other_compilation(speller):
    def size(**options):
        speller.translate(["a b"], beam_size=2, max_length=9, **options)
        return sum(
            search.compiled(speller.model, 12, plan, 9, None)._cache_size()
            for plan in (search.Plan(2, 1.0), search.Plan(1, 1.0, top_k=3))
        )

    first = size(
        prefixes=["a"], required=[["b"]], constraints=zoo.Constraints(banned=("c",))
    )
    second = size(
        prefixes=["c"],
        required=[["a b", "f"]],
        constraints=zoo.Constraints(banned=("d", "e")),
    )
    drawn = [
        size(sampling=zoo.Sampling(temperature=x, top_k=3, top_p=x / 2, seed=seed))
        for seed, x in enumerate((0.5, 1.5))
    ]
    assert second == first
    assert drawn[1] == drawn[0] == first + 1


def test_an_ensemble_of_one_is_the_model_and_two_are_another(
    speller, tmp_path, monkeypatch
):
    members = {"a": speller, "b": make_speller(1)}
    other = Tokenizer.train([LETTERS + " x"], 30, tokens="words")
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        saved = other if name == "c" else speller.tokenizer
        saved.save(tmp_path / name / "tokenizer.model")
    members["c"] = speller

    def load(_, workdir, *, average):
        assert average == 2
        return members[workdir.name]

    monkeypatch.setattr(Translator, "from_run", classmethod(load))
    assert zoo.load(tmp_path / "a", average=2) is speller
    assert zoo.load([tmp_path / "a"], average=2) is speller
    twice = zoo.load([tmp_path / "a", tmp_path / "a"], average=2)
    both = zoo.load([tmp_path / "a", tmp_path / "b"], average=2)
    pairs = ["a b", "c d"], ["c", "a h"]
    alone = speller.score(*pairs)
    np.testing.assert_allclose(twice.score(*pairs), alone, atol=1e-4)
    assert np.abs(np.subtract(both.score(*pairs), alone)).min() > 1e-3
    assert texts(twice.translate(["a b"])) == texts(speller.translate(["a b"]))
    for ask in (twice.attention, twice.align):
        with pytest.raises(zoo.InputError, match="of one model, but here are 2"):
            ask("a", "b")
    with pytest.raises(zoo.InputError, match="different tokenizers"):
        zoo.load([tmp_path / "a", tmp_path / "c"], average=2)
    monkeypatch.setattr(speller, "defaults", Defaults(beam_size=2))
    with pytest.raises(zoo.InputError, match="are not searched alike"):
        zoo.load([tmp_path / "a", tmp_path / "b"], average=2)
    twice = zoo.load([tmp_path / "a", tmp_path / "a"], average=2)
    assert twice.defaults == speller.defaults


def test_words_are_linked_to_where_the_last_layer_looks(speller, monkeypatch):
    # Read "a b" and the end; written "c" and the end; two heads in each layer.
    maps = {
        "decoder_10/cross_attention": [
            [[0.1, 0.2, 0.7], [0, 1, 0]],
            [[0.5, 0.3, 0.2], [0, 1, 0]],
        ],
        "decoder_2/cross_attention": [
            [[0.5, 0.3, 0.2], [1, 0, 0]],
            [[0.1, 0.7, 0.2], [1, 0, 0]],
        ],
        "decoder_10/self_attention": [[[1.0, 0.0], [1, 0]]],
    }
    maps = {path: np.array(heads, np.float32) for path, heads in maps.items()}
    looked = AttentionMaps(maps, ["a", "b", "</s>"], ["c", "</s>"])
    monkeypatch.setattr(speller, "attention", lambda source, target: looked)
    assert speller.align("a b", "c") == speller.align("a b", "c", layer=2) == [(0, 0)]
    assert speller.align("a b", "c", layer=1) == [(1, 0)]
    # What is longer than the model can write was cut.
    assert speller.align("a b", "c d e") == [(0, 0), (1, 1)]
    assert speller.align("", "c") == speller.align("a b", "") == []
    for layer in (0, 3):
        with pytest.raises(zoo.InputError, match=f"layer is {layer}"):
            speller.align("a b", "c", layer=layer)


def test_a_model_without_attention_aligns_nothing(speller, monkeypatch):
    looked = AttentionMaps({}, ["a", "</s>"], ["b", "</s>"])
    monkeypatch.setattr(speller, "attention", lambda source, target: looked)
    with pytest.raises(zoo.InputError, match="Trigrams has no attention to align"):
        speller.align("a", "b")
