"""Directories from the hub, fetched by `huggingface_hub`, never with code to run."""

import re
from pathlib import Path

from zoo.errors import InputError

# Nothing that is pickled, and no program.
FILES = ("*.json", "model*.safetensors", "*.spm", "*.model", "vocab.txt", "merges.txt")


def download(repository: str, revision: str | None = None) -> Path:
    """Returns the directory of a hub id, downloaded unless it was before.

    Args:
        repository: its id, "owner/name".
        revision: branch, tag or commit; None takes the main branch.

    Raises:
        InputError: it is no such id, the library is not installed, or the hub cannot
            be reached and nothing was downloaded before.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise InputError(f"{repository}: no such directory, and no id on the hub")
    remedy = (
        f"download {', '.join(FILES)} of https://huggingface.co/{repository} into a "
        "directory and give that"
    )
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise InputError(
            f"{repository}: no run and no directory is here; train one, or, for an id "
            f"of the hub, pip install 'attention-zoo[hub]', or {remedy}"
        ) from None
    try:
        return Path(
            snapshot_download(repository, revision=revision, allow_patterns=[*FILES])
        )
    except (OSError, ValueError) as error:
        (reason, *_) = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"{repository}: no run and no directory is here, and the hub did not give "
            f"it ({reason}); {remedy}"
        ) from None
