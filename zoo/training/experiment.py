"""An experiment from its config to its result, whatever it is that is learned.

Checkpoints are worth something only beside the data that they were made from: which
answer a class is, which words a token is, and which rows have been seen. So a run keeps
what its data were when it was begun, writes what stands beside its checkpoints that
one time, and is refused on other data before anything is written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from rich.console import Console

from zoo.checkpoint_steps import SavedSteps
from zoo.errors import InputError
from zoo.training import records
from zoo.training.alone import alone
from zoo.training.config import OptimizerConfig, TrainingConfig
from zoo.training.hosts import agree, by_first, fingerprint
from zoo.training.run import Fitted, Task, finished, train_to_end

DATA = "data.json"


@runtime_checkable
class ExperimentConfig(Protocol):
    """What every experiment is told."""

    @property
    def workdir(self) -> Path:
        """The folder of the run."""
        ...

    @property
    def seed(self) -> int:
        """Of parameters, dropout and the order of the data."""
        ...

    @property
    def training(self) -> TrainingConfig:
        """How long, in which batches, on which devices."""
        ...

    @property
    def optimizer(self) -> OptimizerConfig:
        """What turns gradients into updates."""
        ...

    def to_json(self) -> dict[str, Any]:
        """Returns what makes the run what it is."""
        ...


@dataclass(frozen=True)
class Experiment:
    """What an experiment comes to once its data are read.

    Attributes:
        fingerprint: of the data and all that is made of them, in hexadecimal.
        save: writes what its checkpoints need beside them into the run's folder.
        test: uses what was fitted, on all devices of all hosts.
        conclude: returns the result, given what the test gave, what was fitted, and
            where that was made.
    """

    task: Task
    fingerprint: str
    save: Callable[[], None]
    test: Callable[[], Any]
    conclude: Callable[[Any, Fitted, dict[str, Any]], dict[str, Any]]


def run_to_end(
    config: ExperimentConfig,
    prepare: Callable[[], Experiment],
    *,
    started: float,
    console: Console,
    keep_last: int = 2,
) -> dict[str, Any] | None:
    """Trains, tests and fills the run's folder; returns the result.

    Of several hosts, which must all call this, the first one has it.

    Args:
        prepare: reads the data, and writes nothing.
        started: when this process began, by `time.monotonic`.
        keep_last: checkpoints that are kept beside the best one.

    Raises:
        InputError: the data, the config or the folder is not usable.
        SystemExit: as `train_to_end`.
    """
    workdir, values = config.workdir, config.to_json()
    agree("config", lambda: fingerprint(values))
    result = finished(workdir, values, console)
    if result is not None:
        return result
    experiment = prepare()
    agree("data", lambda: experiment.fingerprint)
    with alone(workdir):
        # Another command may have begun, or ended, this run while this one prepared.
        result = finished(workdir, values, console)
        if result is not None:
            return result
        require_same_data(workdir, experiment.fingerprint)
        by_first(
            "begun",
            lambda: begin(workdir, values, experiment.fingerprint, experiment.save),
        )
        # Now, since the code may change while the run goes on.
        made_by = records.environment()
        fitted = train_to_end(
            workdir,
            experiment.task,
            config.training,
            config.optimizer,
            seed=config.seed,
            started=started,
            console=console,
            keep_last=keep_last,
        )
        tested = experiment.test()
        return by_first(
            "concluded", lambda: experiment.conclude(tested, fitted, made_by)
        )


def require_same_data(workdir: Path, fingerprint: str) -> None:
    """Does nothing if a run was begun on these data, or keeps nothing of its data.

    Raises:
        InputError: it was begun on others.
    """
    path = workdir / DATA
    if not path.exists():
        return
    found = records.read_json(path).get("sha256")
    if found != fingerprint:
        raise InputError(
            f"{workdir} holds a run on other data ({str(found)[:12]} there and "
            f"{fingerprint[:12]} here, of sha256); restore the data as they were, or "
            "choose another --workdir"
        )


def begin(
    workdir: Path, config: dict[str, Any], fingerprint: str, save: Callable[[], None]
) -> None:
    """Makes the folder of a run; does nothing if the run was begun before.

    What its data are is written last: a start that was killed before it is made again.

    Raises:
        InputError: the folder holds a run with another config, or other files.
    """
    records.open_run(workdir, config)
    # A run that keeps nothing of its data may have checkpoints all the same.
    begun = (workdir / DATA).exists() or SavedSteps(workdir / "checkpoints").steps()
    if not begun:
        save()
        records.write_json(workdir / DATA, {"sha256": fingerprint})
