"""One HTML file that shows attention: data, one script, one style, and nothing else.

The file asks nobody for anything. Its content security policy names the one script and
the one style by their hashes and forbids every request, so that even a mistake of ours
could not turn a token into a script. The data stand as JSON in a block that no browser
runs, and the script writes them as text.
"""

import base64
import hashlib
import html
import importlib.resources
import json
import os
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Num

from zoo.files import write_whole

_FOLDER = importlib.resources.files("zoo.viewer")
# Controls, format (marks that turn the direction of writing, spaces of no width, tags),
# surrogates that stand alone, private use, line and paragraph separators.
_UNSEEN = frozenset(["Cc", "Cf", "Cs", "Co", "Zl", "Zp"])
# Joiners shape Persian and Indic words, and the signs of Arabic, Syriac and Kaithi that
# stand over what follows them are ink.
_SEEN = frozenset("\u200c\u200d\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd")
_SEEN |= frozenset(map(chr, range(0x600, 0x606)))
_FILLERS = frozenset("\u115f\u1160\u3164\uffa0")  # of Hangul: letters without ink
_LARGEST = 2**16 - 1

_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
<div id="viewer" hidden></div>
<div id="static">{fallback}</div>
</main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def page(title: str, data: Any, *, script: str, fallback: str) -> str:
    """Returns an HTML file that needs nothing but itself.

    Args:
        data: what JSON can say; the script reads it.
        script: the name of the file beside this one that shows the data.
        fallback: HTML that stands there until the script has run; see `table`.
    """
    code = _read("shared.js") + _read(script)
    style = _read("viewer.css")
    policy = (
        f"default-src 'none'; script-src '{_hash(code)}'; style-src '{_hash(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=policy,
        title=text(title),
        style=style,
        fallback=fallback,
        data=data_block(data),
        script=code,
    )


def save(written: str, path: str | os.PathLike[str]) -> None:
    """Writes a page, whole or not at all.

    Raises:
        InputError: the path cannot be written.
    """
    write_whole(path, written.encode())


def text(words: str) -> str:
    """Returns words as HTML that shows them and is none.

    >>> text("<b>")
    '&lt;b&gt;'
    """
    return html.escape(visible(words))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a table for those who run no script; every cell is text."""
    names = "".join(f'<th scope="col">{text(name)}</th>' for name in head)
    lines = [
        "".join(f'<td dir="auto">{text(cell)}</td>' for cell in row) for row in rows
    ]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f"<table><thead><tr>{names}</tr></thead>\n<tbody>{body}</tbody></table>"


def data_block(data: Any) -> str:
    r"""Returns JSON that cannot end its script: ASCII, without <, > and &.

    >>> data_block(["</script>"])
    '["\\u003c/script\\u003e"]'
    """
    written = json.dumps(data, separators=(",", ":"), allow_nan=False)
    for letter in "<>&":
        written = written.replace(letter, f"\\u{ord(letter):04x}")
    return written


def visible(words: str) -> str:
    r"""Returns words with what nobody sees written out.

    Joiners and variation selectors, which shape their neighbours, stay as they are.

    >>> visible("a\u202eb\n")
    'a[U+202E]b[U+000A]'
    """
    return "".join(
        f"[U+{ord(letter):04X}]" if _is_unseen(letter) else letter for letter in words
    )


def _is_unseen(letter: str) -> bool:
    unseen = unicodedata.category(letter) in _UNSEEN and letter not in _SEEN
    return unseen or letter in _FILLERS


def direction(words: str) -> str:
    """Returns "rtl" if the first letter that has a direction is written leftwards.

    >>> direction("3 كتب"), direction("3 books")
    ('rtl', 'ltr')
    """
    for letter in words:
        if unicodedata.bidirectional(letter) in ("L", "R", "AL"):
            return "ltr" if unicodedata.bidirectional(letter) == "L" else "rtl"
    return "ltr"


def packed(weights: Num[np.ndarray, "..."]) -> str:
    """Returns weights in base64 of 16 bits each, from 0 for 0 to 65535 for 1.

    That is exact to 0.00001, and half as long as three decimals and a comma.

    Raises:
        ValueError: a weight is no number from 0 to 1.
    """
    weights = np.asarray(weights, np.float64)
    if not ((weights >= 0) & (weights <= 1.01)).all():
        raise ValueError("want weights from 0 to 1, as attention's are")
    whole = np.rint(np.minimum(weights, 1) * _LARGEST).astype("<u2")
    return base64.b64encode(whole.tobytes()).decode()


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(code: str) -> str:
    digest = hashlib.sha256(code.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
