"""The tokens of BART, mBART-50 and NLLB: a tokenizer.json, by the library `tokenizers`.

Beside the pieces of the text there is what stands before them: ``<s>`` in BART, and in
models of many languages the name of the language, as in ``fr_XX`` or ``fra_Latn``, on
both sides.
"""

import os
import re
from collections.abc import Callable, Sequence
from typing import Any

from zoo.data.language_tokens import LanguageTokens, Start, read_frame
from zoo.data.tokenizer import label
from zoo.errors import InputError

FILE = "tokenizer.json"
_LANGUAGE = re.compile(r"[a-z]{2,3}_[A-Z][A-Za-z]{1,3}")
# No vocabulary has the second character, so that it shows what becomes of one unknown.
_PROBE = "a \U0010fffd"


class JsonTokenizer(LanguageTokens):
    """Sentences to lists of ids and back.

    >>> from tokenizers import Tokenizer, models, pre_tokenizers
    >>> pieces = ["<pad>", "<s>", "</s>", "<unk>", "a", "house"]
    >>> table = {piece: number for number, piece in enumerate(pieces)}
    >>> words = Tokenizer(models.WordLevel(table, unk_token="<unk>"))
    >>> words.pre_tokenizer = pre_tokenizers.Whitespace()
    >>> JsonTokenizer(words.to_str().encode(), vocab_size=6).encode(["a house"])
    [[4, 5]]

    Args:
        content: of a tokenizer.json.
        vocab_size: rows of the model's embedding.
        source_start: ids before the text that is read; None where there are many
            languages and none is chosen.
        target_start: ids before the text that is written, likewise.
        where: what an error calls the file.

    Raises:
        InputError: the file is damaged, or lacks what it must have.
    """

    def __init__(
        self,
        content: bytes,
        vocab_size: int,
        source_start: Start = (),
        target_start: Start = (),
        where: str = FILE,
    ):
        self._tokenizer, self._where = _read(content, where), where
        numbers = self._ask("get_vocab", with_added_tokens=True).values()
        highest = max([*numbers, *self.template()], default=0)
        if highest >= vocab_size:
            raise InputError(
                f"{where}: numbers up to {highest}, but the model has {vocab_size} "
                "tokens; download the directory again"
            )
        self.pad_id, self.eos_id, self.unknown_id = (
            self._id(name) for name in ("<pad>", "</s>", "<unk>")
        )
        languages = {
            token.content: number
            for number, token in self._ask("get_added_tokens_decoder").items()
            if _LANGUAGE.fullmatch(token.content)
        }
        files = {FILE: content}
        super().__init__(
            files, vocab_size, languages, source_start, target_start, where
        )
        # What cannot cut any text is refused here, and not at the first sentence.
        self._ask("decode_batch", self._cut([_PROBE]))

    def template(self) -> list[int]:
        """Returns the special ids that the file itself puts around a text."""
        return self._ask("encode", "").ids

    def own_start(self) -> list[int] | None:
        """Returns the special ids that the file itself puts before a text.

        None where it has languages but puts none there: early files of NLLB have it
        behind the end, and say nothing else.
        """
        template = self.template()
        start = template[: [*template, self.eos_id].index(self.eos_id)]
        spoken = not self.languages or {*start} & {*self.languages.values()}
        return start if spoken else None

    def texts(self) -> list[str]:
        """Returns what each token writes behind another, its space included.

        Special tokens write nothing, and a byte of a character writes U+FFFD.

        Raises:
            InputError: no token writes anything.
        """
        alone = self._ask("decode_batch", [[x] for x in range(self.vocab_size)])
        first = next((place for place, text in enumerate(alone) if text.strip()), None)
        if first is None:
            raise InputError(f"{self._where}: no token has a text; download it again")
        rows = [[first, token] for token in range(self.vocab_size)]
        found = self._ask("decode_batch", rows)
        return [text.removeprefix(alone[first]) for text in found]

    def labels(self, ids: Sequence[int]) -> list[str]:
        """Returns one label for each id, as a person reads it."""
        labels = []
        for number in map(int, ids):
            text = self._ask("decode", [number]).replace(" ", "▁")
            labels.append(label(text or self._ask("id_to_token", number) or "⁇"))
        return labels

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "JsonTokenizer":
        """Returns the tokenizer that `save` wrote.

        Raises:
            InputError: the file is damaged.
        """
        files, size, starts = read_frame(path, (FILE,))
        return cls(files[FILE], size, *starts, where=str(path))

    def _cut(self, sentences: Sequence[str]) -> list[list[int]]:
        found = self._ask("encode_batch", list(sentences), add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def _join(self, rows: Sequence[list[int]]) -> list[str]:
        return self._ask("decode_batch", rows)

    def _ask(self, method: str, *given: Any, **options: Any) -> Any:
        return _sound(self._where, getattr(self._tokenizer, method), *given, **options)

    def _id(self, name: str) -> int:
        number = self._ask("token_to_id", name)
        if number is None:
            raise InputError(f"{self._where}: lacks {name}; download it again")
        return number


def _read(content: bytes, where: str) -> Any:
    import tokenizers

    tokenizer = _sound(where, lambda: tokenizers.Tokenizer.from_str(content.decode()))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if hasattr(tokenizer.model, "dropout"):
        tokenizer.model.dropout = None  # training cut words at random, we never do
    return tokenizer


def _sound(where: str, call: Callable, *given: Any, **options: Any) -> Any:
    """Returns what a call of the library returns, whose panics are no Exception."""
    try:
        return call(*given, **options)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{where}: no sound tokenizer ({reason}); download it again"
        ) from None
