"""The laws of a translator, as numbers: what must not matter, and what must be equal.

A model that shares what it should not, looks into the future, or decodes otherwise than
it was trained still learns something, and its loss looks fine. These functions tell.
Each returns by how much a model breaks a law: rounding, about 1e-6, or a mistake::

    for law, violation in violations(model, params, source, inputs).items():
        print(f"{law}: {violation:.0e}")
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from zoo.models.contract import Seq2Seq


def violations(
    model: Seq2Seq,
    params: Any,
    source: Int[Array, "B S"],
    inputs: Int[Array, "B T"],
) -> dict[str, float]:
    """Returns the largest difference of logits, in nats, under every law.

    Args:
        source: two sentences or more, the last one padded.
        inputs: the start token and at least three more, different ones; no padding.
    """
    return {name: law(model, params, source, inputs) for name, law in LAWS.items()}


def padding_of_the_source_cannot_matter(model, params, source, inputs) -> float:
    """Returns what three more columns of padding change."""
    longer = jnp.pad(source, ((0, 0), (0, 3)), constant_values=model.pad_id)
    logits = _logits(model, params, source, inputs)
    return _largest(logits - _logits(model, params, longer, inputs))


def the_future_cannot_matter(model, params, source, inputs) -> float:
    """Returns what other tokens in the second half change in the first."""
    half = inputs.shape[1] // 2
    other = inputs.at[:, half:].set(jnp.flip(inputs, axis=0)[:, half:])
    before = _logits(model, params, source, inputs)[:, :half]
    return _largest(before - _logits(model, params, source, other)[:, :half])


def other_sentences_cannot_matter(model, params, source, inputs) -> float:
    """Returns what the rest of the batch changes for its last sentence."""
    together = _logits(model, params, source, inputs)[-1:]
    return _largest(together - _logits(model, params, source[-1:], inputs[-1:]))


def jit_is_eager(model, params, source, inputs) -> float:
    """Returns what compilation changes."""
    eager = model.apply({"params": params}, source, inputs)
    return _largest(_logits(model, params, source, inputs) - eager)


def step_by_step_is_teacher_forcing(model, params, source, inputs) -> float:
    """Returns what changes when tokens come one at a time, two hypotheses a sentence.

    The first hypothesis is the sentence's own target, the second another's.
    """
    both = jnp.stack([inputs, jnp.flip(inputs, axis=0)], axis=1)  # [B, W, T]
    memory, carry = _begin(model, params, source, inputs.shape[1])
    worst = 0.0
    expected = _of_hypotheses(model, params, source, both)  # [B, W, T, V]
    for position in range(inputs.shape[1]):
        tokens = both[:, :, position]
        carry, logits = _advance(model, params, memory, carry, tokens, position)
        # Not max, which lets a NaN pass.
        worst = np.maximum(worst, _largest(logits - expected[:, :, position]))
    return float(worst)


def reordering_is_having_decoded_that_hypothesis(
    model, params, source, inputs
) -> float:
    """Returns what is left of a hypothesis that another one has replaced.

    After two tokens both hypotheses of each sentence continue the second one, but those
    of the last sentence, which change places.
    """
    others = jnp.flip(inputs, axis=0)
    written = jnp.stack([inputs[:, :2], others[:, :2]], axis=1)  # [B, W, 2]
    memory, carry = _begin(model, params, source, inputs.shape[1])
    for position in range(2):
        tokens = written[:, :, position]
        carry, _ = _advance(model, params, memory, carry, tokens, position)
    parents = jnp.ones((len(source), 2), jnp.int32).at[-1, 1].set(0)
    carry = model.apply({"params": params}, carry, parents, method="reorder")
    last = jnp.stack([inputs[:, 2], others[:, 2]], axis=1)  # [B, W]
    _, logits = _advance(model, params, memory, carry, last, 2)
    kept = jnp.take_along_axis(written, parents[:, :, None], axis=1)
    history = jnp.concatenate([kept, last[:, :, None]], axis=2)
    expected = _of_hypotheses(model, params, source, history)[:, :, 2]
    return _largest(logits - expected)


LAWS: dict[str, Callable[..., float]] = {
    law.__name__.replace("_", " "): law
    for law in (
        padding_of_the_source_cannot_matter,
        the_future_cannot_matter,
        other_sentences_cannot_matter,
        jit_is_eager,
        step_by_step_is_teacher_forcing,
        reordering_is_having_decoded_that_hypothesis,
    )
}


@functools.lru_cache(maxsize=64)
def _compiled(model, method):
    return jax.jit(
        lambda params, *arguments: model.apply(
            {"params": params}, *arguments, method=method
        )
    )


def _logits(model, params, source, inputs):
    return _compiled(model, None)(params, source, inputs)


def _of_hypotheses(model, params, source, both):
    """Returns the logits [B, W, T, V] of every hypothesis under teacher forcing."""
    columns = [_logits(model, params, source, both[:, number]) for number in range(2)]
    return jnp.stack(columns, axis=1)


def _begin(model, params, source, length):
    memory = _compiled(model, "encode")(params, source)
    carry = model.apply({"params": params}, memory, 2, length + 3, method="start")
    return memory, carry


def _advance(model, params, memory, carry, tokens, position):
    step, logits = _compiled(model, "step"), _compiled(model, "logits")
    carry, features = step(params, memory, carry, tokens, jnp.int32(position))
    return carry, logits(params, features)


def _largest(difference) -> float:
    return float(np.abs(difference).max())
