"""What a translation experiment can be told, and the presets that have been run.

Nothing here loads jax, so that `--help` answers at once.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from zoo.catalogue import config_to_json, model_config
from zoo.data.kinds import kind_from_json, kind_to_json
from zoo.data.sources import (
    Data,
    FilesData,
    PhrasesData,
    TfdsData,
    TransliterationData,
    TsvData,
    VersesData,
)
from zoo.errors import InputError, require_finite, require_positive, require_seed
from zoo.models.configs import ModelConfig
from zoo.training.config import HostsConfig, OptimizerConfig, TrainingConfig


@dataclass(frozen=True)
class TranslationTraining(TrainingConfig):
    """How long, and in what portions.

    Attributes:
        tokens_per_batch: cells of the longer side of a batch, padding included.
        num_buckets: shapes of batches, each of which is compiled once.
        packed_length: cells of a row, on its longer side, that several pairs of the
            training text share, in batches of one shape; for a Transformer. 0 gives
            each pair a row of its own.
    """

    tokens_per_batch: int = 4_096
    num_buckets: int = 3
    packed_length: int = 0
    label_smoothing: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "tokens_per_batch", "num_buckets")
        if self.packed_length < 0:
            raise InputError(
                f"packed_length is {self.packed_length}, but must not be negative"
            )


@dataclass(frozen=True)
class DecodingConfig:
    """How the test set is translated.

    Attributes:
        beam_size: hypotheses kept at each step; 1 is greedy.
        length_penalty: scores are log-probabilities over length to this power.
        average: checkpoints whose mean translates, the last so many evaluated ones; 1
            is the best one.
    """

    beam_size: int = 1
    length_penalty: float = 1.0
    average: int = 1

    def __post_init__(self):
        require_positive(self, "beam_size", "average")
        require_finite(self, "length_penalty")


@dataclass(frozen=True)
class Config:
    """A translation experiment.

    Attributes:
        init_from: run, directory of Hugging Face or hub id whose parameters training
            begins with; the model and the tokens are its own then, whatever the
            preset says.
        hosts: of a run on several hosts; see docs/scaling.md.
        workdir: folder of the run; the same config again goes on where it stopped.
        seed: of parameters, dropout, order of the data, and generated phrases.
    """

    model: ModelConfig
    data: Data = field(default_factory=PhrasesData)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: TranslationTraining = field(default_factory=TranslationTraining)
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    seed: int = 0
    init_from: str | None = None
    hosts: HostsConfig = field(default_factory=HostsConfig)
    workdir: Path = Path("runs/translate")

    def __post_init__(self):
        require_seed(self)
        self.training.check(self.optimizer)
        training, average = self.training, self.decoding.average
        evaluations = -(-training.num_steps // training.evaluation_interval)
        if average > evaluations:
            raise InputError(
                f"average is {average}, but {training.num_steps} updates have only "
                f"{evaluations} evaluations; lower --decoding.average or "
                "--training.evaluation-interval"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns what makes the run what it is: everything but its places."""
        values = {**asdict(self), "model": config_to_json(self.model)}
        values["data"] = kind_to_json(self.data)
        del values["workdir"], values["hosts"]
        if self.init_from is None:
            del values["init_from"]
        for name in ("remat", "packed_length"):
            if not values["training"][name]:
                del values["training"][name]
        return values


