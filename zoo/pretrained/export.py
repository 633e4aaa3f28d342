"""Our Transformer as a Marian directory of Hugging Face.

What Marian can express is written so that Hugging Face's MarianMTModel and the
converter of CTranslate2 read it: padding is the last token, whose row of zeros starts
the decoder and whose logit is hopeless. What it cannot is refused with the reason.
"""

import json
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.data.marian_tokens import FILES, MarianTokenizer
from zoo.data.text_tokens import TextTokens
from zoo.data.tokenizer import Tokenizer
from zoo.errors import InputError
from zoo.models.transformer import ACTIVATIONS, Transformer
from zoo.pretrained.directory import WEIGHTS
from zoo.pretrained.expressible import require_expressible
from zoo.pretrained.generation import HOPELESS
from zoo.pretrained.parameters import beside, write_tensors
from zoo.translation.options import Defaults

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
    require_expressible(model, params)
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
        write_tensors(
            marian_tensors(model, params), partial_path / WEIGHTS, {"format": "pt"}
        )
        partial_path.rename(path)


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
    """Returns rows of an array, or items of a list, with that of padding last."""
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
        "config.json": {**_model_config(model, params, max_length), **ids},
        "generation_config.json": generation,
        "tokenizer_config.json": tokens,
    }


def _model_config(model: Transformer, params: Any, max_length: int) -> dict[str, Any]:
    """Returns what config.json says of the model, but for its special tokens."""
    block = model.bind({"params": params}).encoder[0]
    attention, mlp = block.self_attention, block.mlp
    names = {function: name for name, function in ACTIVATIONS.items()}
    names |= {ACTIVATIONS["silu"]: "swish"}
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": model.vocab_size,
        "d_model": model.model_dim,
        "encoder_layers": model.num_layers,
        "decoder_layers": model.num_decoder_layers or model.num_layers,
        "encoder_attention_heads": attention.num_heads,
        "decoder_attention_heads": attention.num_heads,
        "encoder_ffn_dim": mlp.mlp_dim,
        "decoder_ffn_dim": mlp.mlp_dim,
        "activation_function": names[mlp.activation],
        "dropout": model.dropout_rate,
        "attention_dropout": attention.dropout_rate,
        "max_position_embeddings": max_length,
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "is_encoder_decoder": True,
    }
