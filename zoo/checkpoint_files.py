"""Whether the files of a checkpoint are what a run wrote, before any array is read.

`SHA256SUMS` (to be read by `sha256sum --check` too) covers every file, since Orbax
loads a flipped bit as a weight. `record.json` names every array with its dtype and
shape, since Orbax casts to the dtype that it is asked for. A checkpoint from somebody
else has sums of its own, so its descriptions are compared with what we would have
written: the one array driver, no larger pieces than the arrays have elements, and
regular files only, inside the folder.
"""

import hashlib
import json
import re
import stat
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tensorstore
from orbax.checkpoint import v1 as orbax

from zoo.errors import InputError

RECORD = "record.json"
SUMS = "SHA256SUMS"

_LEAF = re.compile(r"[a-z]+\d*\[(\d{1,15}(,\d{1,15}){0,15})?\]")  # float32[3,4]
MAX_JSON_BYTES = 2**25  # some 100,000 arrays; parsed, it takes ten times the memory
_TREE = "state/_METADATA"
_ITEMS = "_CHECKPOINT_METADATA"
_HANDLER = "orbax.checkpoint.experimental.v1._src.handlers.pytree_handler.PyTreeHandler"
_ARRAY_KEYS = frozenset(
    {"attributes", "chunk_grid", "chunk_key_encoding", "codecs", "data_type"}
    | {"fill_value", "node_type", "shape", "zarr_format"}
)
_EMPTY = frozenset({"None", "Dict", "List", "Tuple", "NamedTuple"})
_VALUES = _EMPTY | {"jax.Array", "np.ndarray"}
_CODECS = frozenset({"sharding_indexed", "bytes", "zstd", "crc32c"})


class DamagedCheckpoint(InputError):
    """A file of a checkpoint is not what was written."""

    def __init__(self, checkpoint: Path, file: str, fault: str):
        super().__init__(
            f"{checkpoint / file} {fault}; delete {checkpoint} to use another step"
        )


