"""Several models that decode as one: the mean of their probabilities."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from zoo.decoding.hypotheses import Decodable

# How many leading arguments of a method each member has of its own.
OWN_ARGUMENTS = {
    "features": 0,
    "encode": 0,
    "start": 1,
    "step": 2,
    "reorder": 1,
    "logits": 1,
}


@dataclass(frozen=True)
class Ensemble:
    """Models over one vocabulary in place of a model, in every search and in scoring.

    Its params, memory, carry and features are tuples of the members' own. Its
    probabilities are the mean of theirs, so its logits are log-probabilities.

    >>> import zoo
    >>> members = [zoo.create_model(name) for name in ("rnn-gru", "transformer-tiny")]
    >>> Ensemble(tuple(members)).eos_id
    2

    Raises:
        ValueError: the members' special ids differ or, on the first logits, the sizes
            of their vocabularies.
    """

    models: tuple[Decodable, ...]

    def __post_init__(self):
        ids = {(model.pad_id, model.start_id, model.eos_id) for model in self.models}
        if len(ids) != 1:
            raise ValueError(
                "members of an ensemble need the same (pad_id, start_id, eos_id), but "
                f"these {len(self.models)} have {sorted(ids)}"
            )

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return self.models[0].pad_id

    @property
    def start_id(self) -> int:
        """The id that begins what is written."""
        return self.models[0].start_id

    @property
    def eos_id(self) -> int:
        """The id of the end of a sentence."""
        return self.models[0].eos_id

    def apply(self, variables: dict[str, Any], *arguments: Any, method: str) -> Any:
        """Calls a method of the contract on every member and joins what comes back."""
        params = variables["params"]
        if len(params) != len(self.models):
            raise ValueError(
                f"an ensemble of {len(self.models)} needs as many trees of params, "
                f"not {len(params)}"
            )
        num_own = OWN_ARGUMENTS[method]

        def call(number, model):
            own = [argument[number] for argument in arguments[:num_own]]
            shared = arguments[num_own:]
            return model.apply({"params": params[number]}, *own, *shared, method=method)

        outputs = tuple(call(*member) for member in enumerate(self.models))
        if method == "step":
            return tuple(zip(*outputs, strict=True))  # the carries, the features
        return _log_of_mean(outputs) if method == "logits" else outputs


def _log_of_mean(logits: tuple[jax.Array, ...]) -> jax.Array:
    sizes = sorted({member.shape[-1] for member in logits})
    if len(sizes) > 1:
        raise ValueError(f"members of an ensemble have vocabularies of {sizes} tokens")
    log_probs = [jax.nn.log_softmax(member.astype(jnp.float32)) for member in logits]
    return jax.nn.logsumexp(jnp.stack(log_probs), axis=0) - jnp.log(len(logits))
