"""What an experiment of questions about images can be told, and its presets.

Nothing here loads jax, so that `--help` answers at once.
"""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from zoo.catalogue import config_to_json, model_config
from zoo.data.kinds import kind_from_json, kind_to_json
from zoo.data.vqa.sources import (
    ClevrData,
    DaquarData,
    EasyVqaData,
    ShapesData,
    SortOfClevrData,
    VisualData,
    VqaV2Data,
)
from zoo.errors import InputError, require_positive, require_seed
from zoo.models.visual_configs import (
    EfficientNetConfig,
    TowerConfig,
    VisionTransformerConfig,
    VisualConfig,
)
from zoo.training.config import HostsConfig, OptimizerConfig, TrainingConfig


@dataclass(frozen=True)
class VisualTraining(TrainingConfig):
    """How long, in what portions, and against what.

    Attributes:
        images_per_batch: rows of a batch.
        questions_per_image: of a row; an image with more questions takes more rows.
        loss: "softmax" learns the right answer, "sigmoid" what every answer is worth.
    """

    images_per_batch: int = 64
    questions_per_image: int = 10
    loss: Literal["softmax", "sigmoid"] = "softmax"

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "images_per_batch", "questions_per_image")
        if self.loss == "sigmoid" and self.label_smoothing:
            raise InputError(
                f"label_smoothing {self.label_smoothing} is for the softmax; set it to "
                "0, or --training.loss softmax"
            )


@dataclass(frozen=True)
class Config:
    """An experiment of questions about images.

    Attributes:
        init_from: directory or hub id of a ViT or CLIP, or directory of an
            EfficientNet, whose weights the model's tower begins with; its sizes are its
            own then, whatever the preset says.
        hosts: of a run on several hosts; see docs/scaling.md.
        workdir: folder of the run; the same config again goes on where it stopped.
        seed: of parameters, dropout, order of the data, and generated images.
    """

    model: VisualConfig
    data: VisualData = field(default_factory=EasyVqaData)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    training: VisualTraining = field(default_factory=VisualTraining)
    seed: int = 0
    init_from: str | None = None
    hosts: HostsConfig = field(default_factory=HostsConfig)
    workdir: Path = Path("runs/vqa")

    def __post_init__(self):
        require_seed(self)
        self.training.check(self.optimizer)
        if self.training.loss == "sigmoid" and not hasattr(self.model, "num_answers"):
            raise InputError(
                "a model that writes its answers learns them with --training.loss "
                "softmax, and not sigmoid"
            )
        shape = self.data.image_shape
        wanted = shape[1] if len(shape) == 2 else 0
        given = getattr(self.model, "region_dim", 0)
        if given != wanted:
            raise InputError(
                f"region_dim is {given}, but the images of this data want {wanted}, "
                f"where 0 is pixels; set --model.region-dim {wanted}"
            )

    def to_json(self) -> dict[str, Any]:
        """Returns what makes the run what it is: everything but its places."""
        values = {**asdict(self), "model": config_to_json(self.model)}
        values["data"] = kind_to_json(self.data)
        values["image_shape"] = list(self.data.image_shape)
        del values["workdir"], values["hosts"]
        if self.init_from is None:
            del values["init_from"]
        if not self.training.remat:
            del values["training"]["remat"]
        return values


