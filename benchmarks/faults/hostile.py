"""Gives every reader of files what nobody should give it, and looks what it does.

Each class below is one way in which a file can be wrong, by accident or on purpose;
each case must end as a line that says what is wrong (an InputError), and only of the
classes in `MAY_BE_SOUND` in something that was read after all. Anything else is a
defect: another exception, a line that is no line, memory that grows without bound.

    python -m benchmarks.faults.hostile --cases 20
"""

import argparse
import gzip
import io
import json
import logging
import random
import resource
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import zoo
from benchmarks.faults import damage
from zoo.catalogue import config_to_json, model_config
from zoo.checkpoints import Checkpoints
from zoo.data.lines import read_lines
from zoo.data.tables import read_tsv
from zoo.data.text import read_pair_of_files
from zoo.data.tokenizer import Tokenizer, _signature
from zoo.data.vqa.answer_table import AnswerTable
from zoo.data.vqa.image_files import RegionFiles, read_image
from zoo.errors import InputError
from zoo.runs import read_config
from zoo.training.records import Metrics

# A case is a call that reads a file which was written for it.
Case = Callable[[], object]
MAX_MEGABYTES = 512  # that reading may add, for all cases together


def _written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _changed(content: bytes, rng: random.Random) -> bytes:
    """Returns content with some bytes changed, cut off, repeated or put in."""
    changed, edits = bytearray(content), rng.randrange(1, 8)
    while edits > 0 or changed == content:
        edits -= 1
        place = rng.randrange(len(changed) + 1)
        match rng.randrange(4):
            case 0:
                changed[place : place + 1] = rng.randbytes(1)
            case 1:
                del changed[place:]
            case 2:
                changed[place:place] = rng.randbytes(rng.randrange(1, 50))
            case 3:
                changed[place:place] = changed[: rng.randrange(len(changed) + 1)]
    return bytes(changed)


NONSENSE_JSON = (
    *(b"", b"\xff\xfe\x00", b"null", b"[]", b"1", b'"text"', b"{", b"{}x", b'{"a":}'),
    *(
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"1" * 10_000,
        b'{"a":' + b"9" * 9_000 + b"}",
    ),
    *(b"\x00" * 100, b'{"a": NaN, "a": }', b"{'a': 1}", b"\xef\xbb\xbf{", b'"' * 99),
    *(b'["a", "a"]', b'["a", 1]', b'[["a"]]', b'{"a\x01": 1}', b"-", b"1e999 x"),
)


def config_that_is_no_json(folder: Path, rng: random.Random) -> Iterator[Case]:
    for content in NONSENSE_JSON:
        _written(folder / "config.json", content)
        yield lambda: read_config(folder)


WRONG = (
    *(None, [], {}, "abc", "", True, -1, 0, 10**9, 10**400, 1.5, float("nan")),
    *([1, 2], [[]], {"a": 1}, "x" * 10**6, [-1, 2, 3], [10**9] * 3, "Infinity"),
)


def config_of_wrong_shape(folder: Path, rng: random.Random) -> Iterator[Case]:
    """Changes one part of a config, or one value in it, to what it cannot be."""
    model = _tokenizer()
    _written(folder / "tokenizer.model", model + _signature(model))
    _written(folder / "answers.json", b'["yes", "no"]')
    while True:
        config = model_config(rng.choice(zoo.list_models()))
        values: dict[str, Any] = {
            "model": config_to_json(config),
            "data": {"max_length": 64, "max_words": 16},
            "training": {"loss": "softmax"},
            "decoding": {"average": 1},
            "image_shape": [32, 32, 3],
        }
        place, name = values, rng.choice(list(values))
        if isinstance(place[name], dict) and rng.random() < 0.8:
            place = place[name]
            name = rng.choice(list(place))
        place[name] = rng.choice(WRONG)
        if rng.random() < 0.1:
            del place[name]
        _written(folder / "config.json", json.dumps(values).encode())
        yield lambda: zoo.load(folder)


def answers_that_are_no_list(folder: Path, rng: random.Random) -> Iterator[Case]:
    for content in NONSENSE_JSON:
        path = _written(folder / "answers.json", content)
        yield lambda path=path: AnswerTable.load(path)


def metrics_that_are_no_lines(folder: Path, rng: random.Random) -> Iterator[Case]:
    for content in NONSENSE_JSON:
        path = _written(folder / "metrics.jsonl", content + b"\n")
        yield lambda path=path: Metrics(path, after_step=5)


