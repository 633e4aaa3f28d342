"""Programs that run without our Python: a model and its search, exported by JAX.

`jax.export` keeps what jit compiles, StableHLO, with the size of the batch left open;
whoever has JAX can call it. The parameters stay outside, for example as safetensors.
`serialize()` of what is returned needs the package flatbuffers, the extra `serving`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from zoo.decoding import Decodable, ban, beam_search


def export_encoder(
    model: Decodable, params: Any, source_length: int
) -> export.Exported:
    """Returns the program (params, source [B, S]) -> leaves of the memory, for any B.

    Args:
        params: whose shapes and dtypes count, or shapes alone.
        source_length: S, to which sources are padded, end of sentence included.
    """

    def encode(params, source):
        # Leaves alone: a program knows of no classes of ours.
        memory = model.apply({"params": params}, source, method="encode")
        return jax.tree.leaves(memory)

    return _export(encode, params, source_length)


def export_search(
    model: Decodable,
    params: Any,
    source_length: int,
    max_length: int,
    *,
    vocab_size: int,
    num_hypotheses: int = 4,
    length_penalty: float = 1.0,
    prefix: Sequence[int] = (),
) -> export.Exported:
    """Returns the program (params, source [B, S]) -> (tokens, scores), for any B.

    Padding and the start token are never written, as in `Translator.translate`.

    Args:
        params: whose shapes and dtypes count, or shapes alone.
        source_length: S, to which sources are padded, end of sentence included.
        max_length: of a hypothesis in tokens, prefix and end of sentence included.
        prefix: tokens that every sentence begins with, as the name of its language in a
            model of many: what the tokenizer's `encode_targets([""])` returns.
    """
    never = {model.pad_id, model.start_id} - {model.eos_id}
    search = partial(
        beam_search,
        model,
        max_length=max_length,
        num_hypotheses=num_hypotheses,
        length_penalty=length_penalty,
        rules=[ban(sorted(never), vocab_size)],
    )

    def run(params, source):
        if not prefix:
            return tuple(search(params, source))
        start = jnp.asarray(prefix, jnp.int32)
        rows = jnp.broadcast_to(start, (source.shape[0], len(prefix)))  # [B, P]
        return tuple(search(params, source, prefix=rows))

    return _export(run, params, source_length)


def _export(function: Callable, params: Any, source_length: int) -> export.Exported:
    (rows,) = export.symbolic_shape("b")
    shapes = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params
    )
    source = jax.ShapeDtypeStruct((rows, source_length), jnp.int32)
    return export.export(jax.jit(function))(shapes, source)
