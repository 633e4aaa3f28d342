"""How a run learns, in numbers; without jax, so that a command can list its options."""

from dataclasses import dataclass
from typing import Literal

from zoo.errors import InputError, require_positive, require_rate


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

    def __post_init__(self):
        require_rate(self, "beta1", "beta2", "plateau_factor")
        require_positive(self, "plateau_patience")
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
