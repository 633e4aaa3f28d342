"""Damages checkpoints in every way we could think of, and counts what is found.

Three steps are saved, the newest is damaged, and a run is asked to go on: it has to go
on from an older step, with exactly what was saved there. Kinds that end in "resummed"
are by somebody who has brought SHA256SUMS up to date.

    python -m benchmarks.faults.damage --cases 1200
"""

import argparse
import errno
import json
import logging
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tensorstore

from zoo.checkpoint_files import SUMS, checksums
from zoo.checkpoints import Checkpoints, restore_params
from zoo.errors import InputError

STEPS = (10, 20, 30)
Damage = Callable[[Path, random.Random], None]


def tree_of(step: int) -> dict:
    """Returns what is saved at a step; no two steps share an array."""
    noise = np.random.default_rng(step).normal(size=(32, 16)).astype(np.float32)
    params = {"dense": {"kernel": jnp.asarray(noise), "bias": jnp.full(16, 1.0 * step)}}
    return {"params": params, "step": jnp.int32(step)}


def save_steps(directory: Path) -> None:
    """Fills a folder of checkpoints; the newest step is the best."""
    with Checkpoints(directory, keep_last=len(STEPS)) as checkpoints:
        for step in STEPS:
            checkpoints.save(step, tree_of(step), loss=1 / step, note={"step": step})


def _files(checkpoint: Path) -> list[Path]:
    """Returns the files that have something in them."""
    files = (path for path in checkpoint.rglob("*") if path.is_file())
    return sorted(path for path in files if path.stat().st_size)


def _resum(checkpoint: Path) -> None:
    lines = (f"{digest}  {name}\n" for name, digest in checksums(checkpoint).items())
    (checkpoint / SUMS).write_text("".join(lines))


def flipped_bit(directory: Path, rng: random.Random) -> None:
    path = rng.choice(_files(directory / "30"))
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncation(directory: Path, rng: random.Random) -> None:
    path = rng.choice(_files(directory / "30"))
    os.truncate(path, rng.randrange(path.stat().st_size))


def zeroed_block(directory: Path, rng: random.Random) -> None:
    path = rng.choice(_files(directory / "30"))
    content = bytearray(path.read_bytes())
    # Begins at a byte that is not zero, so that something changes.
    first = rng.choice([place for place, byte in enumerate(content) if byte])
    length = min(rng.randrange(1, 512), len(content) - first)
    content[first : first + length] = bytes(length)
    path.write_bytes(content)


def garbage_at_the_end(directory: Path, rng: random.Random) -> None:
    with rng.choice(_files(directory / "30")).open("ab") as file:
        file.write(rng.randbytes(rng.randrange(1, 100)))


def deleted_file(directory: Path, rng: random.Random) -> None:
    rng.choice(
        [path for path in (directory / "30").rglob("*") if path.is_file()]
    ).unlink()


def extra_file(directory: Path, rng: random.Random) -> None:
    folder = rng.choice(
        [path for path in (directory / "30").rglob("*") if path.is_dir()]
    )
    (folder / f"extra{rng.randrange(100)}").write_bytes(b"")


def swapped_files(directory: Path, rng: random.Random) -> None:
    """Gives a file the content of another one of the same or of another step."""
    ours = rng.choice(_files(directory / "30"))
    others = [*_files(directory / "30"), *_files(directory / "20")]
    theirs = [path for path in others if path.read_bytes() != ours.read_bytes()]
    ours.write_bytes(rng.choice(theirs).read_bytes())


def swapped_steps(directory: Path, rng: random.Random) -> None:
    (directory / "30").rename(directory / "away")
    (directory / "20").rename(directory / "30")
    (directory / "away").rename(directory / "20")


def renamed_step(directory: Path, rng: random.Random) -> None:
    """Makes an old step look newer than it is."""
    (directory / "30").rename(directory / str(rng.randrange(31, 1_000)))


def unreadable_file(directory: Path, rng: random.Random) -> None:
    """Marks a file as one that `failing_disk` cannot read."""
    rng.choice(_files(directory / "30")).chmod(0)


@contextmanager
def failing_disk() -> Iterator[None]:
    """Gives an error of the disk for every file without permissions, to root too."""
    whole = Path.open

    def opened(path, *arguments, **options):
        if path.exists() and not path.stat().st_mode & 0o777:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return whole(path, *arguments, **options)

    with mock.patch.object(Path, "open", opened):
        yield


def symlink(directory: Path, rng: random.Random) -> None:
    """Puts a link where a file or a folder was; it leads to the same content."""
    path = rng.choice([*(directory / "30").rglob("*"), directory / "30"])
    outside = directory.with_name("outside")
    shutil.rmtree(outside, ignore_errors=True)
    outside.mkdir()
    path.rename(outside / "it")
    path.symlink_to(outside / "it")


def named_pipe(directory: Path, rng: random.Random) -> None:
    """Puts a pipe, from which reading would never end, where a file was."""
    path = rng.choice(_files(directory / "30"))
    path.unlink()
    os.mkfifo(path)


def unfinished(directory: Path, rng: random.Random) -> None:
    """Leaves a step as Orbax writes it, without what we add."""
    for name in ("record.json", SUMS):
        (directory / "30" / name).unlink()


