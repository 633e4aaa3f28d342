"""Our Transformer as a Marian directory of Hugging Face, and parameters as safetensors.

What Marian can express is written so that Hugging Face's MarianMTModel and the
converter of CTranslate2 read it: padding is the last token, whose row of zeros starts
the decoder and whose logit is hopeless. What it cannot is refused with the reason.
"""

import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.catalogue import build
from zoo.data.marian_tokens import FILES, MarianTokenizer
from zoo.data.text_tokens import TextTokens
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.blocks import EncoderBlock
from zoo.layers.embeddings import Embedding
from zoo.layers.feedforward import FeedForward
from zoo.models.configs import MarianConfig
from zoo.models.contract import initialize
from zoo.models.transformer import ACTIVATIONS, Transformer
from zoo.pretrained.conversion import abstract
from zoo.pretrained.directory import WEIGHTS
from zoo.pretrained.generation import HOPELESS
from zoo.translation.options import Defaults

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
# Our paths to their names, one substitution after the other.
NAMES = (
    (r"^(encoder|decoder)_(\d+)/", r"model.\1.layers.\2."),
    (r"self_attention", "self_attn"),
    (r"cross_attention", "encoder_attn"),
    (r"_attn_norm", "_attn_layer_norm"),
    (r"mlp_norm", "final_layer_norm"),
    (r"mlp/up", "fc1"),
    (r"mlp/down", "fc2"),
    (r"/query", ".q_proj"),
    (r"/key", ".k_proj"),
    (r"/value", ".v_proj"),
    (r"/out/", ".out_proj/"),
    (r"/(?:kernel|scale)$", ".weight"),
    (r"/bias$", ".bias"),
)


def save_pretrained(
    model: Any,
    params: Any,
    tokenizer: TextTokens,
    directory: str | Path,
    *,
    max_length: int = 512,
    defaults: Defaults | None = None,
) -> None:
    """Writes a Marian directory in Hugging Face's layout, all of it or nothing.

    Args:
        model: of the family "marian", as the preset marian-tiny makes it, or imported.
        tokenizer: of subwords, ours or the imported one.
        directory: which must not exist.
        max_length: longest sentence in subwords that others are to take.
        defaults: how others are to search; None as ours do.

    Raises:
        InputError: the directory exists, or Marian cannot express the model or the
            tokenizer.
    """
    _check(model, params)
    if tokenizer.vocab_size != model.vocab_size:
        raise InputError(
            f"the tokenizer has {tokenizer.vocab_size} tokens and the model "
            f"{model.vocab_size}; give the one that it was trained with"
        )
    path = Path(directory)
    if path.exists():
        raise InputError(f"{path} exists already; choose another directory")
    files = _files(tokenizer, model.pad_id)
    configs = marian_configs(model, params, max_length, defaults or Defaults())
    path.parent.mkdir(parents=True, exist_ok=True)
    with beside(path) as partial_path:
        partial_path.mkdir()
        for name, content in files.items():
            (partial_path / name).write_bytes(content)
        for name, values in configs.items():
            text = json.dumps(values, indent=2) + "\n"
            (partial_path / name).write_text(text, encoding="utf-8")
        _write(marian_tensors(model, params), partial_path / WEIGHTS, {"format": "pt"})
        partial_path.rename(path)


def save_params(params: Any, path: str | Path) -> None:
    """Writes the parameters of any model to a safetensors file, at once or not at all.

    Raises:
        InputError: the file exists already.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists already; choose another file")
    with beside(path) as partial_path:
        _write(flatten_dict(jax.device_get(params), sep="/"), partial_path)
        os.replace(partial_path, path)


def load_params(path: str | Path) -> Any:
    """Returns the parameters that `save_params` wrote, bit for bit.

    Raises:
        InputError: there is no such file, or it is damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no sound safetensors file ({error})") from None
    return unflatten_dict(jax.tree.map(jnp.asarray, tensors), sep="/")


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """Yields where to write what is to be renamed to a path; leaves nothing there."""
    with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
        yield Path(folder) / path.name


def _check(model: Any, params: Any) -> None:
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
    biased = model.make_embedding is not Embedding
    return plain if biased else plain.clone(make_embedding=Embedding)


