"""Where the text of an experiment comes from: one frozen description for each kind.

Each goes to JSON and back, and knows how its text is read, cut and scored, and what to
call a sentence in an error. Readers of generated and foreign data are imported when
they are used, so that a command can list its options at once.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from zoo.data.splits import Split, split_of
from zoo.data.tables import read_grouped_tsv, read_tsv, read_word_list
from zoo.data.text import ParallelText, read_pair_of_files, select
from zoo.data.token_table import Tokens
from zoo.errors import InputError, require_positive, unknown

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What every kind of data has, and what an experiment asks of it.

    Attributes:
        tokens: "words" are what stands between spaces, for text that is cut already,
            say by another byte-pair encoding; then BLEU cuts it no further.
        lowercase: fold case in the tokenizer, and ignore it in scores.
        max_length: longest sentence in tokens, end of sentence included.
    """

    tokens: Tokens = "subwords"
    lowercase: bool = False
    max_length: int = 128

    @property
    def bleu_tokenize(self) -> str:
        """The units that BLEU counts, by sacreBLEU's name for them."""
        return {"subwords": "13a", "words": "none", "characters": "char"}[self.tokens]

    def read(self, split: Split, seed: int) -> ParallelText:
        """Returns the pairs of one split.

        Args:
            seed: of text that is made on the spot.

        Raises:
            InputError: a file is missing or damaged, or a name is unknown.
        """
        raise NotImplementedError

    def where(self, split: Split) -> tuple[str, str]:
        """Returns what an error calls the two sides, before the number of a line."""
        raise NotImplementedError


@dataclass(frozen=True)
class PhrasesData(Source):
    """Phrases of Unicode CLDR in two locales, made on the spot.

    Examples:
        >>> PhrasesData(num_test=1).read("test", seed=0).target
        ['1954년 11월 11일 목요일']

    Attributes:
        source_locale: a locale of Babel, such as en, de, pt_BR.
        target_locale: another one.
    """

    source_locale: str = "en"
    target_locale: str = "ko"
    num_train: int = 60_000
    num_validation: int = 1_000
    num_test: int = 2_000
    max_length: int = 96

    def read(self, split: Split, seed: int) -> ParallelText:
        from zoo.data.phrases import phrases

        count = getattr(self, f"num_{split}")
        return phrases(self.source_locale, self.target_locale, split, count, seed)

    def where(self, split: Split) -> tuple[str, str]:
        return (
            f"{split} phrases in {self.source_locale}, number",
            f"{split} phrases in {self.target_locale}, number",
        )


@dataclass(frozen=True)
class FilesData(Source):
    """Aligned text files FOLDER/SPLIT.LANGUAGE, or the same with .gz.

    Examples:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for language, text in {"de": "eins", "en": "one"}.items():
        ...         _ = Path(folder, f"test.{language}").write_text(text)
        ...     FilesData(folder=Path(folder)).read("test", seed=0).source[0]
        'eins'

    Attributes:
        source: the ending of the source files, such as de.
        target: the ending of the target files, such as en.
    """

    folder: Path = Path()
    source: str = "de"
    target: str = "en"
    train: str = "train"
    validation: str = "val"
    test: str = "test"

    def read(self, split: Split, seed: int) -> ParallelText:
        return read_pair_of_files(*self._paths(split))

    def where(self, split: Split) -> tuple[str, str]:
        source, target = self._paths(split)
        return f"{source}, line", f"{target}, line"

    def _paths(self, split: Split) -> tuple[Path, Path]:
        name = getattr(self, split)
        return self._find(f"{name}.{self.source}"), self._find(f"{name}.{self.target}")

    def _find(self, name: str) -> Path:
        for path in (self.folder / name, self.folder / f"{name}.gz"):
            if path.exists():
                return path
        raise InputError(
            f"{self.folder / name}: no such file, nor {name}.gz; give --data.folder, "
            "and --data.source, --data.target and the names of the splits if they "
            "differ"
        )


@dataclass(frozen=True)
class TsvData(Source):
    """Tables with a header line, or the same with .gz.

    Examples:
        >>> TsvData(test=Path("pairs.tsv"), source="de").where("test")[0]
        'pairs.tsv, column de, line'

    Attributes:
        source: the source's column.
        target: the target's column.
    """

    train: Path = Path("train.tsv")
    validation: Path = Path("validation.tsv")
    test: Path = Path("test.tsv")
    source: str = "source"
    target: str = "target"

    def read(self, split: Split, seed: int) -> ParallelText:
        return read_tsv(getattr(self, split), self.source, self.target)

    def where(self, split: Split) -> tuple[str, str]:
        return _columns(getattr(self, split), self)


