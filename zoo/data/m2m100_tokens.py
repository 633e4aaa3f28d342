"""The tokens of M2M100: a sentencepiece model, a table, and the languages behind it.

Fan et al. (2021), "Beyond English-Centric Multilingual Machine Translation". No file of
theirs numbers the languages: they follow the table in the order of a list.
"""

import os
import re
from collections.abc import Sequence

from zoo.data.language_tokens import LanguageTokens, Start, read_frame
from zoo.data.pieces import Pieces, read_numbers
from zoo.data.tokenizer import label
from zoo.errors import InputError, unknown

MODEL, TABLE, LIST = "sentencepiece.bpe.model", "vocab.json", "language_codes"
_SPECIAL = ("<pad>", "</s>", "<unk>", "<s>")
# Fan et al. (2021), table 1, and those of Tran et al. (2021), "Facebook AI's WMT21 News
# Translation Task Submission"; both in the order in which fairseq has numbered them.
LANGUAGES = {
    "m2m100": (
        "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr "
        "fy ga gd gl gu ha he hi hr ht hu hy id ig ilo is it ja jv ka kk km kn ko lb "
        "lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt ro ru sd si "
        "sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu"
    ),
    "wmt21": "en ha is ja cs ru zh de",
}


class M2M100Tokenizer(LanguageTokens):
    """Sentences to lists of ids and back.

    As in theirs, a special token in a text, such as ``</s>``, stands for itself.

    >>> import json
    >>> from zoo.data.tokenizer import Tokenizer
    >>> own = Tokenizer.train(["a red house", "ein rotes Haus"], 300)
    >>> table = {piece: number for number, piece in enumerate(own.piece_table())}
    >>> contents = own.sentencepiece(), json.dumps(table).encode()
    >>> tokenizer = M2M100Tokenizer(*contents, len(table) + 100).between("en", "de")
    >>> tokenizer.decode(tokenizer.encode(["a red house"]))
    ['a red house']

    Args:
        model: the serialized sentencepiece model.
        table: the content of vocab.json, which numbers its pieces.
        vocab_size: rows of the model's embedding.
        source_start: as `LanguageTokens` has it.
        target_start: likewise.
        codes: which list of languages follows the table, a key of LANGUAGES.
        where: what an error calls the files.

    Raises:
        InputError: a file is damaged, or lacks what it must have.
    """

    def __init__(
        self,
        model: bytes,
        table: bytes,
        vocab_size: int,
        source_start: Start = None,
        target_start: Start = None,
        codes: str = "m2m100",
        where: str = "tokenizer",
    ):
        if codes not in LANGUAGES:
            raise unknown(f"language_codes of {where}", codes[:80], LANGUAGES)
        numbers = read_numbers(table, _SPECIAL, f"{where}/{TABLE}")
        languages = {
            code: len(numbers) + place
            for place, code in enumerate(LANGUAGES[codes].split())
        }
        names = {f"__{code}__": number for code, number in languages.items()}
        highest = len(numbers) + len(names) - 1
        if max(numbers.values()) >= len(numbers) or highest >= vocab_size:
            raise InputError(
                f"{where}/{TABLE}: {len(numbers)} pieces, numbered up to "
                f"{max(numbers.values())}, and {len(names)} languages behind them are "
                f"not the {vocab_size} tokens that the model has; download the "
                "directory again"
            )
        self.pad_id, self.eos_id, self.unknown_id = (
            numbers[token] for token in _SPECIAL[:3]
        )
        self._special = {token: numbers[token] for token in _SPECIAL} | names
        self._between = re.compile(f"({'|'.join(map(re.escape, self._special))})")
        self._pieces = Pieces(model, numbers | names, self._special, f"{where}/{MODEL}")
        files = {MODEL: model, TABLE: table, LIST: codes.encode()}
        super().__init__(
            files, vocab_size, languages, source_start, target_start, where
        )

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included.

        Special tokens write nothing.
        """
        return [self._pieces.text(number) for number in range(self.vocab_size)]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        return [label(self._pieces.piece(int(number))) for number in ids]

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "M2M100Tokenizer":
        """Returns the tokenizer that `save` wrote.

        Raises:
            InputError: the file is damaged.
        """
        files, size, starts = read_frame(path, (MODEL, TABLE, LIST))
        codes = files[LIST].decode(errors="replace")
        return cls(files[MODEL], files[TABLE], size, *starts, codes, str(path))

    def _cut(self, sentences: Sequence[str]) -> list[list[int]]:
        return [self._ids(sentence) for sentence in sentences]

    def _ids(self, sentence: str) -> list[int]:
        ids = []
        for part in self._between.split(sentence):
            special = part in self._special
            ids += [self._special[part]] if special else self._pieces.encode(part)
        return ids

    def _join(self, rows: Sequence[list[int]]) -> list[str]:
        return [self._pieces.decode(row) for row in rows]
