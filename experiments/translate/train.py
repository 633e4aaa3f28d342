"""Trains a translator and says what it is worth.

Without a preset: phrases in English and Korean, some minutes on two CPU cores. The same
command again goes on where a stopped run stopped, or prints the result of a finished
one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import tyro

from experiments.command import run
from experiments.translate.config import DEFAULT_PRESET, PRESETS, Config
from zoo.errors import unknown

if TYPE_CHECKING:
    from rich.console import Console

    from experiments.translate.corpus import Corpora

WATCHED = 200  # validation sentences that are translated at each evaluation


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in PRESETS:
        raise unknown("preset", first, PRESETS)
    if first not in (*PRESETS, "-h", "--help"):
        arguments = [DEFAULT_PRESET, *arguments]
    config = tyro.extras.overridable_config_cli(
        PRESETS,
        prog="python -m experiments.translate.train",
        description=__doc__,
        args=arguments,
    )
    train(config)


def train(config: Config) -> dict[str, Any]:
    """Trains, tests and fills the run's folder; returns the result.

    Raises:
        InputError: the text, the config or the folder is not usable.
    """
    from rich.console import Console

    from experiments.translate.corpus import prepare
    from zoo.training.optimizers import make_optimizer
    from zoo.training.records import environment, open_run, read_json

    console = Console()
    started = time.monotonic()
    if (config.workdir / "config.json").exists():
        open_run(config.workdir, config.to_json())
    result_path = config.workdir / "result.json"
    if result_path.exists():
        console.print(f"{config.workdir} is finished; this is its result.json:")
        result = read_json(result_path)
        console.print_json(data=result)
        return result
    corpora = prepare(config)
    console.print(
        f"{len(corpora.train):,} pairs to train on, {len(corpora.validation):,} to "
        f"validate and {len(corpora.test):,} to test; "
        f"{corpora.tokenizer.vocab_size:,} subwords"
    )
    optimizer = make_optimizer(config.optimizer, config.training.num_steps)
    open_run(config.workdir, config.to_json())
    corpora.tokenizer.save(config.workdir / "tokenizer.model")
    made_by = environment()  # now: the code may change while the run goes on
    fitted = _fit(config, corpora, optimizer, started, console)
    return _test(config, corpora, console, fitted, made_by)


@dataclass(frozen=True)
class Fitted:
    """What training leaves beside its checkpoints.

    Attributes:
        step: updates done.
        params: their number.
        clock: returns the seconds spent on the run, interruptions not counted.
    """

    step: int
    params: int
    clock: Callable[[], float]


def _fit(
    config: Config, corpora: "Corpora", optimizer, started: float, console: "Console"
) -> Fitted:
    """Trains to the last step, from the newest checkpoint if there is one."""
    import jax

    from zoo.catalogue import build
    from zoo.checkpoints import Checkpoints
    from zoo.data.batching import BatchPlan, lengths_with_end, training_batches
    from zoo.models.contract import initialize
    from zoo.training.devices import make_driver
    from zoo.training.loop import Schedule, fit
    from zoo.training.progress import Report
    from zoo.training.records import Metrics
    from zoo.training.step import init_state, make_train_step

    training = config.training
    model = build(replace(config.model, vocab_size=corpora.tokenizer.vocab_size))
    source_ids, target_ids = corpora.train_ids
    plan = BatchPlan(
        lengths_with_end(source_ids),
        lengths_with_end(target_ids),
        tokens_per_batch=training.tokens_per_batch,
        num_buckets=training.num_buckets,
        num_steps=training.num_steps,
        seed=config.seed,
        rows_multiple=math.lcm(8, jax.local_device_count()),
    )
    init_key, dropout_key = jax.random.split(jax.random.key(config.seed))
    state = init_state(initialize(model, init_key), optimizer)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    shapes = ", ".join(
        f"{bucket.rows} x ({bucket.source_length} + {bucket.target_length})"
        for bucket in plan.buckets
    )
    console.print(
        f"{num_params:,} parameters, {plan.batches_per_epoch} updates an epoch, "
        f"batches of {shapes} tokens"
    )
    step = make_train_step(
        partial(_loss, model, smoothing=training.label_smoothing),
        optimizer,
        dropout_key,
    )
    with Checkpoints(config.workdir / "checkpoints") as checkpoints:
        before = 0.0
        if steps := checkpoints.steps():
            state = checkpoints.restore(steps[-1], state)
            before = checkpoints.note(steps[-1])["seconds"]
            console.print(f"goes on from step {steps[-1]}")
        first_step = int(state.step)

        def clock():
            return before + time.monotonic() - started

        def save(step, state, loss):
            checkpoints.save(step, state, loss=loss, note={"seconds": clock()})

        report = Report(
            Metrics(config.workdir / "metrics.jsonl", first_step),
            first_step=first_step,
            num_steps=training.num_steps,
            batches_per_epoch=plan.batches_per_epoch,
            console=console,
        )
        if first_step < training.num_steps:
            with report:
                fit(
                    make_driver(training.driver, step),
                    state,
                    training_batches(
                        plan, source_ids, target_ids, first_step=first_step
                    ),
                    Schedule(training.num_steps, 20, training.evaluation_interval),
                    evaluate=_Validation(config, corpora, model),
                    save=save,
                    observer=report,
                )
    return Fitted(training.num_steps, num_params, clock)


def _loss(model, params, batch, key, *, smoothing):
    """Returns the loss of a batch; without a key, without dropout."""
    from zoo.losses import tied_cross_entropy

    features = model.apply(
        {"params": params},
        batch["source"],
        batch["inputs"],
        deterministic=key is None,
        rngs=None if key is None else {"dropout": key},
        method="features",
    )
    table = model.apply({"params": params}, method="output_table")
    labels = batch["labels"]
    return tied_cross_entropy(
        features, table, labels, labels != model.pad_id, smoothing
    )


class _Validation:
    """Measures a state: loss on all, scores of greedy translations of some."""

    def __init__(self, config: Config, corpora: "Corpora", model):
        import jax

        from zoo.data.batching import evaluation_batches
        from zoo.data.text import ParallelText

        self._model, self._tokenizer = model, corpora.tokenizer
        self._data = config.data
        text = corpora.validation
        self._watched = ParallelText(text.source[:WATCHED], text.target[:WATCHED])
        self._batches = evaluation_batches(
            *corpora.validation_ids,
            tokens_per_batch=config.training.tokens_per_batch,
            num_buckets=1,
        )
        self._loss = jax.jit(partial(_loss, model, key=None, smoothing=0.0))

    def __call__(self, state) -> dict[str, float]:
        from experiments.translate.config import DecodingConfig
        from experiments.translate.scoring import score, translate_all
        from zoo.translator import Translator

        total = count = 0.0
        for _, batch in self._batches:
            loss = self._loss(state.params, batch)
            total, count = total + float(loss.plain), count + float(loss.count)
        translator = Translator(
            self._model, state.params, self._tokenizer, self._data.max_length
        )
        translations = translate_all(translator, self._watched.source, DecodingConfig())
        scores = score(self._watched, translations, lowercase=self._data.lowercase)
        return {
            "loss": total / count,
            "bleu": scores.bleu,
            "exact_match": scores.exact_match,
        }


def _test(
    config: Config,
    corpora: "Corpora",
    console: "Console",
    fitted: Fitted,
    made_by: dict[str, Any],
) -> dict[str, Any]:
    """Translates the test set with the best checkpoint and writes what came of it."""
    from experiments.translate.config import name_of
    from experiments.translate.drawing import draw
    from experiments.translate.scoring import score, show, show_samples, translate_all
    from zoo.training.records import write_json
    from zoo.translator import Translator

    translator = Translator.from_run(config.workdir)
    text = corpora.test
    translations = translate_all(translator, text.source, config.decoding)
    scores = score(text, translations, lowercase=config.data.lowercase)
    picture = config.workdir / "attention.png"
    shown = max(range(min(len(text), WATCHED)), key=lambda n: len(text.target[n]))
    drawn = draw(translator, text.source[shown], translations[shown], picture)
    metrics = asdict(scores)
    signature = metrics.pop("signature")
    result = {
        "task": "translate",
        "model": type(translator.model).__name__,
        "preset": name_of(config),
        "data": config.to_json()["data"],
        "data_sha256": corpora.sha256(),
        "split": "test",
        "n": len(text),
        "metrics": metrics,
        "intervals": {},
        "signature": signature,
        "seed": config.seed,
        "step": fitted.step,
        "params": fitted.params,
        "seconds": fitted.clock(),
        **made_by,
    }
    write_json(config.workdir / "result.json", result)
    show_samples(console, text, translations)
    show(console, scores)
    if drawn:
        console.print(f"attention over one sentence: {picture}")
    console.print(
        f"{result['seconds']:.0f} s in all; result: {config.workdir / 'result.json'}\n"
        "translate with: python -m experiments.translate.translate "
        f'--model {config.workdir} "…"'
    )
    return result


if __name__ == "__main__":
    run(main)
