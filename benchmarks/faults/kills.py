"""Kills training runs with SIGKILL at random moments, and starts them again.

Half of the kills come at any moment, from the start of the process on; the other half
after a new checkpoint, and while one is being written wherever that can be met. A run
must always go on, repeat no more than the interval between two checkpoints and what was
trained while the second one was written, and end with the parameters of a run that
nobody killed, bit for bit.

    python -m benchmarks.faults.kills --kills 50
    python -m benchmarks.faults.kills vqa --kills 50 --folder DIR

Each kill is told at once, and of each task one line at the end. What is in the folder
already is not done again.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import math
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import tensorstore

from zoo.checkpoint_files import DamagedCheckpoint, verify
from zoo.checkpoints import PARTIAL

INTERVAL = 20
COMMON = [
    "--optimizer.warmup-steps=5",
    f"--training.evaluation-interval={INTERVAL}",
    "--training.ema-decay=0.9",
]
TASKS = {
    "translate": [
        "--data.num-train=300",
        "--data.num-validation=2",
        "--data.num-test=2",
        "--model.vocab-size=600",
        "--model.model-dim=16",
        "--model.mlp-dim=16",
        "--model.num-heads=2",
        "--model.num-layers=1",
        "--training.tokens-per-batch=512",
        "--training.num-buckets=1",
    ],
    "vqa": [
        "sort-of-clevr",
        "--data.num-train=30",
        "--data.num-validation=8",
        "--data.num-test=4",
        "--model.model-dim=16",
        "--model.cnn-dim=8",
        "--model.word-dim=8",
        "--model.attention-dim=8",
        "--training.images-per-batch=8",
    ],
}

# Tiny models are compiled for longer than they train.
COMPILED_ONCE = {
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


@dataclass
class Count:
    """What came of the kills.

    Attributes:
        kills: runs killed.
        mid_save: of these, while a checkpoint was being written.
        damaged: finished checkpoints found damaged after a kill.
        most_repeated: the largest number of updates that a kill cost, without an
            interval where a checkpoint was cut off, counted to the last one in the log,
            which has every twentieth.
    """

    kills: int = 0
    mid_save: int = 0
    damaged: int = 0
    most_repeated: int = 0


def command(task: str, workdir: Path, num_steps: int, seed: int) -> list[str]:
    """Returns the command of a tiny run."""
    preset = [x for x in TASKS[task] if not x.startswith("-")]
    options = [x for x in TASKS[task] if x.startswith("-")]
    return [
        *(sys.executable, "-m", f"experiments.{task}.train", *preset, *options),
        *(*COMMON, f"--training.num-steps={num_steps}", f"--seed={seed}"),
        *("--workdir", str(workdir)),
    ]


def finished_steps(workdir: Path) -> list[int]:
    """Returns the checkpoints of a run, ascending."""
    directory = workdir / "checkpoints"
    names = [path.name for path in directory.glob("*")] if directory.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def parameters(workdir: Path) -> str:
    """Returns a digest of all arrays of the last checkpoint of a run."""
    # Orbax compresses in threads, and files may differ where arrays do not.
    step = finished_steps(workdir)[-1]
    digest = hashlib.sha256(str(step).encode())
    folder = workdir / "checkpoints" / str(step) / "state"
    store = {"driver": "ocdbt", "base": f"file://{folder.absolute()}/"}
    ends = b"/zarr.json"
    for key in sorted(tensorstore.KvStore.open(store).result().list().result()):
        if key.endswith(ends):
            path = key.removesuffix(ends).decode()
            array = {"driver": "zarr3", "kvstore": {**store, "path": f"{path}/"}}
            digest.update(tensorstore.open(array).result().read().result().tobytes())
    return digest.hexdigest()


def storm(
    task: str,
    workdir: Path,
    kills: int,
    num_steps: int,
    seed: int,
    *,
    count: Count | None = None,
    keep: Callable[[Count], None] = lambda count: None,
    until: float = math.inf,
) -> Count:
    """Trains to the end, killed so many times, or as often as the run is long.

    Args:
        count: what came of the kills before, which count as some of those.
        keep: is told after every kill.
        until: by `time.monotonic`, after which nothing is killed any more.
    """
    count = count or Count()
    rng = random.Random(f"{seed} {count.kills}")
    arguments = command(task, workdir, num_steps, seed)
    environment = COMPILED_ONCE | {"JAX_COMPILATION_CACHE_DIR": f"{workdir.parent}/jax"}
    reach = 10.0  # seconds from a start to its first checkpoint
    while True:
        before, started = max(finished_steps(workdir), default=0), time.monotonic()
        left, killed = _unfinished(workdir), False
        at_any_time = rng.random() < 0.5
        deadline = started + rng.uniform(0, 1.5 * reach)
        with subprocess.Popen(
            arguments,
            env=environment | os.environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        ) as run:
            while (
                count.kills < kills and time.monotonic() < until and run.poll() is None
            ):
                if at_any_time:
                    if killed := time.monotonic() >= deadline:
                        run.kill()
                        break
                elif max(finished_steps(workdir), default=0) > before:
                    reach = time.monotonic() - started
                    if rng.random() < 0.5:
                        time.sleep(rng.uniform(0, 0.5))
                    elif not _begins_to_save(run, workdir, left):
                        continue
                    time.sleep(rng.uniform(0, 0.03))
                    killed = True
                    run.kill()
                    break
                time.sleep(0.01)
            errors = run.communicate()[1].decode()
        if run.returncode == 0:
            return count
        if not killed or run.returncode != -signal.SIGKILL:
            raise SystemExit(
                f"unrecoverable after {count.kills} kills: ended with {run.returncode} "
                f"by itself: {errors}"
            )
        _look(workdir, count, bool(_unfinished(workdir) - left))
        keep(count)


def _begins_to_save(run: subprocess.Popen, workdir: Path, left: set) -> bool:
    """Waits for a checkpoint that is being written; False if the run ends before.

    Args:
        left: unfinished ones of before.
    """
    while run.poll() is None:
        if _unfinished(workdir) - left:
            return True
        time.sleep(0.001)
    return False


def _unfinished(workdir: Path) -> set[tuple[str, int]]:
    """Returns the checkpoints that are being written, or were when a run was killed."""
    found = set()
    for path in (workdir / "checkpoints").glob(f"{PARTIAL}[0-9]*"):
        with contextlib.suppress(FileNotFoundError):  # finished meanwhile
            found.add((path.name, path.stat().st_ino))
    return found


def _look(workdir: Path, count: Count, mid_save: bool) -> None:
    directory, steps = workdir / "checkpoints", finished_steps(workdir)
    count.kills += 1
    count.mid_save += mid_save
    for step in steps:
        try:
            verify(directory / str(step))
        except DamagedCheckpoint:
            count.damaged += 1
    path = workdir / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    if lines:  # there are none before the first interval
        done = int(lines[-1].partition('"step": ')[2].partition(",")[0])
        repeated = done - max(steps, default=0) - INTERVAL * mid_save
        count.most_repeated = max(count.most_repeated, repeated)


def suffer(task: str, folder: Path, kills: int, num_steps: int, until: float) -> bool:
    """Kills runs of a task until there were so many kills; prints what came of them.

    Returns:
        Whether there were as many before the time was over.
    """
    total, runs, began = Count(), 0, time.monotonic()
    for seed in itertools.count():
        if total.kills >= kills or (seed and time.monotonic() >= until):
            break
        place = folder / task / str(seed)
        place.mkdir(parents=True, exist_ok=True)
        count = _killed(task, place, kills - total.kills, num_steps, seed, until)
        runs += 1
        total = Count(
            total.kills + count.kills,
            total.mid_save + count.mid_save,
            total.damaged + count.damaged,
            max(total.most_repeated, count.most_repeated),
        )
    print(
        f"{task}: {total.kills} kills of {runs} runs, {total.mid_save} while a "
        f"checkpoint was written: 0 unrecoverable, 0 checkpoints damaged, final "
        f"parameters bit-equal, {total.most_repeated} updates repeated at most; "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    return total.kills >= kills


def _killed(task, place, kills, num_steps, seed, until) -> Count:
    """Returns what came of killing a run; goes on with what is in its folder."""
    record = place / "kills.json"
    known = json.loads(record.read_text()) if record.exists() else {}
    count = Count(**known.get("count", {}))
    if known.get("equal"):
        return count

    def write(**more):
        record.write_text(json.dumps({"count": asdict(count), **more}))

    def keep(count):
        write()
        print(f"{task}, seed {seed}: {count}", flush=True)

    storm(task, place / "whole", 0, num_steps, seed)
    left = {"count": count, "keep": keep, "until": until}
    storm(task, place / "killed", kills, num_steps, seed, **left)
    if parameters(place / "whole") != parameters(place / "killed"):
        raise SystemExit(f"{task}, seed {seed}: the final parameters differ")
    if count.damaged:
        raise SystemExit(f"{task}, seed {seed}: {count.damaged} checkpoints damaged")
    if count.most_repeated > INTERVAL:
        raise SystemExit(f"{task}: {count.most_repeated} updates were repeated")
    write(equal=True)
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", nargs="?", choices=[*TASKS, "both"], default="both")
    parser.add_argument("--kills", type=int, default=50, help="of each task")
    parser.add_argument("--num-steps", type=int, default=1_000)
    parser.add_argument("--minutes", type=float, default=40, help="at most, of all")
    parser.add_argument("--folder", type=Path, help="to go on in, if it was stopped")
    arguments = parser.parse_args()
    tasks = list(TASKS) if arguments.task == "both" else [arguments.task]
    began, missing = time.monotonic(), []
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.folder or Path(name)
        for number, task in enumerate(tasks, start=1):
            until = began + 60 * arguments.minutes * number / len(tasks)
            if not suffer(task, folder, arguments.kills, arguments.num_steps, until):
                missing.append(task)
    if missing:
        raise SystemExit(
            f"the time was over before {arguments.kills} kills of "
            f"{' and '.join(missing)}; the same --folder goes on"
        )


if __name__ == "__main__":
    main()
