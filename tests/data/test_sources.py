"""Each kind of data: its splits, its limits and its names in errors."""

import dataclasses

import pytest

from zoo.data.sources import (
    FilesData,
    PhrasesData,
    TfdsData,
    TransliterationData,
    TsvData,
    VersesData,
)
from zoo.data.splits import SPLITS
from zoo.errors import InputError

ALL = (PhrasesData, FilesData, TsvData, TfdsData, TransliterationData, VersesData)
VERSES = """book\tko\ten
Ruth\t가 나\tone two three
Ruth\t다\tone two three four
Jonah\t라  마\tfour five
Jonah\t바\t
Amos\t사\tsix
Joel\t아\tseven eight nine ten
Joel\t자\tseven eight nine ten eleven
Joel\t\tseven
"""


@pytest.fixture
def verses(tmp_path):
    path = tmp_path / "verses.tsv"
    path.write_text(VERSES)
    return VersesData(
        path=path,
        source="ko",
        target="en",
        validation=("Amos",),
        test=("Joel",),
        max_words=3,
        max_test_words=4,
    )


def pairs(data, split):
    text = data.read(split, seed=0)
    return list(zip(text.source, text.target, strict=True))


def refusal(call, *arguments, **options):
    with pytest.raises(InputError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_whole_books_are_kept_apart_and_long_verses_left_out(verses):
    assert pairs(verses, "train") == [
        ("가 나", "one two three"),
        ("라  마", "four five"),
    ]
    assert pairs(verses, "validation") == [("사", "six")]
    assert pairs(verses, "test") == [("아", "seven eight nine ten")]


def test_a_verse_that_lacks_a_side_is_left_out_and_told_once(verses, caplog):
    for split in SPLITS:
        verses.read(split, seed=0)
    first, second = [record.getMessage() for record in caplog.records]
    assert "left out for train: 1 rows without ko or en; the first is line 5" in first
    assert "left out for test: 1 rows without ko or en; the first is line 9" in second


def test_a_verse_keeps_its_line_and_has_no_category(verses):
    text = verses.read("test", seed=0)
    assert text.line(0) == 7
    assert text.category is None
    assert verses.where("test")[1] == f"{verses.path}, column en, line"


@pytest.mark.parametrize(
    ("change", "claim"),
    [
        ({"test": ("Joell",)}, "'Joell'; did you mean"),
        ({"validation": ("Amos", "Acts")}, "unknown book of"),
        ({"max_test_words": 3}, "no rows for test of at most 3 words"),
    ],
)
def test_books_that_give_no_text_are_refused(verses, change, claim):
    data = dataclasses.replace(verses, **change)
    assert claim in refusal(data.read, "test", seed=0)


def test_a_book_on_two_sides_and_limits_of_nothing_are_refused():
    message = refusal(VersesData, validation=("Ruth",), test=("Joel", "Ruth"))
    assert "book Ruth is both for validation and for test" in message
    assert "max_words is 0" in refusal(VersesData, max_words=0)


def test_the_splits_of_a_word_list_hold_every_pair_once(tmp_path):
    path = tmp_path / "words.txt"
    lines = [f"{w}{n}\t{n}{form}" for n in range(500) for w in "Wwx" for form in "가나"]
    path.write_text("# words\n" + "\n".join(lines) + "\n")
    data = TransliterationData(path=path)
    splits = {split: data.read(split, seed=0) for split in SPLITS}
    found = [
        f"{word}\t{form}"
        for text in splits.values()
        for word, form in zip(text.source, text.target, strict=True)
    ]
    assert sorted(found) == sorted(lines)
    words = {split: {x.lower() for x in text.source} for split, text in splits.items()}
    assert not words["train"] & words["test"]
    assert not words["train"] & words["validation"]
    assert not words["validation"] & words["test"]
    # 50 and 50 of 1000 words expected, with a standard deviation of 7.
    assert 25 < len(words["validation"]) < 75
    assert 25 < len(words["test"]) < 75
    line = splits["test"].line(0)
    assert path.read_text().split("\n")[line - 1] == found[-len(splits["test"])]


def test_a_list_too_short_for_every_split_is_refused(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Japan\t재팬\n")
    data = TransliterationData(path=path)
    assert pairs(data, "train") == [("Japan", "재팬")]
    message = refusal(data.read, "test", seed=0)
    assert "none of its 1 words falls to test" in message


def test_more_words_move_none_to_another_split(tmp_path):
    path = tmp_path / "words.txt"
    data = TransliterationData(path=path)
    path.write_text("".join(f"w{n}\t가\n" for n in range(300)))
    before = set(data.read("test", seed=0).source)
    path.write_text("".join(f"w{n}\t가\n" for n in range(600)))
    after = set(data.read("test", seed=1).source)
    assert before < after
    assert before == after & {f"w{n}" for n in range(300)}


def test_bleu_counts_what_the_text_is_made_of():
    assert FilesData().bleu_tokenize == "13a"
    assert FilesData(tokens="words").bleu_tokenize == "none"
    assert TransliterationData().bleu_tokenize == "char"


@pytest.mark.parametrize("kind", ALL)
def test_every_kind_has_what_an_experiment_asks_for(kind):
    data = kind()
    assert data.tokens in ("subwords", "words", "characters")
    assert data.max_length > 0
    assert data.lowercase in (True, False)


def test_a_missing_file_is_named_with_the_option_that_gives_it(tmp_path):
    message = refusal(FilesData(folder=tmp_path).where, "validation")
    assert message.startswith(f"{tmp_path / 'val.de'}: no such file, nor val.de.gz")
    assert "--data.folder" in message


def test_errors_name_the_file_and_the_column(tmp_path):
    (tmp_path / "train.de.gz").touch()
    (tmp_path / "train.en").touch()
    assert FilesData(folder=tmp_path).where("train") == (
        f"{tmp_path}/train.de.gz, line",
        f"{tmp_path}/train.en, line",
    )
    assert TsvData().where("test")[0] == "test.tsv, column source, line"
    place = "ted_hrlr_translate/pt_to_en, test, feature en, example"
    assert TfdsData().where("test")[1] == place
    assert PhrasesData().where("train")[1] == "train phrases in ko, number"