def text_that_is_no_text(folder: Path, rng: random.Random) -> Iterator[Case]:
    whole = "\n".join(["a line", "가나다", "the end"] * 20).encode()
    while True:
        content = whole[:10] + b"\xff" + _changed(whole, rng)
        path = _written(folder / "text", content)
        yield lambda path=path: read_lines(path)


def files_that_are_not_parallel(folder: Path, rng: random.Random) -> Iterator[Case]:
    while True:
        lines = [rng.choice(["a", "b c", "", "\t", "\x00", " "]) for _ in range(9)]
        source = _written(folder / "source", "\n".join(lines).encode())
        target = _written(folder / "target", b"x\n" * rng.choice([0, 1, 8, 10, 1_000]))
        yield lambda pair=(source, target): read_pair_of_files(*pair)


def tables_with_missing_cells(folder: Path, rng: random.Random) -> Iterator[Case]:
    while True:
        header = rng.choice(["en\tko", "en", "", "en\ten", "ko\ten\tfr", "\t", "en,ko"])
        rows = [rng.choice(["a\tb", "a", "\t", "a\tb\tc", ""]) for _ in range(5)]
        path = _written(folder / "table.tsv", "\n".join([header, *rows, ""]).encode())
        yield lambda path=path: read_tsv(path, "en", "ko")


def damaged_gzip(folder: Path, rng: random.Random) -> Iterator[Case]:
    whole = gzip.compress(b"a line of text\n" * 500)
    while True:
        path = _written(folder / "text.gz", _changed(whole, rng))
        yield lambda path=path: read_lines(path)


def _tokenizer() -> bytes:
    words = [f"{a}{b} {c}" for a in "abcdefgh" for b in "ijklm" for c in "nopq"]
    return Tokenizer.train(words, vocab_size=300)._model


def damaged_tokenizer(folder: Path, rng: random.Random) -> Iterator[Case]:
    model = _tokenizer()
    while True:
        content = _changed(model + _signature(model), rng)
        path = _written(folder / "tokenizer.model", content)
        yield lambda path=path: Tokenizer.load(path).encode(["a b"])


def tokenizer_signed_by_somebody_else(
    folder: Path, rng: random.Random
) -> Iterator[Case]:
    model = _tokenizer()
    tables = [
        b'{"tokens": "words", "lowercase": 1, "table": %s}' % table
        for table in (b"1", b"null", b"[1]", b'{"a": 1}', b'"abc"', b"[null]")
    ]
    contents = [b"", b"{}", b"{", b"{" * 10_000, b"\x00" * 99, *tables]
    while True:
        content = contents.pop() if contents else _changed(model, rng)
        path = _written(folder / "tokenizer.model", content + _signature(content))
        yield lambda path=path: Tokenizer.load(path).encode(["a b"])


def _picture(kind: str) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    Image.fromarray(noise).save(file, kind)
    return file.getvalue()


def damaged_picture(folder: Path, rng: random.Random) -> Iterator[Case]:
    whole = [_picture(kind) for kind in ("PNG", "JPEG", "WEBP")]
    while True:
        path = _written(folder / "picture", _changed(rng.choice(whole), rng))
        yield lambda path=path: read_image(path, 16, 16)


def picture_of_another_format(folder: Path, rng: random.Random) -> Iterator[Case]:
    kinds = ["GIF", "BMP", "TIFF", "PPM", "TGA", "EPS", "PCX", "ICO", "PDF", "SGI"]
    heads = [b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"GIF89a", b"\x00" * 64, b"BM"]
    contents = [_picture(kind) for kind in kinds] + heads
    contents += [rng.randbytes(200) for _ in range(10)]
    for content in contents:
        path = _written(folder / "picture", content)
        yield lambda path=path: read_image(path, 16, 16)


def _png(width: int, height: int, data: bytes) -> bytes:
    def chunk(kind, content):
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", data), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def picture_that_is_a_bomb(folder: Path, rng: random.Random) -> Iterator[Case]:
    data = zlib.compress(bytes(10_000_000))
    while True:
        width, height = (rng.choice([20_000, 10**6, 2**31 - 1]) for _ in range(2))
        path = _written(folder / "picture.png", _png(width, height, data))
        yield lambda path=path: read_image(path, 16, 16)


