"""ViLT for questions about images (dandelin/vilt-b32-finetuned-vqa)."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

from zoo.catalogue import build
from zoo.data.vqa.answer_table import AnswerTable
from zoo.data.vqa.resizing import Rule as Resizing
from zoo.data.vqa.wordpieces import WordPieces
from zoo.errors import InputError
from zoo.models.vilt import Vilt
from zoo.models.visual_configs import ViltConfig
from zoo.models.visual_contract import initialize
from zoo.pretrained.conversion import (
    Rule,
    abstract,
    changed,
    convert,
    linear_rules,
    norm_rules,
)
from zoo.pretrained.directory import Directory
from zoo.pretrained.fields import rate, require
from zoo.pretrained.pixels import fitting, required
from zoo.pretrained.vit import (
    VIT_NAMES,
    first_map,
    layer_rules,
    patch_rules,
    sizes,
    whole,
)

IMAGE_NAMES = [f"vilt.embeddings.{name}" for name in VIT_NAMES]
WORDS = r"vilt\.embeddings\.text_embeddings\."
WORD_TYPES = "vilt.embeddings.text_embeddings.token_type_embeddings.weight"
WORD_POSITIONS = "vilt.embeddings.text_embeddings.position_embeddings.weight"


@dataclass(frozen=True)
class Processor:
    """What stands around a model that answers questions about images.

    Attributes:
        reader: makes ids of questions.
        resize: makes a picture what the model sees.
        answers: that the model chooses among.
    """

    reader: WordPieces
    resize: Resizing
    answers: AnswerTable


def load(directory: Directory) -> tuple[Vilt, Any, Processor]:
    """Returns the model, its parameters, and what stands around it.

    Raises:
        InputError: the directory is damaged, or of an unknown kind.
    """
    answers = answers_of(directory)
    config = config_of(directory, len(answers))
    reader = reader_of(directory, config)
    config = replace(config, pad_id=reader.pad_id)
    processor = Processor(
        reader,
        fitting(directory, config.image_size, config.patch_size),
        answers,
    )
    model = cast("Vilt", build(config))
    weights = directory.weights()
    # All words of a question are of the first type, so that it moves their positions.
    places = required(weights, directory, WORD_POSITIONS)
    types = required(weights, directory, WORD_TYPES)
    if not places.ndim == types.ndim == 2 or places.shape[1] != types.shape[1]:
        raise InputError(
            f"{directory.root}: {WORD_POSITIONS} {list(places.shape)} and {WORD_TYPES} "
            f"{list(types.shape)} are no tables of one width; download them again"
        )
    first = first_map(weights, directory, *IMAGE_NAMES)
    params = convert(
        changed(weights, first | {WORD_POSITIONS: places + types[:1]}),
        rules(config),
        abstract(partial(initialize, model)),
        ignored=(r".*position_ids", rf"{WORDS}token_type_embeddings\.weight"),
        where=str(directory.root),
    )
    return model, params, processor


def config_of(directory: Directory, num_answers: int) -> ViltConfig:
    """Returns the sizes of the model in a directory.

    Raises:
        InputError: they are no sizes, or the activation is another.
    """
    values = directory.config
    require(directory, "hidden_act", "gelu", default="gelu")
    require(directory, "layer_norm_eps", 1e-12, default=1e-12)
    return ViltConfig(
        **sizes(directory, values),
        vocab_size=whole(directory, values, "vocab_size", 30_522),
        num_answers=num_answers,
        image_size=whole(directory, values, "image_size", 384),
        patch_size=whole(directory, values, "patch_size", 32),
        max_words=whole(directory, values, "max_position_embeddings", 40),
        dropout_rate=rate(directory, "hidden_dropout_prob"),
    )


def answers_of(directory: Directory) -> AnswerTable:
    """Returns the answers in the order of their classes.

    Raises:
        InputError: config.json has none, or some number has none.
    """
    labels = directory.config.get("id2label")
    if not isinstance(labels, dict) or not labels:
        raise InputError(
            f"{directory.root}: config.json has no id2label; only models that were "
            "trained to answer questions can be read"
        )
    numbers = [str(number) for number in range(len(labels))]
    if {*labels} != {*numbers} or not all(isinstance(x, str) for x in labels.values()):
        raise InputError(
            f"{directory.root}: id2label in config.json is no list of "
            f"{len(labels)} answers; download it again"
        )
    return AnswerTable(tuple(labels[number] for number in numbers))


def reader_of(directory: Directory, config: ViltConfig) -> WordPieces:
    """Returns what makes ids of questions, from tokenizer.json or else vocab.txt.

    Raises:
        InputError: there is neither, or it has more pieces than the model.
    """
    if directory.has("tokenizer.json"):
        reader = WordPieces.load(directory.path("tokenizer.json"), config.max_words)
    else:
        name = "tokenizer_config.json"
        options = directory.read_json(name) if directory.has(name) else {}
        reader = WordPieces.of_vocabulary(
            directory.path("vocab.txt"),
            config.max_words,
            lowercase=bool(options.get("do_lower_case", True)),
        )
    if reader.vocab_size > config.vocab_size:
        raise InputError(
            f"{directory.root}: the tokenizer has {reader.vocab_size} pieces, but the "
            f"model knows {config.vocab_size}; give the tokenizer that belongs to it"
        )
    return reader


def rules(config: ViltConfig) -> list[Rule]:
    """Returns the rules for the names of ViltForQuestionAnswering."""
    return [
        *patch_rules(r"vilt\.embeddings\.", "image_encoder", "image_token"),
        Rule(rf"{WORDS}word_embeddings\.weight", "embedding/table"),
        Rule(rf"{WORDS}position_embeddings\.weight", "embedding/positions"),
        *norm_rules(rf"{WORDS}LayerNorm", "embedding/scale"),
        Rule(r"vilt\.embeddings\.token_type_embeddings\.weight", "types"),
        *layer_rules(r"vilt\.encoder\.layer\.(\d+)\.", config.num_heads),
        *norm_rules(r"vilt\.layernorm", "last_norm"),
        *linear_rules(r"vilt\.pooler\.dense", "pooler"),
        *linear_rules(r"classifier\.0", "hidden"),
        *norm_rules(r"classifier\.1", "hidden_norm"),
        *linear_rules(r"classifier\.3", "out"),
    ]
