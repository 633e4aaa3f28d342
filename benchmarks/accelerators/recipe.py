"""Trains the tiny Transformer of Wu et al. (2021) without a word from the host.

All tokens lie on the accelerator, and an update finds its batch there by the numbers of
its rows. As many updates as the recipe has between two evaluations are one program: a
scan, in which each update is that of its bucket, a switch. They are the updates that
`experiments.translate.train wu2021` takes, batch by batch and bit of dropout by bit of
dropout, but for rounding. What is left out are the translations that it looks at, and
its early end: all 8,000 updates are taken.

    python -m benchmarks.accelerators.recipe

reads the folder that `benchmarks.accelerators.prepare` has written, and writes times
and curves to accelerators-recipe.json, and the mean of the last parameters, as the
recipe averages them, to a folder beside it, which `experiments.translate.evaluate`
reads.
"""

import shutil
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.accelerators.command import parser_of, write
from zoo.catalogue import build, config_from_json
from zoo.data.batching import BatchPlan, Bucket, lengths_with_end, pad_batch
from zoo.errors import InputError
from zoo.losses import sequence_loss
from zoo.models.contract import Seq2Seq, initialize
from zoo.pretrained.parameters import save_params
from zoo.training.config import OptimizerConfig
from zoo.training.optimizers import make_optimizer
from zoo.training.records import PARAMS, read_json, write_json
from zoo.training.step import Step, init_state, make_train_step

FOLDER = Path("runs/accelerators/wu2021")
TOKENS = "tokens.npz"
KEPT = ("config.json", "tokenizer.model")
REPORT_EVERY = 10  # scans
Ids = Sequence[Sequence[int]]


@dataclass(frozen=True)
class Recipe:
    """What is trained, on what, and how.

    Attributes:
        train, validation: source, inputs and labels, [N + 1, …]; the last row is empty.
        scan: updates of one program, those between two evaluations.
        average: parameters after as many of the last scans, of which the mean is saved.
    """

    model: Seq2Seq
    optimizer: OptimizerConfig
    train: dict[str, np.ndarray]
    validation: dict[str, np.ndarray]
    plan: BatchPlan
    label_smoothing: float
    scan: int
    average: int
    seed: int


def read_recipe(folder: Path) -> Recipe:
    """Returns what `prepare` has written.

    Raises:
        InputError: there is no such folder.
    """
    if not (folder / TOKENS).exists():
        raise InputError(
            f"{folder / TOKENS}: no such file; write it where the text is, with python "
            "-m benchmarks.accelerators.prepare"
        )
    config = read_json(folder / "config.json")
    with np.load(folder / TOKENS) as file:
        arrays = dict(file)
    vocab_size = int(arrays["vocab_size"])
    model = build(config_from_json({**config["model"], "vocab_size": vocab_size}))
    train, validation = (
        {name: arrays[f"{split}_{name}"] for name in ("source", "inputs", "labels")}
        for split in ("train", "validation")
    )
    training = config["training"]
    pairs = train["source"][:-1], train["labels"][:-1]
    plan = BatchPlan(
        *((tokens != model.pad_id).sum(axis=1) for tokens in pairs),
        tokens_per_batch=training["tokens_per_batch"],
        num_buckets=training["num_buckets"],
        num_steps=training["num_steps"],
        seed=config["seed"],
    )
    return Recipe(
        model,
        OptimizerConfig(**{**config["optimizer"], "frozen": ()}),  # a list in JSON
        train,
        validation,
        plan,
        label_smoothing=training["label_smoothing"],
        scan=training["evaluation_interval"],
        average=config["decoding"]["average"],
        seed=config["seed"],
    )


