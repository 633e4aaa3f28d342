"""Losses as (sum, count), divided once after all shards are added.

Summing before dividing is what keeps the gradient independent of how a batch is spread
over devices, whose shards hold unequal numbers of tokens.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from zoo.layers.masks import Packing


class TokenLoss(NamedTuple):
    """Sums over the tokens of a batch; divide by `count` for a mean in nats a token.

    For a model that chooses an answer, a question is a token.

    Attributes:
        smoothed: what training minimises.
        plain: the negative log-likelihood, without smoothing; to report, so it has no
            gradient (without smoothing it equals `smoothed`).
        count: the number of tokens.
    """

    smoothed: Float[Array, ""]
    plain: Float[Array, ""]
    count: Float[Array, ""]


def label_smoothed_cross_entropy(
    logits: Float[Array, "*axes V"],
    labels: Int[Array, "*axes"],
    valid: Bool[Array, "*axes"],
    label_smoothing: float,
) -> TokenLoss:
    """Returns the cross entropy against labels that keep a little doubt.

    Szegedy et al. (2016), section 7: the target distribution is 1 - ε on the label plus
    ε/V on every token of the vocabulary. In terms of the logits z with normaliser
    log Z that is log Z - (1 - ε) z[label] - ε mean(z).

    Args:
        valid: False where a label is padding, which counts for nothing.
        label_smoothing: ε, a probability.
    """
    logits = logits.astype(jnp.float32)
    log_normalizer = jax.nn.logsumexp(logits, axis=-1)
    # A masked sum, not a gather: its gradient is a comparison, not a scatter.
    chosen = labels[..., None] == jnp.arange(logits.shape[-1])
    label_logit = jnp.sum(jnp.where(chosen, logits, 0.0), axis=-1)
    plain = log_normalizer - label_logit
    uniform = log_normalizer - logits.mean(axis=-1)
    smoothed = (1.0 - label_smoothing) * plain + label_smoothing * uniform

    def total(values):
        return jnp.sum(jnp.where(valid, values, 0.0))

    count = valid.sum(dtype=jnp.float32)
    return TokenLoss(total(smoothed), jax.lax.stop_gradient(total(plain)), count)


def sigmoid_cross_entropy(
    logits: Float[Array, "*axes A"],
    targets: Float[Array, "*axes A"],
    valid: Bool[Array, "*axes"],
) -> TokenLoss:
    """Returns the cross entropy of answers that may each be right, or partly so.

    Teney et al. (2018), "Tips and Tricks for Visual Question Answering", section 3.1:
    -s log σ(z) - (1 - s) log(1 - σ(z)) for the soft score s of every answer, which is
    softplus(z) - s z. It is summed over the answers; what is counted is questions.

    Args:
        targets: scores from 0 to 1; those of a question need not add up to one.
        valid: False where there is no question, which counts for nothing.
    """
    logits = logits.astype(jnp.float32)
    each = (jax.nn.softplus(logits) - targets * logits).sum(axis=-1)
    total = jnp.sum(jnp.where(valid, each, 0.0))
    count = valid.sum(dtype=jnp.float32)
    return TokenLoss(total, jax.lax.stop_gradient(total), count)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def tied_cross_entropy(
    features: Float[Array, "B T D"],
    table: Float[Array, "V D"],
    labels: Int[Array, "B T"],
    valid: Bool[Array, "B T"],
    label_smoothing: float,
    bias: Float[Array, " V"] | None = None,
) -> TokenLoss:
    """Returns `label_smoothed_cross_entropy` of features · tableᵀ, a slice at a time.

    The logits of a batch, [B, T, V], are by far the largest array of a small model, and
    each is needed once. So projection, loss and gradient are computed together for some
    hundred tokens, whose logits stay in the cache of a processor, and are then dropped.

    Args:
        table: the output matrix, which for tied models is the embedding.
        valid: False where a label is padding, which counts for nothing.
        label_smoothing: ε, a probability; a number of Python, known at compilation.
        bias: of the logits.
    """

    def add(total, part):
        loss = _loss_of_part(part, (table, bias), label_smoothing)
        return jax.tree.map(jnp.add, total, loss), None

    total, _ = jax.lax.scan(add, _nothing(), _parts(features, labels, valid))
    return total


def _tied_cross_entropy_forward(features, table, labels, valid, label_smoothing, bias):
    output = table, bias

    def smoothed(part_features, output, labels, valid):
        loss = _loss_of_part((part_features, labels, valid), output, label_smoothing)
        return loss.smoothed, loss

    def add(totals, part):
        gradients, loss = jax.grad(smoothed, (0, 1), has_aux=True)(
            part[0], output, *part[1:]
        )
        totals = jax.tree.map(jnp.add, totals, (loss, gradients[1]))
        return totals, gradients[0]

    # In float32 whatever the table is: the sum has a term for every part.
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, jnp.float32), output)
    totals = _nothing(), zeros
    (loss, output_gradient), feature_gradients = jax.lax.scan(
        add, totals, _parts(features, labels, valid)
    )
    batch, length, width = features.shape
    feature_gradient = feature_gradients.swapaxes(0, 1).reshape(batch, -1, width)
    output_gradient = jax.tree.map(
        lambda total, leaf: total.astype(leaf.dtype), output_gradient, output
    )
    return loss, (feature_gradient[:, :length], *output_gradient)


def _tied_cross_entropy_backward(label_smoothing, gradients, cotangents):
    scaled = jax.tree.map(
        lambda leaf: (leaf * cotangents.smoothed).astype(leaf.dtype), gradients
    )
    features, table, bias = scaled
    return features, table, None, None, bias


tied_cross_entropy.defvjp(_tied_cross_entropy_forward, _tied_cross_entropy_backward)


def sequence_loss(
    model: Any,
    params: Any,
    batch: dict[str, Int[Array, "B _"]],
    key: PRNGKeyArray | None,
    *,
    label_smoothing: float = 0.0,
) -> TokenLoss:
    """Returns the loss of a translator under teacher forcing.

    Args:
        model: under the contract of `zoo.models.contract`.
        batch: "source", "inputs" and "labels", as the contract has them; if rows hold
            several pairs also the fields of a `Packing`, which the model must take.
        key: of the dropout; None is without.
        label_smoothing: ε of the labels, a probability.
    """
    features = model.apply(
        {"params": params},
        batch["source"],
        batch["inputs"],
        deterministic=key is None,
        rngs=None if key is None else {"dropout": key},
        method="features",
        **_packing(batch),
    )
    table, bias = model.apply({"params": params}, method="output")
    labels = batch["labels"]
    return tied_cross_entropy(
        features, table, labels, labels != model.pad_id, label_smoothing, bias
    )


def _packing(batch):
    """Returns the argument of `features` that a batch of one pair a row has not."""
    fields = {name: batch[name] for name in Packing._fields if name in batch}
    return {"packing": Packing(**fields)} if fields else {}


TOKENS_PER_PART = 512


def _parts(*arrays):
    """Cuts [B, T, …] along T, so that each part keeps the rows of every device."""
    batch, length = arrays[0].shape[:2]
    width = max(1, min(length, TOKENS_PER_PART // batch))
    num_parts = -(-length // width)

    def cut(array):
        padding = [(0, 0)] * array.ndim
        padding[1] = (0, num_parts * width - length)
        array = jnp.pad(array, padding)
        return array.reshape(batch, num_parts, width, *array.shape[2:]).swapaxes(0, 1)

    return jax.tree.map(cut, arrays)


def _loss_of_part(part, output, label_smoothing):
    features, labels, valid = part
    table, bias = output
    logits = jnp.einsum(
        "BTD,VD->BTV", features, table, preferred_element_type=jnp.float32
    )
    logits = logits if bias is None else logits + bias
    return label_smoothed_cross_entropy(logits, labels, valid, label_smoothing)


def _nothing():
    return TokenLoss(jnp.zeros(()), jnp.zeros(()), jnp.zeros(()))