def _change_json(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def size_bomb_resummed(directory: Path, rng: random.Random) -> None:
    """Makes an array, or only its pieces, larger than any memory."""
    checkpoint, huge = directory / "30", rng.choice([2**20, 2**31, 2**40])
    name, shape = rng.choice([("kernel", [32, 16]), ("bias", [16])])
    base = {"driver": "file", "path": f"{checkpoint.absolute()}/state/"}
    store = tensorstore.KvStore.open({"driver": "ocdbt", "base": base}).result()
    key = f"params.dense.{name}/zarr.json"
    array = json.loads(store.read(key).result().value)
    larger = [huge, *shape[1:]]
    where = rng.randrange(3)
    if where == 0:
        array["shape"] = larger
    if where <= 1:
        array["chunk_grid"]["configuration"]["chunk_shape"] = larger
    array["codecs"][0]["configuration"]["chunk_shape"] = larger
    store.write(key, json.dumps(array).encode()).result()
    if where == 0 and rng.random() < 0.5:
        _change_json(
            checkpoint / "record.json",
            lambda record: record["leaves"].update(
                {f"params/dense/{name}": f"float32[{','.join(map(str, larger))}]"}
            ),
        )
    _resum(checkpoint)


def another_driver_resummed(directory: Path, rng: random.Random) -> None:
    """Asks for a layout that Orbax knows and we do not write."""
    checkpoint = directory / "30"
    name, key, value = rng.choice(
        [
            ("state/_METADATA", "use_ocdbt", False),
            ("state/_METADATA", "use_zarr3", False),
            ("_CHECKPOINT_METADATA", "item_handlers", "some.other.Handler"),
            ("_CHECKPOINT_METADATA", "item_handlers", {"state": "some.other.Handler"}),
        ]
    )
    _change_json(checkpoint / name, lambda content: content.update({key: value}))
    _resum(checkpoint)


def nonsense_resummed(directory: Path, rng: random.Random) -> None:
    """Fills a file that is parsed with what no parser expects."""
    names = ["record.json", "_CHECKPOINT_METADATA", "state/_METADATA"]
    contents = [b"", b"\xff\xfe", b"[]", b"null", b"{}", b"[" * 10**5, b'{"leaves": 1}']
    path = directory / "30" / rng.choice([*names, "state/manifest.ocdbt"])
    path.write_bytes(rng.choice(contents))
    _resum(directory / "30")


KINDS: tuple[Damage, ...] = (
    flipped_bit,
    truncation,
    zeroed_block,
    garbage_at_the_end,
    deleted_file,
    extra_file,
    swapped_files,
    swapped_steps,
    renamed_step,
    unreadable_file,
    symlink,
    named_pipe,
    unfinished,
    size_bomb_resummed,
    another_driver_resummed,
    nonsense_resummed,
)


def outcome(directory: Path, kind: Damage) -> str:
    """Returns what becomes of a run whose newest step was damaged.

    It is "detected", if the run goes on from an older step, the parameters of the best
    step are those of an older one or refused, and all that is restored is what was
    saved; else it says what went wrong.
    """
    expected = 10 if kind is swapped_steps else 20
    abstract = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), tree_of(0)
    )
    with failing_disk(), Checkpoints(directory) as checkpoints:
        newest = checkpoints.restore_newest(abstract)
        best = checkpoints.best_step()
    if newest is None or newest[0] != expected:
        return f"not detected: goes on from {newest and newest[0]}"
    try:
        with failing_disk():
            params = restore_params(directory, best, abstract["params"])
    except InputError:
        # Sound in itself, but of other sizes than the model's: a command refuses it.
        params = tree_of(expected)["params"]
    else:
        if best != expected:
            return f"not detected: the best step is {best}"
    right = tree_of(expected)
    for found, saved in ((newest[1], right), (params, right["params"])):
        if not all(jax.tree.leaves(jax.tree.map(np.array_equal, found, saved))):
            return "silently wrong"
    return "detected"


def count(cases: int, seed: int = 0) -> dict[str, dict[str, int]]:
    """Returns how often each kind of damage had which outcome."""
    counts: dict[str, dict[str, int]] = {kind.__name__: {} for kind in KINDS}
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as name:
        whole, damaged = Path(name, "whole"), Path(name, "damaged")
        save_steps(whole)
        for case in range(cases):
            kind = KINDS[case % len(KINDS)]
            shutil.rmtree(damaged, ignore_errors=True)
            shutil.copytree(whole, damaged)
            kind(damaged, rng)
            ours = counts[kind.__name__]
            found = outcome(damaged, kind)
            ours[found] = ours.get(found, 0) + 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=1_200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.getLogger("zoo").setLevel(
        logging.ERROR
    )  # a line for every step passed over
    started = time.monotonic()
    counts = count(arguments.cases, arguments.seed)
    detected = sum(ours.get("detected", 0) for ours in counts.values())
    for kind, ours in counts.items():
        print(f"{kind:24} {ours}")
    seconds = time.monotonic() - started
    print(
        f"{detected} of {arguments.cases} detected, an older step used; {seconds:.0f} s"
    )
    raise SystemExit(detected != arguments.cases)


if __name__ == "__main__":
    main()
