"""The tokenizer that a run keeps, ours or that of the model it began with."""

import io
import zipfile
from pathlib import Path

from zoo.data import json_tokens, t5_tokens
from zoo.data.json_tokens import JsonTokenizer
from zoo.data.marian_tokens import MAX_BYTES, MarianTokenizer
from zoo.data.t5_tokens import T5Tokenizer
from zoo.data.text_tokens import TextTokens
from zoo.data.tokenizer import Tokenizer
from zoo.errors import read_limited

ARCHIVE = b"PK"


def load_tokenizer(path: str | Path) -> TextTokens:
    """Returns the tokenizer that its method `save` wrote.

    Raises:
        InputError: the file is missing, damaged or from elsewhere.
    """
    path = Path(path)
    if path.is_file():
        data = read_limited(path, MAX_BYTES)
        if data.startswith(ARCHIVE):
            return _kind(data).load(path)
    return Tokenizer.load(path)


def _kind(archive: bytes) -> type[JsonTokenizer | T5Tokenizer | MarianTokenizer]:
    """Returns whose archive it is, by the name of its first file."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            first = files.namelist()[0]
    except (OSError, ValueError, IndexError, RuntimeError, zipfile.BadZipFile):
        return MarianTokenizer  # whose `load` says that the file is damaged
    return {json_tokens.FRAME: JsonTokenizer, t5_tokens.FILE: T5Tokenizer}.get(
        first, MarianTokenizer
    )
