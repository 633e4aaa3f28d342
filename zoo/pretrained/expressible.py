"""Whether Marian can express a model: what its parts are, beside those of a plain one.

A model of Marian's family in the same sizes is made, and every part and setting that is
another, and every parameter of another shape, is a reason to refuse.
"""

from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from flax.traverse_util import flatten_dict

from zoo.catalogue import build
from zoo.errors import InputError
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import EncoderBlock
from zoo.layers.embeddings import Embedding
from zoo.layers.feedforward import FeedForward
from zoo.models.configs import MarianConfig
from zoo.models.contract import initialize
from zoo.models.transformer import ACTIVATIONS, Transformer
from zoo.pretrained.conversion import abstract

# The parts of a block, and which of its settings others need not know: what makes the
# parts, the rates of dropout, and what the shapes of the parameters say.
PARTS = (
    *("self_attention", "self_attention_norm"),
    *("cross_attention", "cross_attention_norm"),
    *("mlp", "mlp_norm"),
)
FREE = {"attention", "feed_forward", "norm", "dropout_rate", "head_dim"} | {
    *("name", "parent", "scale_init", "bias_init")
}


def require_expressible(model: Any, params: Any) -> None:
    """Raises InputError with the reason if Marian cannot express the model."""
    if type(model) is not Transformer:
        raise _refusal(f"a {type(model).__name__}, and no Transformer")
    if not model.zero_start and model.start_id != model.pad_id:
        raise _refusal("the decoder starts with a learned vector, and not with zeros")
    plain = _as_marian(model, params)
    shapes = abstract(partial(initialize, plain))
    found, expected = _traits(model, params), _traits(plain, shapes)
    for name in {**found, **expected}:
        if found.get(name) != expected.get(name):
            raise _refusal(
                f"{name} is {_told(found.get(name))}, and not "
                f"{_told(expected.get(name))}"
            )


def _as_marian(model: Transformer, params: Any) -> Transformer:
    """Returns the model of Marian's family that has the same sizes."""
    block = model.bind({"params": params}).encoder[0]
    if type(block) is not EncoderBlock:
        raise _refusal(f"a block is {type(block).__name__}")
    attention, mlp = block.self_attention, block.mlp
    if type(attention) is not MultiHeadAttention or type(mlp) is not FeedForward:
        kinds = f"{type(attention).__name__} and {type(mlp).__name__}"
        raise _refusal(f"a block is made of {kinds}")
    names: list[Any] = [
        name for name, act in ACTIVATIONS.items() if act is mlp.activation
    ]
    if not names:
        raise _refusal(f"the activation is none of {', '.join(ACTIVATIONS)}")
    plain: Any = build(
        MarianConfig(
            vocab_size=model.vocab_size,
            num_layers=model.num_layers,
            num_decoder_layers=model.num_decoder_layers or model.num_layers,
            model_dim=model.model_dim,
            mlp_dim=mlp.mlp_dim,
            num_heads=attention.num_heads,
            activation=names[0],
        )
    )
    # Without a bias of the logits is with one of zeros.
    biased = type(model.embedding) is not Embedding
    unbiased = Embedding(model.vocab_size, model.model_dim)
    return plain if biased else plain.clone(embedding=unbiased)


def _traits(model: Transformer, params: Any) -> dict[str, Any]:
    """Returns kinds and settings of the parts of a model, and shapes of parameters."""
    bound = model.bind({"params": params})
    parts: dict[str, Any] = {
        "source_positions": bound.source_positions,
        "target_positions": bound.target_positions,
        "embedding": bound.embedding,
        "source_embedding": bound.source_embedding,
        "final_norm": model.final_norm,
        "embedding_norm": model.embedding_norm,
    }
    for side, blocks in (("encoder", bound.encoder), ("decoder", bound.decoder)):
        for number, block in enumerate(blocks):
            parts[f"{side}_{number}"] = block
            for name in PARTS:
                parts[f"{side}_{number}/{name}"] = getattr(block, name, None)
    traits: dict[str, Any] = {}
    for path, part in parts.items():
        if isinstance(part, type) or not is_dataclass(part):
            traits[path] = part
            continue
        traits[path] = type(part)
        traits |= {
            f"{path}.{field.name}": getattr(part, field.name)
            for field in fields(part)
            if field.name not in FREE
        }
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    return traits | {f"the shape of {path}": flat[path].shape for path in flat}


def _told(trait: Any) -> str:
    return getattr(trait, "__name__", None) or str(trait)


def _refusal(reason: str) -> InputError:
    return InputError(
        f"Marian cannot express this model: {reason}; train one of the presets "
        "marian-tiny or marian-base"
    )
