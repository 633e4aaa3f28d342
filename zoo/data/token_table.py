"""Words or characters as tokens, by a table of those that a text has.

For text that is cut already, such as byte pairs whose inner ends are marked ``@@``, and
for spelling. What stands between two spaces is a word, whatever it is; so a text whose
tokens are all in the table comes back as it was, down to a doubled space. (The word and
character models of sentencepiece do not promise that: they join neighbours that they do
not know into one unknown, and cannot hold ``</s>`` as text.)
"""

import collections
import json
from collections.abc import Iterable, Sequence
from typing import Literal

from zoo.errors import InputError

Tokens = Literal["subwords", "words", "characters"]
_UNKNOWN = "\u2047"  # ⁇, as sentencepiece writes it
_NUM_SPECIAL = 4  # pad, start, eos, unknown
_UNKNOWN_ID = 3


class TokenTable:
    """Sentences to ids and back: what `Tokenizer` asks of a sentencepiece model.

    >>> table = TokenTable(train_table(["b a b"], 10, "words", False))
    >>> table.encode(["a b c"])
    [[5, 4, 3]]

    Args:
        model: what `train_table` returned.
    """

    def __init__(self, model: bytes):
        values = json.loads(model)
        self._separator = _separator(values["tokens"])
        self._lowercase = values["lowercase"]
        self._tokens = values["table"]
        if not isinstance(self._tokens, list) or {*map(type, self._tokens)} - {str}:
            raise ValueError("the table is no list of tokens")
        self._ids = {
            token: number for number, token in enumerate(self._tokens, _NUM_SPECIAL)
        }

    def vocab_size(self) -> int:
        """Returns the number of ids, special ones included."""
        return _NUM_SPECIAL + len(self._tokens)

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """Returns the ids of each sentence, without start and end."""
        return [
            [
                self._ids.get(token, _UNKNOWN_ID)
                for token in _cut(sentence, self._separator, self._lowercase)
            ]
            for sentence in sentences
        ]

    def decode(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Returns the sentences; special ids but the unknown one write nothing."""
        return [
            self._separator.join(self._token(number) for number in row if number > 2)
            for row in rows
        ]

    def id_to_piece(self, ids: Sequence[int]) -> list[str]:
        """Returns the tokens with U+2581 for a space, and for a word of no letters."""
        return [
            self._token(number).replace(" ", "\u2581") or "\u2581" for number in ids
        ]

    def _token(self, number: int) -> str:
        return (
            _UNKNOWN if number == _UNKNOWN_ID else self._tokens[number - _NUM_SPECIAL]
        )


def train_table(
    sentences: Iterable[str], vocab_size: int, tokens: Tokens, lowercase: bool
) -> bytes:
    """Returns the table of the commonest tokens; among equals, of the first ones.

    Args:
        vocab_size: a bound, special ids included. Rarer tokens are unknown.
        lowercase: whether tokens are kept and looked up in lower case.

    Raises:
        InputError: there is no text, or the vocabulary has no room for a token.
    """
    if vocab_size <= _NUM_SPECIAL:
        raise InputError(
            f"a vocabulary of {vocab_size} has no room beside {_NUM_SPECIAL} special "
            "ids; some thousands are usual"
        )
    counts = collections.Counter()
    for sentence in sentences:
        counts.update(_cut(sentence, _separator(tokens), lowercase))
    if not any(map(str.strip, counts)):
        raise InputError("no text to make a table of tokens from: the corpus is empty")
    table = [token for token, _ in counts.most_common(vocab_size - _NUM_SPECIAL)]
    values = {"tokens": tokens, "lowercase": lowercase, "table": table}
    return json.dumps(values, ensure_ascii=False).encode()


def _separator(tokens: str) -> str:
    return " " if tokens == "words" else ""


def _cut(sentence: str, separator: str, lowercase: bool) -> list[str]:
    if lowercase:
        sentence = sentence.lower()
    return sentence.split(separator) if separator and sentence else list(sentence)