def _npz(name: str, content: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return file.getvalue()


def regions_that_are_none(folder: Path, rng: random.Random) -> Iterator[Case]:
    file = io.BytesIO()
    np.save(file, np.ones((8, 5), np.float32))
    whole = file.getvalue()
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], object), allow_pickle=True)
    contents = [
        _npz("x.npy", whole.replace(b"(8, 5)", b"(99999999, 999999)")),
        _npz("x.npy", pickled.getvalue()),
        _npz("x.npy", bytes(300_000_000)),
        _npz("y.npy", whole),
        whole,
    ]
    while True:
        content = contents.pop() if contents else _changed(_npz("x.npy", whole), rng)
        path = _written(folder / "regions.npz", content)
        yield lambda path=path: RegionFiles([path], 4, 8)[0]


def damaged_checkpoint(folder: Path, rng: random.Random) -> Iterator[Case]:
    kinds = [kind for kind in damage.KINDS if kind is not damage.swapped_steps]
    while True:
        directory = folder / f"case-{rng.random()}"
        with Checkpoints(directory) as checkpoints:
            tree = damage.tree_of(20)
            checkpoints.save(20, tree, loss=1.0, note={})
            checkpoints.save(30, tree, loss=1.0, note={})
        rng.choice(kinds)(directory, rng)
        yield lambda directory=directory: _newest(directory)


def _newest(directory: Path) -> None:
    """Restores the newest step, which whatever was done was done to."""
    with damage.failing_disk(), Checkpoints(directory) as checkpoints:
        checkpoints.restore(checkpoints.steps()[-1], damage.tree_of(0))


def what_is_no_file(folder: Path, rng: random.Random) -> Iterator[Case]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "broken").unlink(missing_ok=True)
    (folder / "broken").symlink_to(folder / "nowhere")
    readers = [read_lines, Tokenizer.load, AnswerTable.load]
    readers.append(lambda path: read_image(path, 8, 8))
    for path in (
        "/dev/zero",
        folder / "folder",
        folder / "broken",
        folder / "absent",
        folder / ("x" * 300),
    ):
        for reader in readers:
            yield lambda path=path, reader=reader: reader(path)


CLASSES = (
    config_that_is_no_json,
    config_of_wrong_shape,
    answers_that_are_no_list,
    metrics_that_are_no_lines,
    text_that_is_no_text,
    files_that_are_not_parallel,
    tables_with_missing_cells,
    damaged_gzip,
    damaged_tokenizer,
    tokenizer_signed_by_somebody_else,
    damaged_picture,
    picture_of_another_format,
    picture_that_is_a_bomb,
    regions_that_are_none,
    damaged_checkpoint,
    what_is_no_file,
)
# Of these a case may have come out sound: bytes that nothing looks at have changed, or
# chance has given every row its cells.
MAY_BE_SOUND = (
    tables_with_missing_cells,
    damaged_gzip,
    tokenizer_signed_by_somebody_else,
    damaged_picture,
    regions_that_are_none,
)


def outcome(case: Case) -> str:
    """Returns "refused", "read", or the defect that a case has shown."""
    try:
        case()
    except InputError as error:
        return "refused" if len(str(error).splitlines()) == 1 else "several lines"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "read"


def count(kind: Callable, cases: int, folder: Path, seed: int = 0) -> dict[str, int]:
    """Returns how often the cases of a class had which outcome."""
    counts: dict[str, int] = {}
    generated = kind(folder / kind.__name__, random.Random(seed))
    for _, case in zip(range(cases), generated, strict=False):
        found = outcome(case)
        counts[found] = counts.get(found, 0) + 1
    return counts


def defects(kind: Callable, counts: Mapping[str, int]) -> int:
    """Returns how many cases of a class ended as none of them may.

    >>> defects(damaged_picture, {"refused": 3, "read": 2, "several lines": 1})
    1
    >>> defects(damaged_checkpoint, {"refused": 3, "read": 2})
    2
    """
    fine = ("refused", "read") if kind in MAY_BE_SOUND else ("refused",)
    return sum(number for found, number in counts.items() if found not in fine)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.getLogger("zoo").setLevel(logging.ERROR)
    before, found = peak_megabytes(), 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in CLASSES:
            counts = count(kind, arguments.cases, Path(folder), arguments.seed)
            print(f"{kind.__name__:34} {counts}")
            found += defects(kind, counts)
    grown = peak_megabytes() - before
    print(f"{found} defects; the peak of memory grew by {grown:.0f} MB")
    raise SystemExit(found > 0 or grown > MAX_MEGABYTES)


if __name__ == "__main__":
    main()