# 78 updates are an epoch of the 3,610 images that are not for validation.
_EASY_VQA = Config(
    model=model_config("stacked-attention-tiny"),
    optimizer=OptimizerConfig(learning_rate=2e-3, schedule="cosine", warmup_steps=100),
    training=VisualTraining(num_steps=1_000, evaluation_interval=200),
)
_SORT_OF_CLEVR = Config(
    model=model_config("stacked-attention-tiny"),
    data=SortOfClevrData(),
    optimizer=OptimizerConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=300),
    training=VisualTraining(
        num_steps=6_000,
        evaluation_interval=600,
        images_per_batch=32,
        questions_per_image=20,
    ),
)
# What computes all again for each question gains little by many of one image.
_SORT_OF_CLEVR_BY_QUESTION = replace(
    _SORT_OF_CLEVR.training,
    num_steps=12_000,
    evaluation_interval=1_000,
    questions_per_image=5,
)
_SHAPES = replace(
    _EASY_VQA,
    data=ShapesData(),
    training=VisualTraining(
        num_steps=4_000,
        evaluation_interval=500,
        images_per_batch=128,
        questions_per_image=1,
    ),
)
# Few questions and many words: strong dropout, and the end of training by validation.
_DAQUAR = replace(
    _EASY_VQA,
    model=model_config("stacked-attention-tiny", dropout_rate=0.5),
    data=DaquarData(),
    optimizer=OptimizerConfig(
        learning_rate=1e-3, schedule="cosine", warmup_steps=100, weight_decay=0.01
    ),
    training=VisualTraining(
        num_steps=1_200,
        evaluation_interval=60,
        images_per_batch=32,
        patience=5,
    ),
)
# The recipe of OpenVQA for region features: as many updates of 64 questions as are 13
# epochs of all of train2014, though with a cosine and not in steps. With 5 % held out
# for validation, 13 epochs would be 85,600.
_VQA_V2 = Config(
    model=model_config("mcan-small"),
    data=VqaV2Data(features=Path("vqa_v2_features")),
    optimizer=OptimizerConfig(
        learning_rate=1e-4, schedule="cosine", warmup_steps=20_000, epsilon=1e-9
    ),
    training=VisualTraining(
        num_steps=90_000,
        evaluation_interval=7_000,
        images_per_batch=64,
        questions_per_image=1,
        loss="sigmoid",
    ),
)
# Pictures of a reader's own: small enough for a CPU, ended by validation.
_PICTURES = Config(
    model=model_config("stacked-attention-tiny"),
    data=VqaV2Data(
        folder=Path("pictures"),
        height=96,
        width=96,
        train="train",
        test="test",
        min_count=0,
    ),
    optimizer=OptimizerConfig(learning_rate=1e-3, schedule="cosine", warmup_steps=100),
    training=VisualTraining(
        num_steps=2_000, evaluation_interval=100, images_per_batch=32, patience=5
    ),
)
_CLEVR = Config(
    model=model_config("mcan-small", region_dim=0, cnn_dim=64),
    data=ClevrData(),
    optimizer=OptimizerConfig(
        learning_rate=1e-4, schedule="cosine", warmup_steps=5_000
    ),
    training=VisualTraining(
        num_steps=88_000, evaluation_interval=5_500, images_per_batch=13
    ),
)
_TINY = {
    "stacked": "stacked-attention-tiny",
    "baseline": "vqa-baseline-tiny",
    "mcan": "mcan-tiny",
    "single-stream": "single-stream-tiny",
    "decoder": "answer-decoder-tiny",
}
_TITLES = {
    "stacked": "stacked attention",
    "baseline": "no attention",
    "mcan": "co-attention",
    "single-stream": "words and regions in one stream",
    "decoder": "answers written word by word",
}


_BY_QUESTION = ("mcan", "single-stream", "decoder")


def _rows(
    base: Config,
    name: str,
    title: str,
    by_question: VisualTraining | None = None,
) -> dict[str, tuple[str, Config]]:
    """Returns a preset for each model on the same data, stacked attention first.

    Args:
        by_question: the training of models that compute all for each question; that
            of the others by default.
    """
    by_question = by_question or base.training
    return {
        name if model == "stacked" else f"{name}-{model}": (
            f"{title}, {_TITLES[model]}.",
            replace(
                base,
                model=model_config(preset, dropout_rate=base.model.dropout_rate),
                training=by_question if model in _BY_QUESTION else base.training,
            ),
        )
        for model, preset in _TINY.items()
    }


def _on_tower(tower: TowerConfig) -> Config:
    """Returns DAQUAR on an image encoder of others, which stays as it is."""
    return replace(
        _DAQUAR,
        model=replace(_DAQUAR.model, tower=tower),
        data=DaquarData(height=224, width=224),
        optimizer=replace(_DAQUAR.optimizer, frozen=("image_encoder/tower",)),
    )


PRESETS: dict[str, tuple[str, Config]] = {
    **_rows(_EASY_VQA, "easy-vqa", "One coloured shape an image"),
    **_rows(
        _SORT_OF_CLEVR,
        "sort-of-clevr",
        "Six objects an image, made on the spot",
        by_question=_SORT_OF_CLEVR_BY_QUESTION,
    ),
    **_rows(_SHAPES, "shapes", "Nine cells an image, from a folder"),
    **_rows(_DAQUAR, "daquar", "Photographs of rooms, from a folder"),
    "daquar-vit": (
        "Photographs of rooms, stacked attention on a ViT, --init-from its weights.",
        _on_tower(VisionTransformerConfig()),
    ),
    "daquar-efficientnet": (
        "Photographs of rooms, stacked attention on an EfficientNet, --init-from its "
        "weights.",
        _on_tower(EfficientNetConfig()),
    ),
    "pictures": (
        "Pictures and questions of your own, from a folder, stacked attention.",
        _PICTURES,
    ),
    "vqa-v2": ("VQA v2 from its official files, co-attention on features.", _VQA_V2),
    "clevr": ("CLEVR from TensorFlow Datasets, co-attention on pixels.", _CLEVR),
}
DEFAULT_PRESET = "easy-vqa"


def data_from_json(values: dict[str, Any]) -> VisualData:
    """Returns the data of a run's config.

    Raises:
        InputError: there is no such kind of data, or it has no such field.
    """
    return kind_from_json(values, VisualData)


def name_of(config: Config) -> str | None:
    """Returns the preset that a config equals but for seed and data, None if none."""
    for name, (_, preset) in PRESETS.items():
        same = all(
            getattr(config, part) == getattr(preset, part)
            for part in ("model", "optimizer", "training")
        )
        if same and type(config.data) is type(preset.data):
            return name
    return None
