"""The tokenizer that a run keeps, ours or that of the model it began with."""

import io
import zipfile
from pathlib import Path
from typing import Any

from zoo.data import json_tokens, m2m100_tokens, t5_tokens
from zoo.data.archives import MAX_BYTES
from zoo.data.json_tokens import JsonTokenizer
from zoo.data.m2m100_tokens import M2M100Tokenizer
from zoo.data.marian_tokens import MarianTokenizer
from zoo.data.t5_tokens import T5Tokenizer
from zoo.data.text_tokens import TextTokens
from zoo.data.tokenizer import Tokenizer
from zoo.errors import read_limited

ARCHIVE = b"PK"
# Whose archive it is, by a file that the others have not.
KINDS: dict[str, Any] = {
    json_tokens.FILE: JsonTokenizer,
    m2m100_tokens.MODEL: M2M100Tokenizer,
    t5_tokens.FILE: T5Tokenizer,
}


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


def _kind(archive: bytes) -> Any:
    """Returns whose archive it is; Marian's tells a damaged one."""
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            names = files.namelist()
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile):
        names = []
    return next((KINDS[name] for name in names if name in KINDS), MarianTokenizer)
