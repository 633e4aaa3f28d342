"""Trains on ten million pairs, and says what all processes of the run keep in memory.

The pairs are made of cheap templates. The run is the command that a user types, with a
tiny model, once with threads and once with two processes that make batches; the second
one finds the tokens of the first one in the cache. Counted is what the processes hold
for themselves (RssAnon and RssShmem of Linux): what is mapped from files the system can
let go of. Exits with 1 where that is more than 4 GB.

    python -m benchmarks.faults.corpus --pairs 10000000
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from zoo.data.cache import PARTIAL, VARIABLE

LIMIT = 4 * 10**9
SECONDS = 0.1  # between two looks at the memory
HELD_OUT = 64  # pairs to validate, and to test
SUBJECTS = ("my sister", "the old teacher", "our neighbour", "a young doctor")
VERBS = ("paints", "sells", "repairs", "remembers", "counts")
THINGS = ("red houses", "small boats", "green bicycles", "wooden chairs", "letters")
PLACES = ("in the harbour", "behind the school", "near the river", "at home")
LANGUAGES = "xx", "en"
# When the phases of a run end, by what it says.
READ, TOKENS, PLAN, STEPS = "read", "tokens", "plan", "steps"
SAID = {"pairs to train on": TOKENS, "updates an epoch": PLAN, ": validation": STEPS}


def pair(number: int) -> tuple[str, str]:
    """Returns a sentence and another order of its words, for each number a new one."""
    rest, words = number // 7, []
    for choices in (SUBJECTS, VERBS, THINGS, PLACES):
        words.append(choices[rest % len(choices)])
        rest //= len(choices)
    subject, verb, thing, place = words
    return (
        f"{subject} {verb} {number} {thing} {place}".upper(),
        f"{place} {subject} {verb} {number} {thing}",
    )


def write_corpus(folder: Path, pairs: int) -> None:
    """Writes so many pairs to train on, and a few to validate and to test."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = {"train": 0, "val": pairs, "test": pairs + HELD_OUT}
    sizes = {"train": pairs, "val": HELD_OUT, "test": HELD_OUT}
    for split, size in sizes.items():
        paths = [folder / f"{split}.{language}" for language in LANGUAGES]
        with paths[0].open("w") as source, paths[1].open("w") as target:
            for number in range(starts[split], starts[split] + size):
                one, other = pair(number)
                source.write(f"{one}\n")
                target.write(f"{other}\n")


def command(folder: Path, workdir: Path, workers: int, num_steps: int) -> list[str]:
    """Returns the command of a run with a tiny model."""
    source, target = LANGUAGES
    return [
        *(sys.executable, "-m", "experiments.translate.train", "files"),
        *(f"--data.folder={folder}", f"--data.source={source}"),
        *(f"--data.target={target}", "--data.max-length=64"),
        *("--model.vocab-size=2000", "--model.num-layers=1", "--model.num-heads=2"),
        *("--model.model-dim=16", "--model.mlp-dim=16"),
        *("--training.tokens-per-batch=1024", f"--training.num-steps={num_steps}"),
        *("--optimizer.warmup-steps=1", f"--hosts.workers={workers}"),
        f"--workdir={workdir}",
    ]


def resident(pid: int) -> int:
    """Returns the bytes that a process and those it has started hold for themselves."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        tasks = Path(f"/proc/{pid}/task").glob("*/children")
        children = {int(child) for task in tasks for child in task.read_text().split()}
    except OSError:  # it has ended
        return 0
    own = sum(
        1024 * int(line.split()[1])
        for line in lines
        if line.startswith(("RssAnon:", "RssShmem:"))
    )
    return own + sum(map(resident, children))


def measure(arguments: Sequence[str], cache: Path) -> tuple[int, dict[str, float]]:
    """Runs a command; returns the peak of its memory, and the seconds of its phases.

    Raises:
        SystemExit: the command has failed.
    """
    environment = {**os.environ, VARIABLE: str(cache), "PYTHONUNBUFFERED": "1"}
    ends, peak, started = {}, 0, time.monotonic()
    with subprocess.Popen(
        arguments, env=environment, stdout=subprocess.PIPE, text=True
    ) as run:

        def listen():
            for line in run.stdout or ():
                for said, phase in SAID.items():
                    if said in line:
                        ends.setdefault(phase, time.monotonic())

        listener = threading.Thread(target=listen)
        listener.start()
        while run.poll() is None:
            peak = max(peak, resident(run.pid))
            if READ not in ends and any(cache.glob(f"{PARTIAL}*")):
                ends[READ] = time.monotonic()
            time.sleep(SECONDS)
        listener.join()
    if run.returncode:
        raise SystemExit(f"the run has failed with {run.returncode}")
    seconds, last = {}, started
    for phase in (READ, TOKENS, PLAN, STEPS):
        if phase in ends:
            seconds[phase], last = ends[phase] - last, ends[phase]
    return peak, seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=10_000_000)
    parser.add_argument("--num-steps", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="of the text, default: a new one")
    arguments = parser.parse_args()
    largest = 0
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        write_corpus(folder, arguments.pairs)
        for workers in (0, 2):
            run = command(folder, folder / f"{workers}", workers, arguments.num_steps)
            peak, seconds = measure(run, folder / "cache")
            told = ", ".join(f"{phase} {took:.1f} s" for phase, took in seconds.items())
            print(f"{workers} workers: {peak / 1e9:.2f} GB; {told}", flush=True)
            largest = max(largest, peak)
    if largest > LIMIT:
        raise SystemExit(f"{largest:,} bytes are more than {LIMIT:,}")


if __name__ == "__main__":
    main()
