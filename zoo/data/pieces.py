"""The pieces of a sentencepiece model under the numbers that a table gives them."""

import json
import re
from collections.abc import Collection, Mapping, Sequence

from zoo.errors import InputError

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Pieces:
    """Text to ids and back.

    >>> from zoo.data.tokenizer import Tokenizer
    >>> own = Tokenizer.train(["a red house"], 300)
    >>> numbers = {piece: number for number, piece in enumerate(own.piece_table())}
    >>> pieces = Pieces(own.sentencepiece(), numbers, ["<pad>", "</s>", "<unk>"])
    >>> pieces.decode(pieces.encode("a red house"))
    'a red house'

    Args:
        model: the serialized sentencepiece model.
        numbers: of all pieces; of what the table lacks ``<unk>`` stands in the place.
        special: the pieces that write nothing.
        where: what an error calls the model.

    Raises:
        InputError: the model is damaged.
    """

    def __init__(
        self,
        model: bytes,
        numbers: Mapping[str, int],
        special: Collection[str],
        where: str = "model",
    ):
        self._processor = read_subwords(model, where)
        self._number, self._special = numbers, frozenset(special)
        self._piece = {number: piece for piece, number in numbers.items()}

    def encode(self, text: str) -> list[int]:
        """Returns the ids of a text, without special ones."""
        unknown_id = self._number["<unk>"]
        pieces = self._processor.encode(text, out_type=str)
        return [self._number.get(piece, unknown_id) for piece in pieces]

    def decode(self, ids: Sequence[int]) -> str:
        """Returns the text of ids; special ones, and such without a piece, are none."""
        pieces = [self._piece[number] for number in ids if number in self._piece]
        pieces = [piece for piece in pieces if piece not in self._special]
        return self._processor.decode_pieces(pieces).replace("▁", " ").strip()

    def piece(self, number: int) -> str:
        """Returns the piece of an id, nothing where it has none."""
        return self._piece.get(number, "")

    def text(self, number: int) -> str:
        """Returns what a token writes behind another, its space included.

        Special tokens write nothing, and a byte of a character writes U+FFFD.
        """
        piece = self.piece(number)
        place = self._processor.piece_to_id(piece)
        if piece in self._special or self._processor.is_control(place):
            return ""
        return _BYTE.sub(_spelled, piece).replace("▁", " ")


def read_subwords(model: bytes, where: str):
    """Returns the processor of a sentencepiece model.

    Raises:
        InputError: it is damaged.
    """
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


def read_numbers(data: bytes, special: Collection[str], where: str) -> dict[str, int]:
    """Returns the table of pieces that a vocab.json holds.

    Args:
        special: pieces that it must have.

    Raises:
        InputError: it numbers no tokens, or lacks one of these.
    """
    try:
        table = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no JSON ({error}); download it again") from None
    numbers = table.values() if isinstance(table, dict) else ()
    if not numbers or not all(type(x) is int and 0 <= x < 1 << 31 for x in numbers):
        raise InputError(f"{where}: no table of tokens; download it again")
    for token in special:
        if token not in table:
            raise InputError(f"{where}: lacks {token}; download it again")
    return table


def _spelled(byte: re.Match[str]) -> str:
    code = int(byte[1], 16)
    return chr(code) if code < 128 else "\ufffd"
