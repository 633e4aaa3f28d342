"""Gives the commands what `benchmarks.faults.hostile` gives the readers of files.

Each case is a process of its own, as a user starts it: it must end with a status other
than 0 and a last line that says what is wrong, or have read what was sound after all,
and take at most 512 MB more than the same command takes for a sound file.

    python -m benchmarks.faults.hostile_commands --cases 2
"""

import argparse
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.faults import damage, hostile
from benchmarks.faults.kills import command as training

WEIGHTS = Path(__file__).parents[2] / "notebooks" / "weights"
TRANSLATOR, ANSWERER = WEIGHTS / "phrases-transformer", WEIGHTS / "easy-vqa"


def translate(model: Path) -> list[str]:
    """Returns the arguments that make a run translate."""
    return ["experiments.translate.translate", "--model", str(model), "10 days"]


def score(source: Path, target: Path) -> list[str]:
    """Returns the arguments that score a sound translator on two files."""
    command = ["experiments.translate.evaluate", "--model", str(TRANSLATOR)]
    return [*command, "--source", str(source), "--reference", str(target)]


def learn(table: Path) -> list[str]:
    """Returns the arguments that train on a table."""
    files = [f"--data.{split}={table}" for split in ("train", "validation", "test")]
    command = ["experiments.translate.train", "tsv", *files, "--training.num-steps=2"]
    options = ["--data.source=en", "--data.target=ko", "--optimizer.warmup-steps=1"]
    options += ["--model.vocab-size=300", "--model.num-layers=1"]
    return [*command, *options, "--workdir", str(table.parent / "run")]


def ask(picture: Path, model: Path = ANSWERER) -> list[str]:
    """Returns the arguments that ask about a picture."""
    question = "what color is the shape?"
    return ["experiments.vqa.answer", str(picture), question, "--model", str(model)]


def beside(model: Path, file: Path) -> Path:
    """Returns a copy of a model with this file in the place of its own."""
    copy = file.parent / "model"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(model, copy)
    shutil.copy(file, copy)
    return copy


def sound_picture(folder: Path) -> Path:
    return hostile._written(folder / "sound.png", hostile._picture("PNG"))


# What is done with the folder that a class has written its file to.
COMMANDS: dict[Callable, Callable[[Path], list[str]]] = {
    hostile.config_that_is_no_json: lambda folder: translate(
        beside(TRANSLATOR, folder / "config.json")
    ),
    hostile.config_of_wrong_shape: lambda folder: translate(
        beside(TRANSLATOR, folder / "config.json")
    ),
    hostile.answers_that_are_no_list: lambda folder: ask(
        sound_picture(folder), beside(ANSWERER, folder / "answers.json")
    ),
    hostile.text_that_is_no_text: lambda folder: score(
        folder / "text", folder / "text"
    ),
    hostile.files_that_are_not_parallel: lambda folder: score(
        folder / "source", folder / "target"
    ),
    hostile.tables_with_missing_cells: lambda folder: learn(folder / "table.tsv"),
    hostile.damaged_gzip: lambda folder: score(folder / "text.gz", folder / "text.gz"),
    hostile.damaged_tokenizer: lambda folder: translate(
        beside(TRANSLATOR, folder / "tokenizer.model")
    ),
    hostile.tokenizer_signed_by_somebody_else: lambda folder: translate(
        beside(TRANSLATOR, folder / "tokenizer.model")
    ),
    hostile.damaged_picture: lambda folder: ask(folder / "picture"),
    hostile.picture_of_another_format: lambda folder: ask(folder / "picture"),
    hostile.picture_that_is_a_bomb: lambda folder: ask(folder / "picture.png"),
}


def outcome(arguments: list[str], limit: float) -> str:
    """Returns "refused", "read", or what the command did wrong.

    Args:
        limit: megabytes that it may take.
    """
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=errors,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read().strip()
    megabytes = used.ru_maxrss / 1024
    if megabytes > limit:
        return f"{megabytes:.0f} MB"
    if process.returncode == 0:
        return "read"
    # What is passed over, such as a damaged checkpoint, has a line of its own before.
    cause = said.rpartition("\n")[2]
    told = cause.startswith("error: ") and "Traceback" not in said
    if process.returncode == 2 and told:
        return "refused"
    return f"status {process.returncode}: {said[-300:]}"


def megabytes_of_sound(folder: Path) -> float:
    """Returns the most that the commands take for what nothing is wrong with."""
    text = hostile._written(folder / "sound.txt", b"10 days\n")
    rows = b"".join(b"%d days\t%x times\n" % (i, i) for i in range(500))
    table = hostile._written(folder / "sound.tsv", b"en\tko\n" + rows)
    arguments = [translate(TRANSLATOR), score(text, text), ask(sound_picture(folder))]
    for one in (*arguments, learn(table)):
        found = outcome(one, limit=float("inf"))
        if found != "read":
            raise SystemExit(f"{' '.join(one)}: {found}")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def checkpoints(folder: Path, rng: random.Random, cases: int) -> list[list[str]]:
    """Returns commands that translate with runs whose only checkpoint is damaged."""
    whole = folder / "whole"
    # Damage is done to step 30, and here no older one is left.
    subprocess.run(training("translate", whole, 30, 0), check=True, capture_output=True)
    shutil.rmtree(whole / "checkpoints" / "20")
    kinds = (damage.flipped_bit, damage.truncation, damage.deleted_file)
    commands = []
    for number, kind in enumerate(rng.choices(kinds, k=cases)):
        shutil.copytree(whole, folder / f"{number}")
        kind(folder / f"{number}" / "checkpoints", rng)
        commands.append(translate(folder / f"{number}"))
    return commands


def no_files(folder: Path, cases: int) -> list[list[str]]:
    """Returns commands that are given what is no file."""
    paths = [Path("/dev/zero"), folder, folder / "absent", Path("/dev/zero")]
    readers = (ask, translate, learn, lambda path: score(path, path))
    pairs = zip(paths, readers, strict=True)
    return [reader(path) for path, reader in pairs][:cases]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, wrong = random.Random(arguments.seed), 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limit = megabytes_of_sound(folder) + hostile.MAX_MEGABYTES

        def tell(kind: str, found: list[str], sound: bool) -> int:
            print(f"{kind:34} {found}", flush=True)
            fine = ("refused", "read") if sound else ("refused",)
            return sum(one not in fine for one in found)

        for kind, command in COMMANDS.items():
            place = folder / kind.__name__
            found = []
            for _, _ in zip(range(arguments.cases), kind(place, rng), strict=False):
                found.append(outcome(command(place), limit))
            wrong += tell(kind.__name__, found, kind in hostile.MAY_BE_SOUND)
        for kind, commands in {
            "damaged_checkpoint": checkpoints(folder, rng, arguments.cases),
            "what_is_no_file": no_files(folder, arguments.cases),
        }.items():
            wrong += tell(kind, [outcome(one, limit) for one in commands], sound=False)
    print(f"{wrong} defects; at most {limit:.0f} MB were allowed")
    raise SystemExit(wrong > 0)


if __name__ == "__main__":
    main()
