"""The end of a run: its test set translated, scored and written down."""

from dataclasses import asdict
from typing import Any

from rich.console import Console

from experiments.translate.config import Config, name_of
from experiments.translate.corpus import Corpora
from experiments.translate.drawing import draw
from experiments.translate.evaluate import write_lines
from experiments.translate.scoring import (
    count,
    intervals,
    scores_of,
    show,
    show_samples,
    translate_all,
)
from experiments.translate.validation import WATCHED
from zoo.checkpoint_steps import SavedSteps
from zoo.training.records import write_json
from zoo.training.run import Fitted
from zoo.translation.translator import Translator


def conclude(
    config: Config,
    corpora: Corpora,
    console: Console,
    fitted: Fitted,
    made_by: dict[str, Any],
) -> dict[str, Any]:
    """Translates the test set, and writes `test.txt`, a picture and `result.json`.

    A run that ended early has perhaps fewer checkpoints than are to be averaged; then
    it is tested with those that it has, and the result says how many they are.
    """
    workdir, text = config.workdir, corpora.test
    saved = SavedSteps(workdir / "checkpoints")
    averaged = len(saved.last_steps(config.decoding.average)) or 1
    translator = Translator.from_run(workdir, average=averaged)
    translations = translate_all(translator, text.source, config.decoding)
    write_lines(workdir / "test.txt", translations)
    counts = count(
        translations,
        text.target,
        lowercase=config.data.lowercase,
        tokenize=config.data.bleu_tokenize,
    )
    scores = scores_of(counts, text.category)
    picture = workdir / "attention.png"
    shown = max(range(min(len(text), WATCHED)), key=lambda n: len(text.target[n]))
    drawn = draw(translator, text.source[shown], translations[shown], picture)
    metrics = asdict(scores)
    signature = metrics.pop("signature")
    result = {
        "task": "translate",
        "model": type(translator.model).__name__,
        "preset": name_of(config),
        "data": config.to_json()["data"],
        "data_sha256": corpora.sha256,
        "split": "test",
        "n": len(text),
        "metrics": metrics,
        "intervals": intervals(counts),
        "signature": signature,
        "seed": config.seed,
        "step": fitted.step,
        "averaged": averaged,
        "params": fitted.params,
        "seconds": fitted.clock(),
        **made_by,
    }
    write_json(workdir / "result.json", result)
    show_samples(console, text, translations)
    show(console, scores)
    if drawn:
        console.print(f"attention over one sentence: {picture}")
    console.print(
        f"{result['seconds']:.0f} s in all; result: {workdir / 'result.json'}\n"
        "translate with: python -m experiments.translate.translate "
        f'--model {workdir} "…"'
    )
    return result
