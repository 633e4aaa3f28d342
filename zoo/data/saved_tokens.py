"""The tokenizer that a run keeps, ours or that of the model it began with."""

from pathlib import Path

from zoo.data.marian_tokens import MarianTokenizer
from zoo.data.text_tokens import TextTokens
from zoo.data.tokenizer import Tokenizer

ARCHIVE = b"PK"


def load_tokenizer(path: str | Path) -> TextTokens:
    """Returns the tokenizer that its method `save` wrote.

    Raises:
        InputError: the file is missing, damaged or from elsewhere.
    """
    path = Path(path)
    if path.is_file():
        with path.open("rb") as file:
            if file.read(len(ARCHIVE)) == ARCHIVE:
                return MarianTokenizer.load(path)
    return Tokenizer.load(path)
