"""Training, validation or test: a hash of the text decides, on every machine alike.

So a text never changes its split when others are added, and texts that are equal are
never on two sides.
"""

import hashlib
from typing import Literal

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
# The percentiles of the hash that belong to each split.
_SHARES: dict[Split, range] = {
    "train": range(90),
    "validation": range(90, 95),
    "test": range(95, 100),
}


def split_of(text: str) -> Split:
    """Returns the split of a text.

    >>> split_of("Japan")
    'train'
    """
    digest = hashlib.sha256(text.encode()).digest()
    percentile = int.from_bytes(digest[:8], "big") % 100
    return next(split for split, share in _SHARES.items() if percentile in share)


def percents(split: Split) -> int:
    """Returns the share of all texts that a split has."""
    return len(_SHARES[split])