def _traits(model: Transformer, params: Any) -> dict[str, Any]:
    """Returns kinds and settings of the parts of a model, and shapes of parameters."""
    bound = model.bind({"params": params})
    parts: dict[str, Any] = {
        "source_positions": bound.source_positions,
        "target_positions": bound.target_positions,
        "embedding": bound.embedding,
        "source_embedding": model.make_source_embedding,
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


def _files(tokenizer: TextTokens, pad_id: int) -> dict[str, bytes]:
    """Returns the files of a tokenizer whose padding is the last token."""
    if isinstance(tokenizer, MarianTokenizer):
        files, pieces = tokenizer.files, tokenizer.piece_table()
    elif isinstance(tokenizer, Tokenizer) and (model := tokenizer.sentencepiece()):
        files = dict.fromkeys(FILES[:2], model)
        pieces = tokenizer.piece_table()
    else:
        raise InputError(
            "Marian needs a tokenizer of subwords, and not of words or characters; "
            "train with --data.tokens subwords"
        )
    table = {piece: place for place, piece in enumerate(_pad_last(pieces, pad_id))}
    return {**files, FILES[2]: json.dumps(table, ensure_ascii=False).encode()}


def _pad_last(rows: Any, pad_id: int) -> Any:
    order = [number for number in range(len(rows)) if number != pad_id] + [pad_id]
    return rows[order] if isinstance(rows, np.ndarray) else [rows[n] for n in order]


def marian_tensors(model: Transformer, params: Any) -> dict[str, np.ndarray]:
    """Returns the arrays of Hugging Face's MarianMTModel under its names."""
    flat = flatten_dict(jax.device_get(params), sep="/")
    table = np.array(flat.pop("embedding/table"))
    bias = np.array(flat.pop("embedding/bias", np.zeros(len(table), np.float32)))
    if model.zero_start:
        table[model.pad_id] = 0.0
        bias[model.pad_id] = HOPELESS
    tensors = {
        "model.shared.weight": _pad_last(table, model.pad_id),
        "final_logits_bias": _pad_last(bias, model.pad_id)[None],
    }
    for path, array in flat.items():
        name = path
        for pattern, replacement in NAMES:
            name = re.sub(pattern, replacement, name)
        tensors[name] = _as_torch(path, np.asarray(array))
    return tensors


def _as_torch(path: str, array: np.ndarray) -> np.ndarray:
    """Returns a kernel [*in, *out] as [out, in], with the heads joined."""
    if not path.endswith("kernel"):
        return array.reshape(-1)
    num_inputs = array[..., 0].size if path.endswith("out/kernel") else len(array)
    return array.reshape(num_inputs, -1).T


def marian_configs(
    model: Transformer, params: Any, max_length: int, defaults: Defaults
) -> dict[str, Any]:
    """Returns what the JSON files of a Marian directory hold, by name."""
    block = model.bind({"params": params}).encoder[0]
    activation = next(
        name
        for name, function in ACTIVATIONS.items()
        if function is block.mlp.activation
    )
    last = model.vocab_size - 1

    def moved(token: int) -> int:
        return last if token == model.pad_id else token - (token > model.pad_id)

    ids = {
        "pad_token_id": last,
        "eos_token_id": moved(model.eos_id),
        "decoder_start_token_id": last,
        "forced_eos_token_id": moved(model.eos_id) if defaults.forced_end else None,
        "bos_token_id": None,
    }
    sizes = {
        f"{side}_{name}": value
        for side in ("encoder", "decoder")
        for name, value in {
            "attention_heads": block.self_attention.num_heads,
            "ffn_dim": block.mlp.mlp_dim,
        }.items()
    }
    config = {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": model.vocab_size,
        "d_model": model.model_dim,
        "encoder_layers": model.num_layers,
        "decoder_layers": model.num_decoder_layers or model.num_layers,
        **sizes,
        "activation_function": "swish" if activation == "silu" else activation,
        "dropout": model.dropout_rate,
        "attention_dropout": block.self_attention.dropout_rate,
        "max_position_embeddings": max_length,
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
        **ids,
    }
    never = {model.pad_id, model.start_id, *defaults.banned} - {model.eos_id}
    generation = {
        **ids,
        "bad_words_ids": [[moved(token)] for token in sorted(never)],
        "max_length": (defaults.max_length or max_length - 1) + 1,
        "num_beams": defaults.beam_size,
        "length_penalty": defaults.length_penalty,
        "min_length": defaults.min_length,
        "no_repeat_ngram_size": defaults.no_repeated_ngram,
    }
    tokens = {
        "tokenizer_class": "MarianTokenizer",
        "model_max_length": max_length,
        "separate_vocabs": False,
        "clean_up_tokenization_spaces": False,
    }
    return {
        "config.json": config,
        "generation_config.json": generation,
        "tokenizer_config.json": tokens,
    }


def _write(
    tensors: dict[str, Any], path: Path, metadata: dict[str, str] | None = None
) -> None:
    from safetensors.numpy import save_file

    save_file(
        {name: np.ascontiguousarray(array) for name, array in tensors.items()},
        path,
        metadata,
    )
