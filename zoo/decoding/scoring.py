"""Scoring of given pairs: how likely a model finds a translation that it is shown."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree

from zoo.decoding.hypotheses import Decodable


def score_pairs(
    model: Decodable,
    params: Any,
    source: PyTree,
    inputs: Int[Array, "B T"],
    labels: Int[Array, "B T"],
) -> Float[Array, "B T"]:
    """Returns log p of every label in nats, given the source and the labels before it.

    Zero at padding, so that a sum over T is the log-probability of a sentence.

    Args:
        source: what the model's `features` takes, as a rule tokens [B, S].
        inputs: the start token, then the labels without their last.
    """
    call = partial(model.apply, {"params": params})
    features = call(source, inputs, method="features")
    log_probs = jax.nn.log_softmax(
        call(features, method="logits").astype(jnp.float32), axis=-1
    )
    chosen = jnp.take_along_axis(log_probs, labels[:, :, None], axis=2)[:, :, 0]
    return jnp.where(labels == model.pad_id, 0.0, chosen)
