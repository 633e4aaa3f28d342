"""Progress of a run, on the terminal for a person and in `metrics.jsonl`."""

import time

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from zoo.training.records import Metrics


class Report:
    """Shows a progress bar and writes every measurement as a line of metrics.

    Where the output is no terminal, a line every half minute takes the bar's place.
    Use it as a context manager; it is the observer that `fit` tells.

    Args:
        unit: what a loss is a mean of, for example "token".
        batches_per_epoch: to say in which epoch an update was made.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        unit: str,
        first_step: int,
        num_steps: int,
        batches_per_epoch: int,
        console: Console,
    ):
        self._metrics, self._unit = metrics, unit
        self._batches_per_epoch = batches_per_epoch
        self._console = console
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=console,
        )
        self._last_line = time.monotonic()
        self._skipped = 0
        self._task = self._progress.add_task(
            "", total=num_steps, completed=first_step, values="compiling"
        )

    def __enter__(self) -> "Report":
        self._progress.start()
        return self

    def __exit__(self, *exception) -> None:
        self._progress.stop()

    def train(self, step: int, values: dict[str, float]) -> None:
        """Records training values: loss in nats, units a second."""
        values = dict(values)
        rate = values.pop("per_second")
        shown = f"{values['loss']:.3f} nats/{self._unit} {rate:,.0f} {self._unit}s/s"
        self._progress.update(self._task, completed=step, values=shown)
        if not self._console.is_terminal and time.monotonic() > self._last_line + 30:
            self._last_line = time.monotonic()
            self._console.print(f"step {step}: {shown}", highlight=False)
        if values.get("skipped", 0) > self._skipped:
            self._skipped = int(values["skipped"])
            self._console.print(
                f"step {step}: {self._skipped} updates of this run were skipped, whose "
                "loss or gradient was not finite or far too large",
                highlight=False,
            )
        self._write(step, "train", {**values, f"{self._unit}s_per_second": rate})

    def validation(self, step: int, values: dict[str, float]) -> None:
        """Records validation values and leaves a line of them on the terminal."""
        shown = ", ".join(f"{name} {value:.3f}" for name, value in values.items())
        self._console.print(f"step {step}: validation {shown}", highlight=False)
        self._write(step, "validation", values)

    def _write(self, step, split, values):
        values = dict(values)
        loss = values.pop("loss")
        self._metrics.write(
            step=step,
            epoch=round(step / self._batches_per_epoch, 3),
            split=split,
            **{f"loss_nats_per_{self._unit}": loss},
            **values,
        )
