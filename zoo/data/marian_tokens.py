"""The tokens of Marian's models as Hugging Face keeps them: two sentencepiece models.

One cuts what is read and one what is written; a common table, vocab.json, numbers the
pieces of both, unless target_vocab.json numbers those that are written. Models of
several target languages are told which one by a token like ``>>fra<<`` before the text.
"""

import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from zoo.data.text_tokens import Ids
from zoo.data.tokenizer import label
from zoo.errors import InputError, read_limited, unknown
from zoo.files import write_whole

FILES = ("source.spm", "target.spm", "vocab.json")
TARGET_TABLE = "target_vocab.json"
_SPECIAL = ("<pad>", "</s>", "<unk>")
MAX_BYTES = 2**27  # of an archive, and of what it unpacks to
_LANGUAGE = re.compile(r">>[^<>]*<<")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class MarianTokenizer:
    """Sentences to read or written to lists of ids, and ids that are written to text.

    >>> from zoo.data.tokenizer import Tokenizer
    >>> own = Tokenizer.train(["a red house", "ein rotes Haus"], 300)
    >>> vocab = {piece: number for number, piece in enumerate(own.piece_table())}
    >>> contents = [own.sentencepiece()] * 2 + [json.dumps(vocab).encode()]
    >>> tokenizer = MarianTokenizer(dict(zip(FILES, contents)))
    >>> tokenizer.decode(tokenizer.encode(["a red house"]))
    ['a red house']

    Args:
        files: the content of the three FILES, and of TARGET_TABLE if there is one.
        vocab_size: rows of the table of what is written; None for as many as are
            numbered.
        where: what an error calls the files.

    Raises:
        InputError: a file is damaged, or lacks what it must have.
    """

    def __init__(
        self,
        files: Mapping[str, bytes],
        vocab_size: int | None = None,
        where: str = "tokenizer",
    ):
        self.files = dict(files)
        self._source, self._target = (
            read_subwords(files[name], f"{where}/{name}") for name in FILES[:2]
        )
        name = TARGET_TABLE if TARGET_TABLE in files else FILES[2]
        self._number = _numbers(files[name], f"{where}/{name}")
        self._vocab_size = max(self._number.values()) + 1
        if vocab_size is not None:
            if vocab_size < self._vocab_size:
                raise InputError(
                    f"{where}/{name}: numbers up to {self._vocab_size - 1}, but "
                    f"the model has {vocab_size} tokens; download the directory again"
                )
            self._vocab_size = vocab_size
        self.pad_id, self.eos_id, self.unknown_id = (
            self._number[token] for token in _SPECIAL
        )
        self._piece = {number: piece for piece, number in self._number.items()}
        self._languages = sorted(filter(_LANGUAGE.fullmatch, self._number))
        self.source_tokens = self
        if TARGET_TABLE in files:
            self.source_tokens = self._of_source(where)

    def _of_source(self, where: str) -> "MarianTokenizer":
        """Returns the tokens of what is read, where they have a table of their own."""
        files = {FILES[0]: self.files[FILES[0]], FILES[1]: self.files[FILES[0]]}
        source = MarianTokenizer({**files, FILES[2]: self.files[FILES[2]]}, None, where)
        for token in _SPECIAL:
            if source._number[token] != self._number[token]:
                raise InputError(
                    f"{where}: {token} has another number in {TARGET_TABLE} than in "
                    f"{FILES[2]}, which no model of ours can read; use another "
                    "directory"
                )
        return source

    @property
    def vocab_size(self) -> int:
        """The number of ids: the rows that an embedding of them needs."""
        return self._vocab_size

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences to read, without an end.

        Where the model knows several languages, a sentence may begin with ``>>code<<``.

        Raises:
            InputError: the model does not know the language, or a sentence is no
                Unicode text.
        """
        source = self.source_tokens
        return [source._encode_source(sentence) for sentence in unicode(sentences)]

    def encode_targets(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of sentences that are written, without start and end.

        Raises:
            InputError: a sentence is no Unicode text.
        """
        return [self._encode(self._target, sentence) for sentence in unicode(sentences)]

    def encode_words(self, words: Sequence[str]) -> list[list[int]]:
        """Returns the ids of words as they stand behind a space, so also as text."""
        return self.encode_targets(words)

    def decode(self, ids: Sequence[Ids] | np.ndarray) -> list[str]:
        """Returns the text before the first end of each row, without special tokens."""
        return [self._decode(np.asarray(row, np.int64).tolist()) for row in ids]

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included.

        Special tokens write nothing, and a byte of a character writes U+FFFD.
        """
        pieces = (self._piece.get(number, "") for number in range(self.vocab_size))
        return [
            ""
            if self._is_special(piece)
            else _BYTE.sub(_spelled, piece).replace("▁", " ")
            for piece in pieces
        ]

    def piece_table(self) -> list[str]:
        """Returns every piece in the order of the ids; what has no name is numbered."""
        return [
            self._piece.get(number, f"<unused{number}>")
            for number in range(self.vocab_size)
        ]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        return [label(self._piece.get(number, "")) for number in ids]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the three files into one archive, at once or not at all."""
        write_archive(self.files, self.vocab_size, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "MarianTokenizer":
        """Returns the tokenizer that `save` wrote.

        Raises:
            InputError: the file is damaged.
        """
        return cls(*read_archive(path, FILES, (TARGET_TABLE,)), str(path))

    def _is_special(self, piece: str) -> bool:
        place = self._target.piece_to_id(piece)
        return piece in _SPECIAL or self._target.is_control(place)

    def _encode_source(self, sentence: str) -> list[int]:
        if not self._languages or not (code := _LANGUAGE.match(sentence)):
            return self._encode(self._source, sentence)
        if code[0] not in self._number:
            raise unknown("language", code[0], self._languages)
        rest = self._encode(self._source, sentence[code.end() :])
        return [self._number[code[0]], *rest]

    def _encode(self, processor, sentence: str) -> list[int]:
        pieces = processor.encode(sentence, out_type=str)
        return [self._number.get(piece, self.unknown_id) for piece in pieces]

    def _decode(self, ids: list[int]) -> str:
        ids = ids[: [*ids, self.eos_id].index(self.eos_id)]
        pieces = [self._piece.get(number, "<pad>") for number in ids]
        pieces = [piece for piece in pieces if piece not in _SPECIAL]
        return self._target.decode_pieces(pieces).replace("▁", " ").strip()


def read_subwords(model: bytes, where: str):
    """Returns the processor of a sentencepiece model."""
    import sentencepiece

    try:
        if model:  # without any, the processor would wait for one
            return sentencepiece.SentencePieceProcessor(model_proto=model)
        reason = "empty"
    except (RuntimeError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
    raise InputError(
        f"{where}: no sound sentencepiece model ({reason}); download it again"
    )


def _numbers(data: bytes, where: str) -> dict[str, int]:
    """Returns the table of pieces; refuses one that numbers no tokens."""
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no JSON ({error}); download it again") from None
    numbers = table.values() if isinstance(table, dict) else ()
    if not numbers or not all(type(x) is int and 0 <= x < 1 << 31 for x in numbers):
        raise InputError(f"{where}: no table of tokens; download it again")
    for token in _SPECIAL:
        if token not in table:
            raise InputError(f"{where}: lacks {token}; download it again")
    return table


def _spelled(byte: re.Match[str]) -> str:
    code = int(byte[1], 16)
    return chr(code) if code < 128 else "\ufffd"


def write_archive(
    files: Mapping[str, bytes], vocab_size: int, path: str | os.PathLike[str]
) -> None:
    """Writes files and the size of a vocabulary, at once or not at all."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in {**files, "vocab_size": b"%d" % vocab_size}.items():
            # Without the time of day, so that equal tokenizers are equal files.
            archive.writestr(zipfile.ZipInfo(name), content)
    write_whole(path, data.getvalue())


def read_archive(
    path: str | os.PathLike[str], names: Sequence[str], optional: Sequence[str] = ()
) -> tuple[dict[str, bytes], int]:
    """Returns the files and the size of the vocabulary that `write_archive` wrote.

    Args:
        optional: names of files that may be there too.

    Raises:
        InputError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(read_limited(path, MAX_BYTES))) as archive:
            sizes = [info.file_size for info in archive.infolist()]
            if sum(sizes) > MAX_BYTES:
                raise ValueError(f"unpacks to {sum(sizes):,} bytes")
            there = [name for name in optional if name in archive.namelist()]
            files = {name: archive.read(name) for name in (*names, *there)}
            return files, int(archive.read("vocab_size"))
    except (
        *(OSError, EOFError, ValueError, KeyError, RuntimeError),
        *(zipfile.BadZipFile, zlib.error),
    ) as error:
        raise InputError(
            f"{path}: damaged ({error}); restore the file or train again"
        ) from None


def unicode(sentences: Sequence[str]) -> Sequence[str]:
    """Returns the sentences; refuses what is no Unicode text."""
    for number, sentence in enumerate(sentences, start=1):
        try:
            sentence.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"sentence {number} is no Unicode text: {sentence!r}; give it as UTF-8"
            ) from error
    return sentences