_PHRASES = Config(
    model=model_config(
        "transformer-tiny", vocab_size=2_000, num_layers=2, dropout_rate=0.0
    ),
    optimizer=OptimizerConfig(learning_rate=3e-3, schedule="cosine", warmup_steps=100),
    training=TranslationTraining(
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
    training=TranslationTraining(
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


# The recipe of Wu et al. (2021) on their files. Epochs are of 54 updates; training ends
# ten epochs after the best one, and the last ten checkpoints are averaged.
_WU2021 = Config(
    model=model_config("transformer-tiny", vocab_size=10_000),
    data=FilesData(
        source="en",
        target="de",
        validation="valid",
        test="test.2016",
        tokens="words",
    ),
    optimizer=OptimizerConfig(learning_rate=5e-3, warmup_steps=2_000, clip_norm=25.0),
    training=TranslationTraining(
        num_steps=8_000,
        tokens_per_batch=8_192,
        num_buckets=4,
        evaluation_interval=54,
        patience=10,
    ),
    decoding=DecodingConfig(beam_size=5, average=10),
)

# Verses of at most 25 words to train on and of up to 50 to test on.
_BIBLE = Config(
    model=model_config(
        "transformer-tiny",
        vocab_size=6_000,
        max_positions=192,
        num_layers=2,
        dropout_rate=0.1,
    ),
    data=VersesData(max_length=192),
    optimizer=OptimizerConfig(learning_rate=3e-3, schedule="cosine", warmup_steps=300),
    training=TranslationTraining(
        num_steps=3_200,
        tokens_per_batch=2_048,
        num_buckets=4,
        evaluation_interval=400,
    ),
    decoding=DecodingConfig(beam_size=5),
)


def _bible_rnn(name: str, **sizes: int) -> Config:
    """Returns the row of the bottleneck whose model is a recurrent one."""
    model = model_config(
        name, vocab_size=6_000, model_dim=192, dropout_rate=0.3, **sizes
    )
    optimizer = replace(_BIBLE.optimizer, learning_rate=2e-3)
    training = replace(_BIBLE.training, num_steps=2_400)
    return replace(_BIBLE, model=model, optimizer=optimizer, training=training)


def _bible_positions(positions: str) -> Config:
    return replace(_BIBLE, model=replace(_BIBLE.model, positions=positions))


# Some ten epochs of a list of 26,547 words and their Hangul.
_TRANSLITERATION = replace(
    _PHRASES,
    model=model_config(
        "transformer-tiny", vocab_size=2_000, num_layers=2, dropout_rate=0.1
    ),
    data=TransliterationData(),
    training=replace(
        _PHRASES.training,
        num_steps=2_000,
        label_smoothing=0.1,
        evaluation_interval=400,
    ),
    decoding=DecodingConfig(beam_size=5),
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
    "multi30k-marian": (
        "Multi30k, German to English, a Transformer that Marian can express.",
        replace(
            _MULTI30K,
            model=model_config(
                "marian-tiny",
                vocab_size=6_000,
                num_layers=3,
                num_decoder_layers=3,
                model_dim=256,
                mlp_dim=512,
            ),
        ),
    ),
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
    "wu2021": (
        "Multi30k, English to German, the recipe and the files of Wu et al. (2021).",
        _WU2021,
    ),
    "bible": ("Verses, Korean to English, Transformer.", _BIBLE),
    **{
        f"bible-{positions}": (
            f"The same verses and updates, Transformer with {positions} positions.",
            _bible_positions(positions),
        )
        for positions in ("learned", "rotary", "relative", "alibi")
    },
    "bible-bahdanau": (
        "The same verses, RNN with Bahdanau attention.",
        _bible_rnn("rnn-bahdanau", attention_dim=192),
    ),
    "bible-rnn": (
        "The same verses, RNN without attention.",
        _bible_rnn("rnn-gru"),
    ),
    "files": (
        "Your own aligned text files, Transformer.",
        Config(model=model_config("transformer-small"), data=FilesData()),
    ),
    "tsv": (
        "Your own tables, Transformer.",
        Config(model=model_config("transformer-small"), data=TsvData()),
    ),
    "tfds": (
        "A translation set of TensorFlow Datasets, Transformer.",
        Config(model=model_config("transformer-small"), data=TfdsData()),
    ),
    "transliteration": (
        "Foreign words to Hangul, letter by letter, Transformer.",
        _TRANSLITERATION,
    ),
}
DEFAULT_PRESET = "phrases"


def data_from_json(values: dict[str, Any]) -> Data:
    """Returns the data of a run's config.

    Raises:
        InputError: there is no such kind of data, or it has no such field.
    """
    return kind_from_json(values, Data)


def name_of(config: Config) -> str | None:
    """Returns the preset that a config equals but for seed and data, None if none."""
    for name, (_, preset) in PRESETS.items():
        same = all(
            getattr(config, part) == getattr(preset, part)
            for part in ("model", "optimizer", "training", "decoding")
        )
        if same and type(config.data) is type(preset.data):
            return name
    return None
