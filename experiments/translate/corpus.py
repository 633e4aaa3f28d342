"""The text of an experiment, from whichever of its sources, as words and as tokens."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.translate.config import Config, FilesData, PhrasesData, TsvData
from zoo.data.batching import check_lengths, lengths_with_end
from zoo.data.text import ParallelText, read_pair_of_files, read_tsv, sha256
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError

Split = Literal["train", "validation", "test"]
Ids = list[list[int]]


@dataclass(frozen=True)
class Corpora:
    """The texts of a run, its tokenizer, and what training needs as tokens.

    Attributes:
        train_ids: of both sides, without start and end.
        validation_ids: of both sides, without start and end.
    """

    train: ParallelText
    validation: ParallelText
    test: ParallelText
    tokenizer: Tokenizer
    train_ids: tuple[Ids, Ids]
    validation_ids: tuple[Ids, Ids]

    def sha256(self) -> dict[str, str]:
        """Returns the fingerprint of every text."""
        texts = {"train": self.train, "validation": self.validation, "test": self.test}
        return {split: sha256(text) for split, text in texts.items()}


def prepare(config: Config) -> Corpora:
    """Reads the texts; trains the tokenizer on the first, or finds it in the folder.

    Writes nothing, so that a fault in the text leaves no run behind.

    Raises:
        InputError: a locale is unknown, a file is missing or damaged, or a sentence of
            any text is too long.
    """
    splits: tuple[Split, ...] = ("train", "validation", "test")
    texts = {split: load(config.data, split, config.seed) for split in splits}
    path = config.workdir / "tokenizer.model"
    if path.exists():
        tokenizer = Tokenizer.load(path)
    else:
        text = texts["train"]
        tokenizer = Tokenizer.train(
            [*text.source, *text.target],
            config.model.vocab_size,
            lowercase=config.data.lowercase,
        )
    ids = {
        split: _encode(config.data, split, texts[split], tokenizer) for split in splits
    }
    return Corpora(
        **texts,
        tokenizer=tokenizer,
        train_ids=ids["train"],
        validation_ids=ids["validation"],
    )


def load(
    data: PhrasesData | FilesData | TsvData, split: Split, seed: int
) -> ParallelText:
    """Returns the pairs of one split.

    Raises:
        InputError: a locale is unknown, or a file is missing or damaged.
    """
    if isinstance(data, PhrasesData):
        from zoo.data.phrases import phrases

        count = {
            "train": data.num_train,
            "validation": data.num_validation,
            "test": data.num_test,
        }[split]
        return phrases(data.source_locale, data.target_locale, split, count, seed)
    if isinstance(data, TsvData):
        return read_tsv(getattr(data, split), data.source, data.target)
    return read_pair_of_files(*files(data, split))


def files(data: FilesData, split: Split) -> tuple[Path, Path]:
    """Returns the source and the target file of a split."""
    name = getattr(data, split)
    return _file(data, f"{name}.{data.source}"), _file(data, f"{name}.{data.target}")


def where(data: PhrasesData | FilesData | TsvData, split: Split) -> tuple[str, str]:
    """Returns what to call the source and the target side in an error."""
    if isinstance(data, FilesData):
        source, target = files(data, split)
        return str(source), str(target)
    if isinstance(data, TsvData):
        path = getattr(data, split)
        return f"{path}, column {data.source}", f"{path}, column {data.target}"
    return f"phrases in {data.source_locale}", f"phrases in {data.target_locale}"


def _file(data: FilesData, name: str) -> Path:
    for path in (data.folder / name, data.folder / f"{name}.gz"):
        if path.exists():
            return path
    raise InputError(
        f"{data.folder / name}: no such file, nor {name}.gz; give --data.folder, and "
        "--data.source, --data.target and the names of the splits if they differ"
    )


def _encode(
    data: PhrasesData | FilesData | TsvData,
    split: Split,
    text: ParallelText,
    tokenizer: Tokenizer,
) -> tuple[Ids, Ids]:
    """Returns the tokens of both sides; refuses a sentence that is too long."""
    source, target = tokenizer.encode(text.source), tokenizer.encode(text.target)
    first_line = 2 if isinstance(data, TsvData) else 1
    for ids, name in zip((source, target), where(data, split), strict=True):
        remedy = "remove or split it, or raise --data.max-length"
        lengths = lengths_with_end(ids)
        check_lengths(lengths, data.max_length, name, remedy, first_line)
    return source, target
