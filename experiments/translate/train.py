"""Trains a translator and says what it is worth.

Without a preset: phrases in English and Korean, some minutes on two CPU cores. The same
command again goes on where a stopped run stopped, or prints the result of a finished
one.
"""

import math
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import tyro

from experiments.command import run
from experiments.translate.config import DEFAULT_PRESET, PRESETS, Config

if TYPE_CHECKING:
    from rich.console import Console

    from zoo.data.text import ParallelText
    from zoo.data.tokenizer import Tokenizer

WATCHED = 200  # validation sentences that are translated at each evaluation


def main(arguments: list[str]) -> None:
    """Trains as the command line says."""
    if not arguments or arguments[0] not in (*PRESETS, "-h", "--help"):
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

    from zoo.training.records import open_run, read_json

    console = Console()
    open_run(config.workdir, config.to_json())
    result_path = config.workdir / "result.json"
    if result_path.exists():
        console.print(f"{config.workdir} is finished; this is its result.json:")
        result = read_json(result_path)
        console.print_json(data=result)
        return result
    started = time.monotonic()
    corpora = _read(config)
    console.print(
        f"{len(corpora.train):,} pairs to train on, {len(corpora.validation):,} to "
        f"validate and {len(corpora.test):,} to test; "
        f"{corpora.tokenizer.vocab_size:,} subwords"
    )
    step, seconds, num_params = _fit(config, corpora, started, console)
    return _test(
        config,
        corpora,
        console,
        step=step,
        params=num_params,
        seconds=lambda: seconds + time.monotonic() - started,
    )


@dataclass(frozen=True)
class Corpora:
    """The three texts of a run and the tokenizer of the first."""

    train: "ParallelText"
    validation: "ParallelText"
    test: "ParallelText"
    tokenizer: "Tokenizer"


def _read(config: Config) -> Corpora:
    """Reads the texts; trains the tokenizer on the first, or finds it in the folder."""
    from experiments.translate.corpus import load
    from zoo.data.tokenizer import Tokenizer

    splits = ("train", "validation", "test")
    texts = {split: load(config.data, split, config.seed) for split in splits}
    path = config.workdir / "tokenizer.model"
    if path.exists():
        tokenizer = Tokenizer.load(path)
    else:
        text = texts["train"]
        tokenizer = Tokenizer.train(
            [*text.source, *text.target],
            config.model.vocab_size,
            lowercase=config.data.lowercase,
        )
        tokenizer.save(path)
    return Corpora(**texts, tokenizer=tokenizer)


def _encode(config: Config, corpora: Corpora, split: str) -> tuple[list, list]:
    """Returns the ids of both sides; refuses a sentence that is too long."""
    from experiments.translate.corpus import where
    from zoo.data.batching import check_lengths, lengths_with_end

    text = getattr(corpora, split)
    sides = []
    names = where(config.data, split)
    for sentences, name in zip((text.source, text.target), names, strict=True):
        ids = corpora.tokenizer.encode(sentences)
        remedy = "remove or split it, or raise --data.max-length"
        limit = config.data.max_length
        check_lengths(lengths_with_end(ids), limit, name, remedy)
        sides.append(ids)
    return sides[0], sides[1]


def _fit(
    config: Config, corpora: Corpora, started: float, console: "Console"
) -> tuple[int, float, int]:
    """Trains to the last step; returns it, earlier seconds, and the parameters."""
    import jax

    from zoo.catalogue import build
    from zoo.checkpoints import Checkpoints
    from zoo.data.batching import BatchPlan, lengths_with_end, training_batches
    from zoo.models.contract import initialize
    from zoo.training.devices import make_driver
    from zoo.training.loop import Schedule, fit
    from zoo.training.optimizers import make_optimizer
    from zoo.training.progress import Report
    from zoo.training.records import Metrics
    from zoo.training.step import init_state, make_train_step

    training = config.training
    model = build(replace(config.model, vocab_size=corpora.tokenizer.vocab_size))
    source_ids, target_ids = _encode(config, corpora, "train")
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
    optimizer = make_optimizer(config.optimizer, training.num_steps)
    state = init_state(initialize(model, init_key), optimizer)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    console.print(
        f"{num_params:,} parameters, {plan.batches_per_epoch} updates an epoch, "
        f"batches of {', '.join(map(str, plan.buckets))}"
    )
    step = make_train_step(
        partial(_loss, model, smoothing=training.label_smoothing),
        optimizer,
        dropout_key,
    )
    with Checkpoints(config.workdir / "checkpoints") as checkpoints:
        seconds = 0.0
        if steps := checkpoints.steps():
            state = checkpoints.restore(steps[-1], state)
            seconds = checkpoints.note(steps[-1])["seconds"]
            console.print(f"goes on from step {steps[-1]}")
        first_step = int(state.step)

        def save(step, state, loss):
            note = {"seconds": seconds + time.monotonic() - started}
            checkpoints.save(step, state, loss=loss, note=note)

        report = Report(
            Metrics(config.workdir / "metrics.jsonl", first_step),
            first_step=first_step,
            num_steps=training.num_steps,
            batches_per_epoch=plan.batches_per_epoch,
            console=console,
        )
        with report:
            fit(
                make_driver(training.driver, step),
                state,
                training_batches(plan, source_ids, target_ids, first_step=first_step),
                Schedule(training.num_steps, 20, training.evaluation_interval),
                evaluate=_Validation(config, corpora, model),
                save=save,
                observer=report,
            )
    return training.num_steps, seconds, num_params


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

    def __init__(self, config: Config, corpora: Corpora, model):
        import jax

        from zoo.data.batching import evaluation_batches
        from zoo.data.text import ParallelText

        self._config, self._model = config, model
        self._tokenizer = corpora.tokenizer
        text = corpora.validation
        self._text = ParallelText(text.source[:WATCHED], text.target[:WATCHED])
        self._batches = evaluation_batches(
            *_encode(config, corpora, "validation"),
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
        data = self._config.data
        translator = Translator(
            self._model, state.params, self._tokenizer, data.max_length
        )
        translations = translate_all(translator, self._text.source, DecodingConfig())
        scores = score(self._text, translations, lowercase=data.lowercase)
        return {
            "loss": total / count,
            "bleu": scores.bleu,
            "exact_match": scores.exact_match,
        }


def _test(config, corpora, console, *, step, params, seconds) -> dict[str, Any]:
    """Translates the test set with the best checkpoint and writes what came of it."""
    from dataclasses import asdict

    from experiments.translate.config import name_of
    from experiments.translate.drawing import draw
    from experiments.translate.scoring import score, show, show_samples, translate_all
    from zoo.data.text import sha256
    from zoo.training.records import environment, write_json
    from zoo.translator import Translator

    translator = Translator.from_run(config.workdir)
    text = corpora.test
    translations = translate_all(translator, text.source, config.decoding)
    scores = score(text, translations, lowercase=config.data.lowercase)
    longest = max(range(min(len(text), WATCHED)), key=lambda n: len(translations[n]))
    picture = config.workdir / "attention.png"
    drawn = draw(translator, text.source[longest], translations[longest], picture)
    values = asdict(scores)
    signature = values.pop("signature")
    result = {
        "task": "translate",
        "model": type(translator.model).__name__,
        "preset": name_of(config),
        "data": config.to_json()["data"],
        "data_sha256": {
            split: sha256(getattr(corpora, split))
            for split in ("train", "validation", "test")
        },
        "split": "test",
        "n": len(text),
        "metrics": values,
        "intervals": {},
        "signature": signature,
        "seed": config.seed,
        "step": step,
        "params": params,
        "seconds": seconds(),
        **environment(),
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
