"""How a run learns, in numbers; free of jax, so that a command can list its options."""

from dataclasses import dataclass
from typing import Literal

from zoo.errors import InputError, require_finite, require_positive, require_rate


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with decoupled weight decay, a schedule and clipping.

    Attributes:
        learning_rate: the peak, reached at the end of the warm-up.
        schedule: "inverse-sqrt" falls as 1/√step (Vaswani et al. 2017, section 5.3),
            "cosine" falls to zero at the last step (Loshchilov and Hutter 2017),
            "plateau" stays, and falls when validation gets no better.
        warmup_steps: updates over which the rate rises linearly from zero.
        weight_decay: 0 is Adam (Kingma and Ba 2015), more is AdamW (Loshchilov and
            Hutter 2019); matrices decay, biases and norms do not.
        clip_norm: gradients with a larger global norm are scaled down to it.
        plateau_patience: evaluations in a row without a better loss after which
            "plateau" lowers the rate; again after as many more.
        plateau_factor: the fraction of the rate that is left.
        frozen: parts of the model that stay as they are, by their path in the
            parameters, for example "image_encoder/tower".
    """

    learning_rate: float = 1e-3
    schedule: Literal["inverse-sqrt", "cosine", "plateau"] = "inverse-sqrt"
    warmup_steps: int = 1000
    beta1: float = 0.9
    beta2: float = 0.98
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    plateau_patience: int = 3
    plateau_factor: float = 0.5
    frozen: tuple[str, ...] = ()

    def __post_init__(self):
        require_rate(self, "beta1", "beta2", "plateau_factor")
        require_positive(self, "plateau_patience")
        require_finite(self, "learning_rate", "epsilon", "weight_decay", "clip_norm")
        for name in ("learning_rate", "epsilon", "clip_norm", "plateau_factor"):
            if getattr(self, name) <= 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must be above 0"
                )
        for name in ("warmup_steps", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must not be negative"
                )


@dataclass(frozen=True)
class HostsConfig:
    """Who the processes of a run are, and how they work; no result depends on it.

    Attributes:
        coordinator_address: HOST:PORT at which the first process can be reached, if not
            said by the launcher or JAX_COORDINATOR_ADDRESS.
        num_processes: of the run, if not said by the launcher or JAX_NUM_PROCESSES.
        process_id: of this one, from 0, if not said by the launcher or JAX_PROCESS_ID.
        detect: let JAX ask its surroundings, where no variable says that there are
            several hosts, as on a TPU VM.
        heartbeat_seconds: of silence, after which a host is given up for lost.
        workers: processes on each host that make its batches; 0 is threads.
    """

    coordinator_address: str | None = None
    num_processes: int | None = None
    process_id: int | None = None
    detect: bool = False
    heartbeat_seconds: int = 100
    workers: int = 0

    def __post_init__(self):
        require_positive(self, "heartbeat_seconds")
        if self.workers < 0:
            raise InputError(f"workers is {self.workers}, but must not be negative")


@dataclass(frozen=True)
class TrainingConfig:
    """How long a run is, and how its updates are made.

    Attributes:
        num_steps: updates.
        label_smoothing: probability spread over the vocabulary, or over the answers.
        evaluation_interval: updates between two evaluations and checkpoints.
        driver: what runs the step on the local devices: "jit" and "pmap" give each one
            a copy of the state, "sharded" a part of it.
        model_devices: under "jit", devices that share one copy of a Transformer, by
            heads and units of the feed-forward networks.
        accumulation: portions in which a batch is taken, one after the other.
        remat: compute the blocks of a Transformer once more for the gradient, and keep
            only what enters them; for batches that do not fit.
        precision: of the forward and the backward pass; parameters are float32.
        ema_decay: of a moving average of the parameters, which is then what is
            validated and tested; 0 keeps none.
        patience: evaluations in a row without a better validation loss after which the
            run ends; 0 is never.
        max_minutes: of the run, interruptions not counted, after which it ends; 0 is
            never.
    """

    num_steps: int = 10_000
    label_smoothing: float = 0.0
    evaluation_interval: int = 1_000
    driver: Literal["jit", "pmap", "sharded"] = "jit"
    model_devices: int = 1
    accumulation: int = 1
    remat: bool = False
    precision: Literal["float32", "bfloat16"] = "float32"
    ema_decay: float = 0.0
    patience: int = 0
    max_minutes: float = 0.0

    def __post_init__(self):
        require_positive(self, "num_steps", "evaluation_interval", "accumulation")
        require_positive(self, "model_devices")
        if self.model_devices > 1 and self.driver != "jit":
            raise InputError(
                f"model_devices is {self.model_devices}, which only --training.driver "
                f"jit can do, not {self.driver}"
            )
        require_rate(self, "label_smoothing", "ema_decay")
        require_finite(self, "max_minutes")
        for name in ("patience", "max_minutes"):
            if getattr(self, name) < 0:
                raise InputError(
                    f"{name} is {getattr(self, name)}, but must not be negative"
                )

    def check(self, optimizer: OptimizerConfig) -> None:
        """Raises InputError if the run ends before the optimizer's warm-up."""
        if optimizer.warmup_steps >= self.num_steps:
            raise InputError(
                f"{optimizer.warmup_steps} warm-up updates do not fit into a run of "
                f"{self.num_steps}; lower --optimizer.warmup-steps or train longer"
            )

    def check_several(self) -> None:
        """Raises InputError for what only one host can do."""
        if self.max_minutes:
            raise InputError(
                f"max_minutes is {self.max_minutes:g}, but several hosts have no clock "
                "in common; leave it out and let the scheduler stop them"
            )
        if self.driver == "pmap":
            raise InputError(
                "--training.driver pmap is for one host; use jit or sharded"
            )
