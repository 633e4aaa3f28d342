"""The one contract of every sequence-to-sequence model, recurrent or not.

Training calls `features` and `output`; decoding calls `encode` once a sentence, `start`
once, and then `step` and `reorder` for each token. `position` is one integer for the
whole batch and belongs to the decoding loop. W is the number of hypotheses of a source
sentence; they share its memory, which is never tiled::

    tokens       pad_id, start_id, eos_id are attributes; a source ends in eos;
                 inputs = start + target, labels = target + eos, so that
                 logits[:, t] score labels[:, t]
    output       () -> (table, bias), of logits = features · tableᵀ + bias; None is 0
    encode       (source [B, S]) -> memory, whose leaves lead with B
    start        (memory, W, max_length) -> carry, whose leaves lead with B
    step         (memory, carry, tokens [B, W], position) -> (carry, features [B, W, D])
    reorder      (carry, parents [B, W]) -> carry

A model that can learn from several pairs in a row takes a `zoo.layers.masks.Packing` in
`features`, as the argument `packing`.
"""

from typing import Any, Protocol, runtime_checkable

import jax
from flax.traverse_util import flatten_dict
from jaxtyping import Array, Float, Int

from zoo.layers.embeddings import Output


@runtime_checkable
class Seq2Seq(Protocol):
    """What a sequence-to-sequence module offers; the methods are for `apply`."""

    pad_id: int
    start_id: int
    eos_id: int

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """Returns fresh variables, as `flax.linen.Module.init`."""
        ...

    def apply(self, *args: Any, **kwargs: Any) -> Any:
        """Calls a method with given variables, as `flax.linen.Module.apply`."""
        ...

    def features(
        self,
        source: Int[Array, "B S"],
        inputs: Int[Array, "B T"],
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Returns what predicts each next token, given the true ones before it."""
        ...

    def logits(self, features: Float[Array, "*axes D"]) -> Float[Array, "*axes V"]:
        """Returns unnormalised log-probabilities of the vocabulary."""
        ...

    def output(self) -> Output:
        """Returns the matrix and the bias of `logits`, for a loss or a search."""
        ...

    def encode(self, source: Int[Array, "B S"], *, deterministic: bool = True) -> Any:
        """Returns the memory of each source: a tree of arrays [B, ...]."""
        ...

    def start(self, memory: Any, num_hypotheses: int, max_length: int) -> Any:
        """Returns the carry of W hypotheses a source, before their first token."""
        ...

    def step(
        self,
        memory: Any,
        carry: Any,
        tokens: Int[Array, "B W"],
        position: Int[Array, ""],
    ) -> tuple[Any, Float[Array, "B W D"]]:
        """Reads the token at a position, and returns carry and next features."""
        ...

    def reorder(self, carry: Any, parents: Int[Array, "B W"]) -> Any:
        """Returns the carry in which hypothesis w goes on from parents[:, w]."""
        ...


def initialize(model: Seq2Seq, key: jax.Array) -> Any:
    """Returns freshly drawn parameters; their shapes do not depend on a sentence's."""
    tokens = jax.numpy.ones((1, 2), jax.numpy.int32)
    return model.init(key, tokens, tokens)["params"]


def attention_maps(
    model: Seq2Seq, params: Any, source: Int[Array, "B S"], inputs: Int[Array, "B T"]
) -> dict[str, Float[Array, "B H Q K"]]:
    """Returns where every attention of the model looks, by the path of the module.

    A model without attention returns an empty dict. To see the attention behind a
    decoded sentence, pass it as `inputs`, with the start token before it.
    """
    _, collected = model.apply(
        {"params": params}, source, inputs, mutable=["intermediates"]
    )
    flat: dict[str, Any] = flatten_dict(collected.get("intermediates", {}), sep="/")
    return {
        path.rpartition("/")[0] or "attention": maps[0]
        for path, maps in flat.items()
        if path.rpartition("/")[2] == "weights"
    }
