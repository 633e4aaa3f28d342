"""A directory as Hugging Face writes it: config.json, safetensors, a tokenizer.

What is read may come from anybody. So nothing outside the directory is opened, whatever
its files name or link to, nothing is unpickled, and a file that is damaged or says what
is not so ends in one line that names it. The weights are read one at a time.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.errors import InputError, read_limited

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLED = ("pytorch_model.bin", "pytorch_model.bin.index.json")
MAX_BYTES = 2**27  # of a file that is not weights


class Directory:
    """A directory in the layout of Hugging Face; see `open_directory`.

    Attributes:
        root: where it is.
        config: what config.json holds.
    """

    def __init__(self, root: Path):
        self.root = root
        self._inside = _boundary(root)
        self.config = self.read_json("config.json")

    def has(self, name: str) -> bool:
        """Returns whether there is a file of this name."""
        return (self.root / name).is_file()

    def path(self, name: str) -> Path:
        """Returns where a file of the directory is.

        Raises:
            InputError: there is none, or it lies elsewhere.
        """
        path = self.root / name
        try:
            place, is_file = path.resolve(), path.is_file()
        except (OSError, ValueError, RuntimeError) as error:  # a loop, a long name, NUL
            raise InputError(
                f"{self.root}: {name[:80]!r} is no file ({str(error)[:80]}); download "
                "the directory again"
            ) from None
        if not place.is_relative_to(self._inside):
            raise InputError(
                f"{self.root}: the file {name!r} lies outside of it; copy it into the "
                "directory if you trust it"
            )
        if not is_file:
            raise InputError(f"{path}: no such file; download the directory again")
        return path

    def read(self, name: str) -> bytes:
        """Returns what a file holds that is not weights.

        Raises:
            InputError: there is no such file, or it is too large.
        """
        return read_limited(self.path(name), MAX_BYTES)

    def read_json(self, name: str) -> dict[str, Any]:
        """Returns the object that a file holds.

        Raises:
            InputError: there is no such file, or it is no JSON object.
        """
        path, data = self.root / name, self.read(name)
        try:
            values = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: no JSON ({error}); download it again") from None
        if not isinstance(values, dict):
            raise InputError(f"{path}: no JSON object; download it again")
        return values

    def weights(self) -> "Weights":
        """Returns the tensors by name, each read when it is asked for.

        Numbers of 16 or 64 bits come as float32.

        Raises:
            InputError: a file is missing or damaged, or the weights are pickled.
        """
        if self.has(INDEX) and not self.has(WEIGHTS):
            return self._sharded()
        if not self.has(WEIGHTS):
            raise self._no_weights()
        return Weights([self.path(WEIGHTS)])

    def _sharded(self) -> "Weights":
        index = self.path(INDEX)
        places = self.read_json(INDEX).get("weight_map")
        if not isinstance(places, dict) or not all(
            isinstance(name, str) for name in places.values()
        ):
            raise InputError(f"{index}: no table of weights; download it again")
        weights = Weights([self.path(name) for name in sorted(set(places.values()))])
        for name in sorted(places):
            if name not in weights:
                raise InputError(
                    f"{index}: {name} is to be in {places[name]}, but is not; download "
                    "the directory again"
                )
        return weights

    def origin(self) -> tuple[str, str]:
        """Returns what Hugging Face's libraries call it, and where they may write.

        The cache of the hub is not ours to write into.
        """
        if self._inside == self.root.resolve():
            return str(self.root), str(self.root)
        name = self._inside.name.removeprefix("models--")
        return name.replace("--", "/"), "my-model"

    def _no_weights(self) -> InputError:
        pickled, (source, target) = next(filter(self.has, PICKLED), None), self.origin()
        if source != target:  # only what is not pickled was downloaded
            pickled = PICKLED[0]
        if pickled is None:
            return InputError(
                f"{self.root}: no weights, for there is no {WEIGHTS}; download the "
                "directory again"
            )
        names = self.config.get("architectures")
        name = names[0] if isinstance(names, list) and names else "AutoModel"
        kind = name if isinstance(name, str) and name.isidentifier() else "AutoModel"
        return InputError(
            f"{source}: no {WEIGHTS}, and {pickled} is not read, because pickled "
            "weights can run any program; if you trust it, convert it: python -c "
            f'"import transformers; transformers.{kind}.from_pretrained('
            f"'{source}').save_pretrained('{target}')\""
            + (f", add its tokenizer and give {target}" if source != target else "")
        )


class Weights(Mapping[str, np.ndarray]):
    """The tensors of safetensors files, each read when it is asked for."""

    def __init__(self, paths: list[Path]):
        self._files = {}
        self._paths = {}
        for path in paths:
            file = _open(path)
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                if name in self._files:
                    raise InputError(
                        f"{path}: {name} is in {self._paths[name].name} too; download "
                        "the directory again"
                    )
                self._files[name], self._paths[name] = file, path

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            tensor = self._files[name].get_tensor(name)
        except KeyError:
            raise
        except Exception as error:
            raise InputError(
                f"{self._paths[name]}: {name} cannot be read ({error}); download it "
                "again"
            ) from None
        if tensor.dtype.kind in "biuc":
            return tensor
        return tensor.astype(np.float32, copy=False)

    def __contains__(self, name: object) -> bool:  # otherwise it would be read
        return name in self._files

    def row(self, name: str, number: int) -> np.ndarray | None:
        """Returns a row of a table without reading the others, None if it has none."""
        table = self._files[name].get_slice(name) if name in self._files else None
        if table is None or len(shape := table.get_shape()) != 2 or number >= shape[0]:
            return None
        return table[number].astype(np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def open_directory(path: str | Path) -> Directory:
    """Returns a directory that Hugging Face's libraries wrote, or one like it.

    Raises:
        InputError: there is no directory, or no sound config.json in it.
    """
    root = Path(path)
    if not root.is_dir():
        raise InputError(f"{path}: no such directory")
    return Directory(root)


def _boundary(root: Path) -> Path:
    """Returns the folder that holds all that a directory may link to.

    In the cache of the hub a snapshot is made of links to the blobs beside it.
    """
    root = root.resolve()
    repository = root.parent.parent
    if root.parent.name == "snapshots" and repository.name.startswith("models--"):
        return repository
    return root


def _open(path: Path) -> Any:
    """Returns the reader of a safetensors file, which has checked its header."""
    from safetensors import safe_open

    try:
        # Read rather than mapped: pages of a mapped file would count as memory twice.
        return safe_open(path, framework="np", backend="pread")
    except Exception as error:
        raise InputError(
            f"{path}: no sound safetensors file ({error}); download it again"
        ) from None