def describe(tree: Any) -> dict[str, str]:
    """Returns what each array of a tree is, by its path.

    >>> import numpy as np
    >>> describe({"params": [np.zeros((3, 4), np.float32)]})
    {'params/[0]': 'float32[3,4]'}
    """
    return {
        "/".join(map(_key, path)): f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _key(key: Any) -> str:
    """Returns a step of a path; a field and a dict key look the same, as in Orbax."""
    if isinstance(key, jax.tree_util.SequenceKey):
        return f"[{key.idx}]"
    return jax.tree_util.keystr((key,), simple=True)


def checksums(checkpoint: Path) -> dict[str, str]:
    """Returns the SHA-256 of every file of a checkpoint, by its relative path.

    Raises:
        DamagedCheckpoint: a file is a symbolic link, which could lead anywhere, or
            anything else that is no regular file; or it cannot be read, since the disk
            fails or the run has just deleted it.
    """
    if checkpoint.is_symlink():
        raise DamagedCheckpoint(checkpoint, "", "is a symbolic link")
    sums, name = {}, ""
    try:
        for path in sorted(checkpoint.rglob("*")):
            name = path.relative_to(checkpoint).as_posix()
            if (digest := _digest(checkpoint, name)) is not None:
                sums[name] = digest
    except OSError as error:
        raise _unreadable(checkpoint, name, error) from None
    return sums


def _digest(checkpoint: Path, name: str) -> str | None:
    """Returns the SHA-256 of a file, None for a folder and for the sums themselves."""
    path = checkpoint / name
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        raise DamagedCheckpoint(checkpoint, name, "is a symbolic link")
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise DamagedCheckpoint(checkpoint, name, "is no regular file")
    if stat.S_ISDIR(mode) or name == SUMS:
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unreadable(checkpoint: Path, name: str, error: Exception) -> DamagedCheckpoint:
    reason = getattr(error, "strerror", None) or error
    return DamagedCheckpoint(checkpoint, name, f"is unreadable: {reason}")


def verify(checkpoint: Path) -> None:
    """Does nothing if every file is as it was written.

    Raises:
        DamagedCheckpoint: with the name of the first file that differs.
    """
    found = checksums(checkpoint)
    try:
        lines = _read(checkpoint, SUMS).decode().splitlines()
        written = {name: sum_ for sum_, name in (line.split("  ") for line in lines)}
    except ValueError as error:
        raise _unreadable(checkpoint, SUMS, error) from None
    for name in sorted(written.keys() | found.keys()):
        if name not in found:
            raise DamagedCheckpoint(checkpoint, name, "is missing")
        if written.get(name) != found[name]:
            raise DamagedCheckpoint(checkpoint, name, "is not the file that was saved")


def read_record(checkpoint: Path) -> dict:
    """Returns what stands beside the arrays: step, loss, previous, note, leaves.

    Raises:
        DamagedCheckpoint: it is no such record, or that of another step.
    """
    record = _read_json(checkpoint, RECORD)
    kinds = {"step": int, "loss": float, "note": dict, "leaves": dict}
    for name, kind in kinds.items():
        if type(record.get(name)) is not kind:
            raise DamagedCheckpoint(checkpoint, RECORD, f"has no {name}")
    for name, leaf in record["leaves"].items():
        if not (name.isprintable() and _LEAF.fullmatch(str(leaf))):
            raise DamagedCheckpoint(checkpoint, RECORD, "describes no arrays")
    if checkpoint.name != str(record["step"]):
        raise DamagedCheckpoint(checkpoint, RECORD, f"is of step {record['step']}")
    return record


def check_arrays(checkpoint: Path, leaves: dict[str, str]) -> None:
    """Does nothing if arrays are stored as we store them, and are what these say.

    Orbax and TensorStore could read more than we write: other layouts, other drivers,
    and pieces that are larger than the array that they belong to.

    Args:
        leaves: what is to be read, as `describe` gives it.

    Raises:
        DamagedCheckpoint: with what is not as we would have written it.
    """
    items = _read_json(checkpoint, _ITEMS).get("item_handlers")
    if items != {"state": _HANDLER}:
        raise DamagedCheckpoint(checkpoint, _ITEMS, "asks for another reader")
    tree = _read_json(checkpoint, _TREE)
    if tree.get("use_ocdbt") is not True or tree.get("use_zarr3") is not True:
        raise DamagedCheckpoint(checkpoint, _TREE, "asks for another array driver")
    for name, value in _values(checkpoint, tree):
        if value not in _VALUES:
            raise DamagedCheckpoint(checkpoint, _TREE, f"calls {name} a {value}")
    base = {"driver": "file", "path": f"{checkpoint.absolute() / 'state'}/"}
    try:
        store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
        found = {leaf: store.read(_stored_as(leaf) + "/zarr.json") for leaf in leaves}
        texts = {leaf: read.result().value for leaf, read in found.items()}
    except ValueError as error:
        first = str(error).partition("\n")[0]
        raise DamagedCheckpoint(
            checkpoint, "state", f"is unreadable: {first}"
        ) from None
    for leaf, text in texts.items():
        if fault := _fault_of_array(text, leaves[leaf]):
            raise DamagedCheckpoint(checkpoint, "state", f"has {leaf} {fault}")


def _values(checkpoint, tree):
    try:
        for name, value in tree["tree_metadata"].items():
            yield name, value["value_metadata"]["value_type"]
    except (KeyError, TypeError, AttributeError):
        raise DamagedCheckpoint(checkpoint, _TREE, "describes no arrays") from None


def _stored_as(leaf: str) -> str:
    """Returns Orbax's name of an array: `params/[0]/kernel` is `params.0.kernel`."""
    return re.sub(r"\[(\d+)\](?=/|$)", r"\1", leaf).replace("/", ".")


def _fault_of_array(text: bytes, leaf: str) -> str | None:
    """Returns what is wrong with the description of an array, None if nothing is."""
    dtype, _, sizes = leaf.removesuffix("]").partition("[")
    shape = [int(size) for size in sizes.split(",") if size]
    try:
        array = json.loads(text)
        if not set(array) <= _ARRAY_KEYS:
            return "with " + ", ".join(sorted(set(array) - _ARRAY_KEYS))
        if array["data_type"] != dtype or array["shape"] != shape:
            return f"as {array['data_type']}{array['shape']}, not {leaf}"
        chunks = [array["chunk_grid"]["configuration"]["chunk_shape"]]
        codecs = list(array["codecs"])
        while codecs:
            codec = codecs.pop()
            if codec["name"] not in _CODECS:
                return f"behind a codec {codec['name']}"
            settings = codec.get("configuration", {})
            codecs += settings.get("codecs", []) + settings.get("index_codecs", [])
            chunks += [settings["chunk_shape"]] if "chunk_shape" in settings else []
        for chunk in chunks:
            if len(chunk) != len(shape) or any(
                not 1 <= piece <= max(size, 1)
                for piece, size in zip(chunk, shape, strict=True)
            ):
                return f"in pieces of {chunk}, which are larger than {leaf}"
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return "in a description of its own"
    return None


def _read_json(checkpoint: Path, name: str) -> dict:
    try:
        found = json.loads(_read(checkpoint, name))
    except (ValueError, RecursionError) as error:
        raise _unreadable(checkpoint, name, error) from None
    if not isinstance(found, dict):
        raise DamagedCheckpoint(checkpoint, name, "is no JSON object")
    return found


def _read(checkpoint: Path, name: str) -> bytes:
    """Returns a small file of a checkpoint."""
    path = checkpoint / name
    try:
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would never end
            raise DamagedCheckpoint(checkpoint, name, "is no regular file")
        if found.st_size > MAX_JSON_BYTES:
            raise DamagedCheckpoint(checkpoint, name, "is larger than any we write")
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(checkpoint, name, error) from None


def _require_equal(checkpoint: Path, saved: dict[str, str], asked: dict[str, str]):
    for name in [*asked, *saved]:
        if saved.get(name) != asked.get(name):
            raise InputError(
                f"{checkpoint}: {name} is {saved.get(name, 'absent')} in the checkpoint"
                f" and {asked.get(name, 'absent')} in the model; build the model with"
                " the config of the run"
            )


def _placed(leaf: Any) -> Any:
    """Returns an abstract array that says where it goes, by default as jnp.zeros.

    Of several hosts each has a first device of its own.
    """
    if isinstance(leaf, np.ndarray | np.generic):
        return np.asarray(leaf)
    sharding = leaf.sharding or jax.sharding.SingleDeviceSharding(
        jax.local_devices()[0]
    )
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def verified_leaves(checkpoint: Path) -> dict[str, str]:
    """Returns what each array was when it was saved, once all files are verified.

    Raises:
        InputError: there is no such checkpoint.
        DamagedCheckpoint: a file is not what was written.
    """
    if not checkpoint.is_dir():
        raise InputError(f"{checkpoint} does not exist; there is no such step")
    verify(checkpoint)
    return read_record(checkpoint)["leaves"]


def require_loadable(
    checkpoint: Path, leaves: dict[str, str], abstract_tree: Any
) -> None:
    """Does nothing if the arrays of a tree are these leaves, stored as we store them.

    Raises:
        InputError: names, shapes or dtypes differ.
        DamagedCheckpoint: a file is not what was written.
    """
    _require_equal(checkpoint, leaves, describe(abstract_tree))
    check_arrays(checkpoint, leaves)


def load_arrays(checkpoint: Path, abstract_tree: Any) -> Any:
    """Returns the arrays of a tree that `require_loadable` has nothing against.

    Orbax counts its loads, by which hosts find each other: all load equally often.

    Raises:
        DamagedCheckpoint: its bytes cannot be read.
    """
    context = orbax.Context()
    context.pytree.loading.partial_load = True
    # Of several hosts each reads by itself what it needs, perhaps the first one alone.
    host = jax.process_index()
    context.multiprocessing.primary_host = host
    context.multiprocessing.active_processes = {host}
    try:
        with context:
            path = str(checkpoint.absolute())
            return orbax.load(path, jax.tree.map(_placed, abstract_tree))
    except TimeoutError:  # another host does not answer
        raise
    except Exception as error:  # Orbax has no narrower one for bytes it cannot read
        first = str(error).partition("\n")[0]
        raise DamagedCheckpoint(
            checkpoint, "state", f"is unreadable: {first}"
        ) from error
