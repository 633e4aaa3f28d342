"""Where the questions of an experiment come from: one frozen description a data set.

Each goes to JSON and back, and knows how its questions are read and which changes of a
picture cannot change an answer. Readers are imported when they are used, so that a
command can list its options at once.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8

from zoo.data.splits import Split, split_of
from zoo.data.vqa.examples import VisualQuestions, select
from zoo.errors import InputError, require_positive


@dataclass(frozen=True, kw_only=True)
class VisualSource:
    """What every kind of data has, and what an experiment asks of it.

    Attributes:
        max_words: longest question in words.
        min_count: an answer is a class if it is the right one of more questions to
            train on than this.
    """

    max_words: int = 12
    min_count: int = 0

    def __post_init__(self):
        require_positive(self, "max_words")

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The shape of an image: [Y, X, C], or [R, D] for features of regions."""
        raise NotImplementedError

    def read(self, split: Split, seed: int) -> VisualQuestions:
        """Returns the questions of one split.

        Args:
            seed: of pictures to train on that are made on the spot.

        Raises:
            InputError: a file is missing or damaged.
        """
        raise NotImplementedError

    def augment(
        self, images: Shaped[np.ndarray, "B ..."], generator: np.random.Generator
    ) -> Shaped[np.ndarray, "B ..."]:
        """Returns the images changed at random in ways that cannot change an answer."""
        return images


@dataclass(frozen=True)
class EasyVqaData(VisualSource):
    """One coloured shape an image, from the package easy-vqa.

    Examples:
        >>> EasyVqaData().image_shape
        (64, 64, 3)
    """

    image_shape = (64, 64, 3)

    def read(self, split: Split, seed: int) -> VisualQuestions:
        from zoo.data.vqa.easy_vqa import read_easy_vqa

        return read_easy_vqa(split)

    def augment(
        self, images: UInt8[np.ndarray, "B Y X C"], generator: np.random.Generator
    ) -> UInt8[np.ndarray, "B Y X C"]:
        from zoo.data.vqa.augmentation import mirrored_and_moved

        return mirrored_and_moved(images, generator)


@dataclass(frozen=True)
class SortOfClevrData(VisualSource):
    """Six coloured objects an image, made on the spot; half of the questions compare.

    Validation and test are the same for every seed. No image is changed in training:
    questions ask for left and top, and every pixel of a distance may count.

    Examples:
        >>> len(SortOfClevrData(num_test=1).read("test", seed=0).questions)
        20
    """

    num_train: int = 9_800
    num_validation: int = 500
    num_test: int = 2_000

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "num_train", "num_validation", "num_test")

    image_shape = (75, 75, 3)

    def read(self, split: Split, seed: int) -> VisualQuestions:
        from zoo.data.vqa.sort_of_clevr import sort_of_clevr

        return sort_of_clevr(split, getattr(self, f"num_{split}"), seed)


@dataclass(frozen=True)
class ShapesData(VisualSource):
    """Nine cells of coloured shapes an image; its test questions have new structures.

    Examples:
        >>> ShapesData(folder=Path("shapes")).image_shape
        (30, 30, 3)

    Attributes:
        folder: the published files; images to train on are made on the spot.
    """

    folder: Path = Path("shapes")

    image_shape = (30, 30, 3)

    def read(self, split: Split, seed: int) -> VisualQuestions:
        from zoo.data.vqa.shapes import read_shapes

        return read_shapes(self.folder, split, seed)


@dataclass(frozen=True)
class DaquarData(VisualSource):
    """Photographs of rooms, in the official split by image.

    Examples:
        >>> DaquarData(height=224, width=224).image_shape
        (224, 224, 3)

    Attributes:
        folder: all_qa_pairs.txt, the two lists of images, and images/.
        height: in pixels, that every picture is resized to.
        width: likewise.
    """

    folder: Path = Path("daquar")
    height: int = 96
    width: int = 128
    max_words: int = 32

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "height", "width")

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.height, self.width, 3

    def read(self, split: Split, seed: int) -> VisualQuestions:
        from zoo.data.vqa.daquar import read_daquar

        return read_daquar(self.folder, split, self.height, self.width)

    def augment(
        self, images: UInt8[np.ndarray, "B Y X C"], generator: np.random.Generator
    ) -> UInt8[np.ndarray, "B Y X C"]:
        from zoo.data.vqa.augmentation import in_other_light

        return in_other_light(images, generator)


@dataclass(frozen=True)
class VqaV2Data(VisualSource):
    """VQA v2 from its official files.

    Published numbers without the hidden test are trained on train2014 and tested on
    val2014. The questions of 5 % of the training images are for validation.

    Examples:
        >>> VqaV2Data(features=Path("bottom-up")).image_shape  # [R, D]
        (100, 2048)

    Attributes:
        folder: questions, annotations, and the folders of pictures.
        features: the folder of features of regions, to take instead of pictures.
        height: in pixels, that every picture is resized to.
        width: likewise.
        num_regions: at most so many of an image are taken from the features.
        region_dim: the width of the features.
        train: the part to train and validate on.
        test: the part to test on.
    """

    folder: Path = Path("vqa_v2")
    features: Path | None = None
    height: int = 224
    width: int = 224
    num_regions: int = 100
    region_dim: int = 2_048
    train: str = "train2014"
    test: str = "val2014"
    max_words: int = 32
    min_count: int = 8

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "height", "width", "num_regions", "region_dim")

    @property
    def image_shape(self) -> tuple[int, ...]:
        if self.features is None:
            return self.height, self.width, 3
        return self.num_regions, self.region_dim

    def read(self, split: Split, seed: int) -> VisualQuestions:
        from zoo.data.vqa.vqa_v2 import read_vqa_v2, read_vqa_v2_features

        part = self.test if split == "test" else self.train
        if self.features is None:
            shape = (self.height, self.width, 3)
            questions = read_vqa_v2(self.folder, part, shape)
        else:
            questions = read_vqa_v2_features(
                self.folder, self.features, part, self.num_regions, self.region_dim
            )
        if split == "test":
            return questions
        held_out = [split_of(image) == "validation" for image in questions.image_ids]
        chosen = np.array(held_out) == (split == "validation")
        if not chosen.any():
            raise InputError(
                f"{self.folder}: none of the {len(chosen)} images of {part} falls to "
                f"{split}; give more of them"
            )
        return select(questions, chosen[questions.image_of])


@dataclass(frozen=True)
class ClevrData(VisualSource):
    """CLEVR as TensorFlow Datasets prepares it; its validation set is the test set.

    Examples:
        >>> ClevrData(data_dir=Path("~/tensorflow_datasets")).image_shape
        (128, 192, 3)

    Attributes:
        data_dir: the folder in which TFDS keeps its data sets.
        height: in pixels, that every picture is resized to.
        width: likewise.
    """

    data_dir: Path = Path("~/tensorflow_datasets")
    height: int = 128
    width: int = 192
    max_words: int = 48

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "height", "width")

    @property
    def image_shape(self) -> tuple[int, ...]:
        return self.height, self.width, 3

    def read(self, split: Split, seed: int) -> VisualQuestions:
        from zoo.data.vqa.clevr import read_clevr

        return read_clevr(self.data_dir, split, (self.height, self.width, 3))


VisualData = (
    EasyVqaData | SortOfClevrData | ShapesData | DaquarData | VqaV2Data | ClevrData
)
