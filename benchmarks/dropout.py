"""Trains a little with the fast loss and dropout, and with plain ones, and compares.

The zoo computes the loss in parts that are dropped at once (`tied_cross_entropy`), and
draws dropout from a hash. The plain way holds all logits, and draws from `jax.random`.
Both take the same first 300 updates of a preset, three seeds each; the final loss of a
run is the mean over its last 50 updates, unsmoothed, and the difference of the means is
told in standard errors.

    python -m benchmarks.dropout multi30k --data.folder DIR
"""

import math
import statistics
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.command import choose, run
from experiments.translate.config import PRESETS, Config

if TYPE_CHECKING:
    from experiments.translate.corpus import Corpora
    from zoo.losses import TokenLoss

NUM_UPDATES, LAST = 300, 50
SEEDS = (0, 1, 2)
OUTPUT = Path("runs/benchmarks/dropout.json")


def plain_loss(
    model: Any, params: Any, batch: Any, key: Any, *, label_smoothing: float
) -> "TokenLoss":
    """Returns what `zoo.losses.sequence_loss` does, by way of all logits."""
    from zoo.losses import label_smoothed_cross_entropy

    logits = model.apply(
        {"params": params},
        batch["source"],
        batch["inputs"],
        deterministic=False,
        rngs={"dropout": key},
    )
    labels = batch["labels"]
    valid = labels != model.pad_id
    return label_smoothed_cross_entropy(logits, labels, valid, label_smoothing)


@contextmanager
def plain_dropout() -> Iterator[None]:
    """Draws dropout from `jax.random` in what is traced meanwhile."""
    import jax

    from zoo.layers import dropout

    hashed = dropout.hashed_bits
    dropout.hashed_bits = lambda key, shape: jax.random.bits(key, shape, "uint32")
    try:
        yield
    finally:
        dropout.hashed_bits = hashed


def final_loss(
    config: Config, corpora: "Corpora", num_updates: int, *, fast: bool
) -> float:
    """Returns the mean loss of the last updates, in nats a token."""
    import jax

    from experiments.translate.task import task
    from zoo.catalogue import build
    from zoo.training.optimizers import make_optimizer
    from zoo.training.step import init_state, make_train_step

    vocab_size = corpora.tokenizer.vocab_size
    model = build(replace(config.model, vocab_size=vocab_size))
    learned = task(config, corpora, model=model)
    loss = partial(plain_loss, model, label_smoothing=config.training.label_smoothing)
    optimizer = make_optimizer(config.optimizer, config.training.num_steps)
    init_key, dropout_key = jax.random.split(jax.random.key(config.seed))
    state = init_state(jax.jit(learned.init)(init_key), optimizer)
    make_step = partial(
        make_train_step,
        learned.loss if fast else loss,
        optimizer,
        clip_norm=config.optimizer.clip_norm,
    )
    # The key is an argument, so that the program is the same for every seed.
    step = jax.jit(lambda key, *arguments: make_step(key)(*arguments), donate_argnums=1)
    measured = []
    with (
        nullcontext() if fast else plain_dropout(),
        closing(learned.batches(0)) as batches,
    ):
        for _, batch in zip(range(num_updates), batches, strict=False):
            state, metrics = step(dropout_key, state, batch)
            measured.append(metrics)
    last = jax.device_get(measured)[-LAST:]
    total = sum(float(one["loss"]) * float(one["count"]) for one in last)
    return total / sum(float(one["count"]) for one in last)


def summary(fast: Sequence[float], plain: Sequence[float]) -> dict[str, Any]:
    """Returns means, and their difference over its standard error."""
    means = statistics.fmean(fast), statistics.fmean(plain)
    variances = [statistics.variance(losses) / len(losses) for losses in (fast, plain)]
    error = math.sqrt(sum(variances))
    return {
        "fast": list(fast),
        "plain": list(plain),
        "fast_mean": means[0],
        "plain_mean": means[1],
        "standard_error": error,
        "difference_in_standard_errors": abs(means[0] - means[1]) / error,
    }


def compare(
    config: Config,
    *,
    num_updates: int = NUM_UPDATES,
    seeds: Sequence[int] = SEEDS,
    output: Path = OUTPUT,
) -> None:
    """Trains both ways with each seed; prints and writes what came of it."""
    from experiments.translate.corpus import prepare
    from zoo.training.records import environment, write_json

    corpora = prepare(config)
    losses: dict[bool, list[float]] = {True: [], False: []}
    for seed in seeds:
        for fast, found in losses.items():
            seeded = replace(config, seed=seed)
            found.append(final_loss(seeded, corpora, num_updates, fast=fast))
            way = "fast" if fast else "plain"
            print(f"seed {seed}, {way}: {found[-1]:.4f} nats a token", flush=True)
    result = summary(losses[True], losses[False])
    output.parent.mkdir(parents=True, exist_ok=True)
    write_json(output, {"environment": environment(), **result})
    apart = result["difference_in_standard_errors"]
    print(f"the means differ by {apart:.2f} standard errors")


def main(arguments: list[str]) -> None:
    """Compares as the command line says."""
    compare(
        choose(
            PRESETS,
            "multi30k",
            arguments,
            prog="python -m benchmarks.dropout",
            description=__doc__,
        )
    )


if __name__ == "__main__":
    run(main)
