"""What a translation experiment can be told, and the presets that have been run.

Nothing here loads jax, so that `--help` answers at once.
"""

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from zoo.catalogue import config_to_json, model_config
from zoo.errors import require_positive, require_rate
from zoo.models.configs import ModelConfig
from zoo.training.config import OptimizerConfig


@dataclass(frozen=True)
class PhrasesData:
    """Phrases of Unicode CLDR in two locales, made on the spot.

    Attributes:
        source_locale: a locale of Babel, such as en, de, pt_BR.
        target_locale: another one.
        max_length: longest sentence in subwords, end of sentence included.
    """

    source_locale: str = "en"
    target_locale: str = "ko"
    num_train: int = 60_000
    num_validation: int = 1_000
    num_test: int = 2_000
    lowercase: bool = False
    max_length: int = 96


@dataclass(frozen=True)
class FilesData:
    """Aligned text files FOLDER/SPLIT.LANGUAGE, or the same with .gz.

    Attributes:
        source: the ending of the source files, such as de.
        target: the ending of the target files, such as en.
        lowercase: fold case in the tokenizer, and ignore it in BLEU.
        max_length: longest sentence in subwords, end of sentence included.
    """

    folder: Path = Path()
    source: str = "de"
    target: str = "en"
    train: str = "train"
    validation: str = "val"
    test: str = "test"
    lowercase: bool = False
    max_length: int = 128


@dataclass(frozen=True)
class TsvData:
    """Tables with a header line, or the same with .gz.

    Attributes:
        source: the source's column.
        target: the target's column.
        lowercase: fold case in the tokenizer, and ignore it in BLEU.
        max_length: longest sentence in subwords, end of sentence included.
    """

    train: Path = Path("train.tsv")
    validation: Path = Path("validation.tsv")
    test: Path = Path("test.tsv")
    source: str = "source"
    target: str = "target"
    lowercase: bool = False
    max_length: int = 128


@dataclass(frozen=True)
class TrainingConfig:
    """How long, and in what portions.

    Attributes:
        num_steps: updates.
        tokens_per_batch: cells of the longer side of a batch, padding included.
        num_buckets: shapes of batches, each of which is compiled once.
        label_smoothing: probability spread over the vocabulary.
        evaluation_interval: updates between two evaluations and checkpoints.
        driver: what runs the step on the local devices.
    """

    num_steps: int = 1_000
    tokens_per_batch: int = 4_096
    num_buckets: int = 3
    label_smoothing: float = 0.1
    evaluation_interval: int = 250
    driver: Literal["jit", "pmap"] = "jit"

    def __post_init__(self):
        require_positive(
            self, "num_steps", "tokens_per_batch", "num_buckets", "evaluation_interval"
        )
        require_rate(self, "label_smoothing")


@dataclass(frozen=True)
class DecodingConfig:
    """How the test set is translated.

    Attributes:
        beam_size: hypotheses kept at each step; 1 is greedy.
        length_penalty: scores are log-probabilities over length to this power.
    """

    beam_size: int = 1
    length_penalty: float = 1.0

    def __post_init__(self):
        require_positive(self, "beam_size")


@dataclass(frozen=True)
class Config:
    """A translation experiment.

    Attributes:
        workdir: folder of the run; the same config again goes on where it stopped.
        seed: of parameters, dropout, order of the data, and generated phrases.
    """

    model: ModelConfig
    data: PhrasesData | FilesData | TsvData = field(default_factory=PhrasesData)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    seed: int = 0
    workdir: Path = Path("runs/translate")

    def to_json(self) -> dict[str, Any]:
        """Returns what makes the run what it is: everything but its place."""
        values = {**asdict(self), "model": config_to_json(self.model)}
        values["data"] = {"kind": type(self.data).__name__, **values["data"]}
        del values["workdir"]
        return values