@dataclass(frozen=True)
class TfdsData(Source):
    """A translation set of TensorFlow Datasets, prepared as array_record files.

    Examples:
        >>> TfdsData(name="ted_hrlr_translate/ru_to_en", source="ru").where("test")[0]
        'ted_hrlr_translate/ru_to_en, test, feature ru, example'

    Attributes:
        name: the data set and its config.
        data_dir: the folder in which TFDS keeps its data sets.
        source: the source's feature; for translations, a language.
        target: the target's feature.
    """

    name: str = "ted_hrlr_translate/pt_to_en"
    data_dir: Path = Path("~/tensorflow_datasets")
    source: str = "pt"
    target: str = "en"
    train: str = "train"
    validation: str = "validation"
    test: str = "test"
    max_length: int = 256

    def read(self, split: Split, seed: int) -> ParallelText:
        from zoo.data.tfds import read_tfds

        name = getattr(self, split)
        return read_tfds(self.name, self.data_dir, name, self.source, self.target)

    def where(self, split: Split) -> tuple[str, str]:
        place = f"{self.name}, {getattr(self, split)}"
        return (
            f"{place}, feature {self.source}, example",
            f"{place}, feature {self.target}, example",
        )


@dataclass(frozen=True)
class TransliterationData(Source):
    """Foreign words and their Hangul, split by a hash of the word in lower case.

    All forms of a word are in one split, whatever its capitals. Compounds are not kept
    from their parts: "gas lamp" may be tested on and "gas" trained on.

    Examples:
        >>> TransliterationData(path=Path("words.txt")).bleu_tokenize
        'char'

    Attributes:
        path: lines of a word, a tab and its Hangul, and comments with #.
    """

    path: Path = Path("korean-go.txt")
    tokens: Tokens = "characters"
    lowercase: bool = True
    max_length: int = 64

    def read(self, split: Split, seed: int) -> ParallelText:
        text = read_word_list(self.path)
        part = select(text, [split_of(word.lower()) == split for word in text.source])
        if not len(part):
            raise InputError(
                f"{self.path}: none of its {len(text)} words falls to {split}, which "
                "gets some percent of them; give a longer list"
            )
        return part

    def where(self, split: Split) -> tuple[str, str]:
        return f"{self.path}, word of line", f"{self.path}, Hangul of line"


@dataclass(frozen=True)
class VersesData(Source):
    """One table of verses with a header line, split by whole books.

    By book, because neighbouring verses repeat each other; and these books, because
    they are of many kinds and share hardly a verse with the others, as Kings does with
    Chronicles and Matthew with Mark. A row that lacks one side is left out.

    Examples:
        >>> VersesData(test=("John",), validation=("John",))
        Traceback (most recent call last):
            ...
        zoo.errors.InputError: book John is both for validation and for test; choose one

    Attributes:
        source: the source's column.
        target: the target's column.
        group: the column that names the book.
        validation: books to validate on.
        test: books to test on; all others are trained on.
        max_words: longest target to train and validate on, in words between spaces.
        max_test_words: longest target to test on.
    """

    path: Path = Path("verses.tsv")
    source: str = "ko_krv1961"
    target: str = "en_web"
    group: str = "book"
    validation: tuple[str, ...] = ("Judges", "Lamentations", "Amos", "1Corinthians")
    test: tuple[str, ...] = ("Joshua", "Ecclesiastes", "Daniel", "John", "Hebrews")
    max_words: int = 25
    max_test_words: int = 50

    def __post_init__(self):
        require_positive(self, "max_words", "max_test_words")
        for book in set(self.validation) & set(self.test):
            raise InputError(
                f"{self.group} {book} is both for validation and for test; choose one"
            )

    def read(self, split: Split, seed: int) -> ParallelText:
        text = read_grouped_tsv(self.path, self.source, self.target, self.group)
        books = set(text.category or ())
        for book in (*self.validation, *self.test):
            if book not in books:
                raise unknown(f"{self.group} of {self.path}", book, books)
        parts = {"validation": {*self.validation}, "test": {*self.test}}
        parts["train"] = books - parts["validation"] - parts["test"]
        text = select(text, [book in parts[split] for book in text.category or ()])
        text = self._without_gaps(replace(text, category=None), split)
        most = self.max_test_words if split == "test" else self.max_words
        text = select(text, [len(target.split()) <= most for target in text.target])
        if not len(text):
            raise InputError(
                f"{self.path}: no rows for {split} of at most {most} words; choose "
                f"another {self.group} or a larger limit"
            )
        return text

    def _without_gaps(self, text: ParallelText, split: Split) -> ParallelText:
        """Returns the rows that have both sides, and tells how many have not."""
        whole = [
            bool(source.strip() and target.strip())
            for source, target in zip(text.source, text.target, strict=True)
        ]
        if gaps := whole.count(False):
            _log.warning(
                "%s: left out for %s: %d rows without %s or %s; the first is line %d",
                *(self.path, split, gaps, self.source, self.target),
                text.line(whole.index(False)),
            )
        return select(text, whole)

    def where(self, split: Split) -> tuple[str, str]:
        return _columns(self.path, self)


Data = PhrasesData | FilesData | TsvData | TfdsData | TransliterationData | VersesData


def _columns(path: Path, data: TsvData | VersesData) -> tuple[str, str]:
    return (
        f"{path}, column {data.source}, line",
        f"{path}, column {data.target}, line",
    )
