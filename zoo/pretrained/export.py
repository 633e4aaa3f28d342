"""Our Transformer as a Marian directory of Hugging Face, and parameters as safetensors.

What Marian can express is written so that Hugging Face's MarianMTModel and the
converter of CTranslate2 read it: padding is the last token, whose row of zeros starts
the decoder and whose logit is hopeless. What it cannot is refused with the reason.
"""

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.data.marian_tokens import FILES, MarianTokenizer
from zoo.data.text_tokens import TextTokens
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError
from zoo.layers.attention import MultiHeadAttention, unrotated
from zoo.layers.blocks import post_norm
from zoo.layers.feedforward import FeedForward
from zoo.layers.positions import SinusoidalPositions
from zoo.models.marian import ACTIVATIONS
from zoo.models.transformer import Transformer
from zoo.pretrained.directory import WEIGHTS
from zoo.translation.options import Defaults

HOPELESS = -1e9  # the bias of a token that is never written
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
    partial_path = path.with_name(f"{path.name}.partial")
    shutil.rmtree(partial_path, ignore_errors=True)
    partial_path.mkdir(parents=True)
    try:
        for name, content in _files(tokenizer, model.pad_id).items():
            (partial_path / name).write_bytes(content)
        configs = _configs(model, params, max_length, defaults or Defaults())
        for name, values in configs.items():
            text = json.dumps(values, indent=2) + "\n"
            (partial_path / name).write_text(text, encoding="utf-8")
        _write(_tensors(model, params), partial_path / WEIGHTS, {"format": "pt"})
        partial_path.rename(path)
    finally:
        shutil.rmtree(partial_path, ignore_errors=True)


def save_params(params: Any, path: str | Path) -> None:
    """Writes the parameters of any model to a safetensors file, at once or not at all.

    Raises:
        InputError: the file exists already.
    """
    path = Path(path)
    if path.exists():
        raise InputError(f"{path} exists already; choose another file")
    partial_path = path.with_name(f"{path.name}.partial")
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


def _check(model: Any, params: Any) -> None:
    """Raises InputError with the reason if Marian cannot express the model."""
    if type(model) is not Transformer:
        raise _refusal(f"a {type(model).__name__}, and no Transformer")
    bound = model.bind({"params": params})
    if not model.zero_start and model.start_id != model.pad_id:
        raise _refusal("the decoder starts with a learned vector, and not with zeros")
    if type(bound.source_positions) is not SinusoidalPositions:
        raise _refusal(f"positions are {type(bound.source_positions).__name__}")
    for block in (*bound.encoder, *bound.decoder):
        attention, mlp, norm = block.self_attention, block.mlp, block.mlp_norm
        if block.residual is not post_norm:
            raise _refusal("norms stand before the residuals")
        if type(attention) is not MultiHeadAttention or (
            attention.rotate is not unrotated
        ):
            raise _refusal(f"attention is {type(attention).__name__}, or rotated")
        if type(mlp) is not FeedForward or mlp.activation not in ACTIVATIONS.values():
            raise _refusal(f"feed-forward is {type(mlp).__name__}, or its activation")
        if type(norm) is not nn.LayerNorm or norm.epsilon != 1e-5:
            raise _refusal(f"norms are {type(norm).__name__}, or their epsilon")


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


def _tensors(model: Transformer, params: Any) -> dict[str, np.ndarray]:
    """Returns their arrays under their names."""
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


def _configs(
    model: Transformer, params: Any, max_length: int, defaults: Defaults
) -> dict[str, Any]:
    """Returns what the JSON files hold."""
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