_PHRASES = Config(
    model=model_config(
        "transformer-tiny", vocab_size=2_000, num_layers=2, dropout_rate=0.0
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, schedule="cosine", warmup_steps=100),
    training=TrainingConfig(
        num_steps=1_100,
        tokens_per_batch=2_048,
        num_buckets=2,
        label_smoothing=0.0,
        evaluation_interval=400,
    ),
)
# Ten epochs of Multi30k; the rows of the ladder differ in the model, and the
# Transformer takes twice as many updates of half the size.
_MULTI30K = Config(
    model=model_config("transformer-small", vocab_size=6_000),
    data=FilesData(test="test_2016_flickr", lowercase=True),
    optimizer=OptimizerConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=300),
    training=TrainingConfig(
        num_steps=2_980,
        tokens_per_batch=2_048,
        num_buckets=4,
        evaluation_interval=596,
    ),
    decoding=DecodingConfig(beam_size=5),
)


def _multi30k_rnn(name: str) -> Config:
    """Returns the row of the ladder whose model is a recurrent one."""
    return replace(
        _MULTI30K,
        model=model_config(name, vocab_size=6_000, dropout_rate=0.3),
        optimizer=replace(_MULTI30K.optimizer, learning_rate=2e-3),
        training=replace(
            _MULTI30K.training,
            num_steps=1_490,
            tokens_per_batch=4_096,
            evaluation_interval=298,
        ),
    )


PRESETS: dict[str, tuple[str, Config]] = {
    "phrases": ("Phrases of CLDR, English to Korean, Transformer.", _PHRASES),
    "phrases-bahdanau": (
        "The same phrases and updates, RNN with attention.",
        replace(
            _PHRASES,
            model=model_config(
                "rnn-bahdanau",
                vocab_size=2_000,
                model_dim=128,
                attention_dim=128,
                dropout_rate=0.0,
            ),
        ),
    ),
    "phrases-rnn": (
        "The same phrases and updates, RNN without attention.",
        replace(
            _PHRASES,
            model=model_config(
                "rnn-gru", vocab_size=2_000, model_dim=192, dropout_rate=0.0
            ),
        ),
    ),
    "multi30k": ("Multi30k, German to English, Transformer.", _MULTI30K),
    "multi30k-rnn": (
        "Multi30k, German to English, RNN without attention.",
        _multi30k_rnn("rnn-gru"),
    ),
    "multi30k-bahdanau": (
        "Multi30k, German to English, RNN with Bahdanau attention.",
        _multi30k_rnn("rnn-bahdanau"),
    ),
    **{
        f"multi30k-luong-{score}": (
            f"Multi30k, German to English, RNN with Luong's {score} attention.",
            _multi30k_rnn(f"rnn-luong-{score}"),
        )
        for score in ("dot", "general", "concat")
    },
    "files": (
        "Your own aligned text files, Transformer.",
        Config(model=model_config("transformer-small"), data=FilesData()),
    ),
    "tsv": (
        "Your own tables, Transformer.",
        Config(model=model_config("transformer-small"), data=TsvData()),
    ),
}
DEFAULT_PRESET = "phrases"


def data_from_json(values: dict[str, Any]) -> PhrasesData | FilesData | TsvData:
    """Returns the data that `Config.to_json` wrote."""
    values = dict(values)
    kinds = {kind.__name__: kind for kind in (PhrasesData, FilesData, TsvData)}
    kind = kinds[values.pop("kind")]
    paths = {field.name for field in fields(kind) if field.type is Path}
    return kind(
        **{
            name: Path(value) if name in paths else value
            for name, value in values.items()
        }
    )


def name_of(config: Config) -> str | None:
    """Returns the preset that a config equals but for seed and data, None if none."""
    for name, (_, preset) in PRESETS.items():
        same = replace(
            config, seed=preset.seed, workdir=preset.workdir, data=preset.data
        )
        if same == preset and type(config.data) is type(preset.data):
            return name
    return None
