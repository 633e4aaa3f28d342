"""BART, mBART-50 and M2M100 (NLLB-200 among them) as Hugging Face keeps them.

Marian's names, and some more. The weights of BART are Apache-2.0, of mBART-50 and
M2M100 MIT, of NLLB-200 CC-BY-NC 4.0. Sentences of models of many languages begin with
their language, on both sides; mBART of 25 languages, where it comes last, is refused.
"""

from collections import ChainMap
from functools import partial
from typing import Any, cast

import numpy as np

from zoo.catalogue import build
from zoo.data.json_tokens import FILE, JsonTokenizer
from zoo.errors import InputError, unknown
from zoo.models.configs import BartConfig
from zoo.models.contract import initialize
from zoo.models.transformer import Transformer
from zoo.pretrained import marian
from zoo.pretrained.conversion import Rule, abstract, convert, norm_rules
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import (
    agree,
    choose,
    flag,
    integer,
    layers,
    rate,
    require,
    token,
)
from zoo.pretrained.generation import settings

ACTIVATIONS = {"relu": "relu", "gelu": "gelu"}
BIAS = "final_logits_bias"
# Their tables of positions begin with two rows that stand for none.
UNUSED = 2
START = r"(?:model\.)?"
# The sinusoids are ours.
IGNORED = [rf"{START}(?:en|de)coder\.(?:embed_positions\.weights?|version)"]


def load(directory: Directory) -> tuple[Transformer, Any, JsonTokenizer]:
    """Returns (model, params, tokenizer) of a directory.

    Raises:
        InputError: the directory is damaged, or our Transformer cannot express it.
    """
    tokenizer = load_tokenizer(directory)
    return *load_weights(directory), tokenizer


def load_weights(directory: Directory) -> tuple[Transformer, Any]:
    """Returns (model, params), without the tokenizer.

    Raises:
        InputError: the directory is damaged, or our Transformer cannot express it.
    """
    config, weights = config_of(directory), directory.weights()
    model = cast("Transformer", build(config))
    if BIAS not in weights:
        zeros = {BIAS: np.zeros(config.vocab_size, np.float32)}
        weights = ChainMap(zeros, cast("dict[str, np.ndarray]", weights))
    params = convert(
        weights,
        rules(config),
        abstract(partial(initialize, model)),
        ignored=IGNORED,
        where=str(directory.root),
    )
    return model, params


def load_tokenizer(directory: Directory) -> JsonTokenizer:
    """Returns the tokenizer of a directory, with the languages that it is set to.

    What is read is in the language that tokenizer_config.json names or the tokenizer
    itself begins with; what is written in that of the search's settings. Without
    languages both sides begin alike.

    Raises:
        InputError: there is none, or it is damaged.
    """
    if not directory.has(FILE):
        raise _no_tokens(directory)
    where = str(directory.root / FILE)
    size = integer(directory, "vocab_size")
    plain = JsonTokenizer(directory.read(FILE), size, where=where)
    agree(directory, "pad_token_id", plain.pad_id, FILE)
    agree(directory, "eos_token_id", plain.eos_id, FILE)
    source, target = _source_start(directory, plain), _forced_start(directory, size)
    if target is None and not plain.languages:
        target = source
    return plain.starting(source, target)


def longest(directory: Directory) -> int:
    """Returns the longest sentence that the model was made for, its end counted."""
    return integer(directory, "max_position_embeddings")


def config_of(directory: Directory) -> BartConfig:
    """Returns the configuration of a directory's model.

    Raises:
        InputError: our Transformer cannot express it.
    """
    kind = directory.config["model_type"]
    sinusoidal = kind == "m2m_100"
    require(directory, "tie_word_embeddings", True, default=True)
    number = partial(integer, directory)
    for name in ("attention_heads", "ffn_dim"):
        require(directory, f"decoder_{name}", number(f"encoder_{name}"))
    if kind != "bart":
        # mBART of 25 languages begins to write with the language instead.
        require(directory, "decoder_start_token_id", number("eos_token_id"))
    return BartConfig(
        vocab_size=number("vocab_size"),
        num_layers=layers(directory, "encoder_layers"),
        num_decoder_layers=layers(directory, "decoder_layers"),
        model_dim=number("d_model"),
        mlp_dim=number("encoder_ffn_dim"),
        num_heads=number("encoder_attention_heads"),
        activation=choose(directory, "activation_function", ACTIVATIONS),
        positions="sinusoidal" if sinusoidal else "learned",
        max_positions=number("max_position_embeddings"),
        pre_norm=kind != "bart",
        scaled=flag(directory, "scale_embedding", sinusoidal),
        dropout_rate=rate(directory, "dropout"),
        attention_dropout_rate=rate(directory, "attention_dropout"),
        pad_id=token(directory, "pad_token_id"),
        start_id=token(directory, "decoder_start_token_id"),
        eos_id=token(directory, "eos_token_id"),
    )


def rules(config: BartConfig) -> list[Rule]:
    """Returns what their tensors become."""
    found = marian.rules(config.num_heads, START)
    for side, ours in (("encoder", "source"), ("decoder", "target")):
        theirs = rf"{START}{side}\."
        found += norm_rules(rf"{theirs}layernorm_embedding", f"{ours}_norm")
        found += norm_rules(rf"{theirs}layer_norm", f"{side}_norm")
        if config.positions == "learned":
            found.append(
                Rule(
                    rf"{theirs}embed_positions\.weight",
                    f"{ours}_positions/table",
                    lambda table: table[UNUSED:],
                )
            )
    return found


def _forced_start(directory: Directory, vocab_size: int) -> list[int] | None:
    """Returns what every translation begins with, None where nothing is said."""
    name, values = settings(directory)
    forced = values.get("forced_bos_token_id")
    if forced is None:
        return None
    if type(forced) is not int or not 0 <= forced < vocab_size:
        raise InputError(
            f"{directory.root / name}: forced_bos_token_id is {str(forced)[:80]}, "
            f"which is none of {vocab_size} tokens"
        )
    return [forced]


def _source_start(directory: Directory, plain: JsonTokenizer) -> list[int] | None:
    """Returns what every sentence begins with, None where that is to be chosen."""
    template = plain.template()
    start = template[: [*template, plain.eos_id].index(plain.eos_id)]
    if not plain.languages:
        return start
    name = "tokenizer_config.json"
    values = directory.read_json(name) if directory.has(name) else {}
    if values.get("legacy_behaviour"):
        raise InputError(
            f"{directory.root / name}: legacy_behaviour puts the language behind the "
            "text; a model that was trained with it before the text needs false there"
        )
    if (language := values.get("src_lang")) is not None:
        language = str(language)[:80]
        if language not in plain.languages:
            raise unknown(f"src_lang in {directory.root}", language, plain.languages)
        return [plain.languages[language]]
    # Early files of NLLB have the language behind the end, and say nothing else.
    return start if {*start} & {*plain.languages.values()} else None


def _no_tokens(directory: Directory) -> InputError:
    if directory.config["model_type"] == "m2m_100" and directory.has("vocab.json"):
        return InputError(
            f"{directory.root}: the tokens of M2M100 (vocab.json) cannot be read; use "
            f"a model that has a {FILE}, such as NLLB-200"
        )
    source, target = directory.origin()
    return InputError(
        f'{directory.root}: no {FILE}; write it with python -c "import '
        f"transformers; transformers.AutoTokenizer.from_pretrained('{source}')"
        f".save_pretrained('{target}')\""
        + (f", add the model's files and give {target}" if source != target else "")
    )