def timetable(plan: BatchPlan, scan: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the bucket of each update, and its rows, [scans, updates of a scan, …].

    A row that holds no pair is -1. Updates after the last one are of a bucket more than
    there are.
    """
    num_scans = -(-len(plan) // scan)
    most = max(bucket.rows for bucket in plan.buckets)
    numbers = np.full(num_scans * scan, len(plan.buckets), np.int32)
    rows = np.full((num_scans * scan, most), -1, np.int32)
    for step in range(len(plan)):
        bucket, pairs = plan[step]
        numbers[step] = plan.buckets.index(bucket)
        rows[step, : len(pairs)] = pairs
    return numbers.reshape(num_scans, scan), rows.reshape(num_scans, scan, most)


def batch_of(
    tokens: dict[str, jax.Array], bucket: Bucket, rows: jax.Array
) -> dict[str, jax.Array]:
    """Returns the batch of these rows in the shape of a bucket; -1 is an empty row."""
    lengths = {"source": bucket.source_length}

    def take(name):
        length = lengths.get(name, bucket.target_length)
        found = tokens[name][rows[: bucket.rows], :length]
        missing = length - found.shape[1]  # buckets are rounded up to a multiple of 4
        return jnp.pad(found, ((0, 0), (0, max(0, missing))))

    return {name: take(name) for name in tokens}


def make_scan(step: Step, buckets: list[Bucket]) -> Any:
    """Returns scan(state, tokens, numbers, rows) -> (state, (loss, labels))."""

    def learn(bucket, state, tokens, rows):
        state, metrics = step(state, batch_of(tokens, bucket, rows))
        return state, (metrics["loss"], metrics["count"])

    def rest(state, tokens, rows):
        return state, (jnp.zeros(()), jnp.zeros(()))

    ways = [*(partial(learn, bucket) for bucket in buckets), rest]

    def scan(state, tokens, numbers, rows):
        def update(state, which):
            number, rows = which
            return jax.lax.switch(number, ways, state, tokens, rows)

        return jax.lax.scan(update, state, (numbers, rows))

    return scan


def train(
    recipe: Recipe, precision: Literal["float32", "bfloat16"]
) -> tuple[Any, dict[str, Any]]:
    """Returns the mean of the last parameters, and what was measured."""
    tokens, validation = jax.device_put((recipe.train, recipe.validation))
    numbers, rows = timetable(recipe.plan, recipe.scan)
    updates = jax.device_put(list(zip(numbers, rows, strict=True)))
    state, programs, compile_seconds = compiled(
        recipe, precision, tokens, validation, updates[0]
    )
    learn, measure = programs
    kept: deque[Any] = deque(maxlen=recipe.average)
    curve: list[Any] = []
    begun = time.perf_counter()
    for number, update in enumerate(updates, 1):
        state, learned = learn(state, tokens, *update)
        loss, params = measure(state.params, validation)
        kept.append(params)
        curve.append((learned, loss))
        if number % REPORT_EVERY == 0:
            # Of the scan before, so that the device always has work.
            loss, seconds = float(curve[-2][1]), time.perf_counter() - begun
            print(f"{number} scans, {loss:.3f} nats, {seconds:.1f} s", flush=True)
    jax.block_until_ready((state, kept))
    seconds = time.perf_counter() - begun
    curve = jax.device_get(curve)
    num_updates = len(recipe.plan)
    labels = float(sum(counts.sum() for (_, counts), _ in curve))
    mean = jax.tree.map(lambda *leaves: sum(leaves) / len(leaves), *kept)
    return mean, {
        "updates": num_updates,
        "precision": precision,
        "seconds": seconds,
        "compile_seconds": compile_seconds,
        "updates_per_second": num_updates / seconds,
        "labels_per_second": labels / seconds,
        "skipped_updates": int(state.faults.skipped),
        "curve": [
            {
                "updates": min(number * recipe.scan, num_updates),
                "loss": float((losses * counts).sum() / max(counts.sum(), 1)),
                "validation_loss": float(loss),
            }
            for number, ((losses, counts), loss) in enumerate(curve, 1)
        ],
    }


def compiled(
    recipe: Recipe, precision: Any, tokens: Any, validation: Any, update: Any
) -> tuple[Any, Any, float]:
    """Returns the first state, the programs of a scan and of validation, and seconds.

    The second returns the loss in nats a token, and a copy of the parameters: the next
    scan consumes those that it is given.
    """
    loss = partial(sequence_loss, recipe.model)
    optimizer = make_optimizer(recipe.optimizer, len(recipe.plan))
    init_key, dropout_key = jax.random.split(jax.random.key(recipe.seed))
    step = make_train_step(
        partial(loss, label_smoothing=recipe.label_smoothing),
        optimizer,
        dropout_key,
        precision=precision,
        clip_norm=recipe.optimizer.clip_norm,
    )

    def begin(key):
        return init_state(initialize(recipe.model, key), optimizer)

    def measure(params, batch):
        found = loss(params, batch, None)
        return found.plain / found.count, jax.tree.map(jnp.copy, params)

    begun = time.perf_counter()
    state = jax.block_until_ready(jax.jit(begin)(init_key))
    scan = jax.jit(make_scan(step, recipe.plan.buckets), donate_argnums=0)
    learn = scan.lower(state, tokens, *update).compile()
    check = jax.jit(measure).lower(state.params, validation).compile()
    return state, (learn, check), time.perf_counter() - begun


def padded(split: str, source_ids: Ids, target_ids: Ids) -> dict[str, np.ndarray]:
    """Returns source, inputs and labels of all pairs, [N + 1, …], by split and name.

    The last row is padding alone, for the empty rows of batches.
    """
    rows = Bucket(
        source_length=int(lengths_with_end(source_ids).max()),
        target_length=int(lengths_with_end(target_ids).max()),
        rows=len(source_ids) + 1,
    )
    arrays = pad_batch(source_ids, target_ids, rows)
    return {f"{split}_{name}": array for name, array in arrays.items()}


def write_toy(folder: Path) -> None:
    """Writes the folder of a recipe of seconds, without a tokenizer."""
    generator = np.random.default_rng(0)

    def random_pairs(number):
        lengths = generator.integers(1, 7, (2, number))
        return [
            [generator.integers(3, 20, length).tolist() for length in side]
            for side in lengths
        ]

    np.savez(
        folder / TOKENS,
        allow_pickle=False,
        vocab_size=np.int32(20),
        **padded("train", *random_pairs(40)),
        **padded("validation", *random_pairs(8)),
    )
    sizes = {"num_layers": 1, "model_dim": 8, "mlp_dim": 8, "num_heads": 2}
    config = {
        "model": {"family": "transformer", "vocab_size": 20, **sizes},
        "optimizer": {"warmup_steps": 2},
        "training": {
            "tokens_per_batch": 64,
            "num_buckets": 2,
            "num_steps": 10,
            "evaluation_interval": 4,
            "label_smoothing": 0.1,
        },
        "decoding": {"average": 2},
        "seed": 0,
    }
    write_json(folder / "config.json", config)


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    parser = parser_of("benchmarks.accelerators.recipe", __doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    parser.add_argument(
        "--precision", choices=("bfloat16", "float32"), default="bfloat16"
    )
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        if asked.toy:
            asked.folder = Path(scratch)
            write_toy(asked.folder)
        run(asked.folder, asked.output, asked.precision, toy=asked.toy)


def run(folder: Path, output: Path, precision: Any, *, toy: bool = False) -> None:
    """Trains what a folder holds, and writes what came of it.

    Raises:
        InputError: there is no such folder, or the output holds parameters already.
    """
    trained = output / "recipe"
    if (trained / PARAMS).exists():
        raise InputError(f"{trained / PARAMS} exists already; choose another --output")
    recipe = read_recipe(folder)
    params, measured = train(recipe, precision)
    write(output, "recipe", measured, toy=toy)
    trained.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        if (folder / name).exists():
            shutil.copyfile(folder / name, trained / name)
    save_params(params, trained / PARAMS)
    print(f"{measured['updates']} updates in {measured['seconds']:.1f} s, and")
    print(f"{measured['compile_seconds']:.1f} s before them to compile")


if __name__ == "__main__":
    from experiments.command import run as run_command

    run_command(main)
