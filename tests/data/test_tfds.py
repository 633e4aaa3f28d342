"""A data set that TFDS itself prepares, in a folder, without network or TensorFlow."""

import json
import shutil
import sys

import numpy as np
import pytest

from zoo.data.text import ParallelText
from zoo.data.tfds import read_tfds
from zoo.errors import InputError

tfds = pytest.importorskip("tensorflow_datasets")

PAIRS = {
    "train": [(f"olá {n}", f"hello {n}") for n in range(20)],
    "validation": [("bom\u2028dia", " good day ")],
    "test": [("um", "one"), ("dois", "  "), ("", "three"), ("quatro", "four")],
}


class TinyTranslate(tfds.core.GeneratorBasedBuilder):
    """Portuguese and English, and a number that is no text."""

    VERSION = tfds.core.Version("1.9.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name="pt_to_en")]  # noqa: RUF012

    def _info(self):
        features = {
            "pt": tfds.features.Text(),
            "en": tfds.features.Text(),
            "year": tfds.features.Scalar(np.int32),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features)
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(pairs) for split, pairs in PAIRS.items()}

    def _generate_examples(self, pairs):
        for number, (source, target) in enumerate(pairs):
            yield number, {"pt": source, "en": target, "year": 2018}


class TinyTranslation(TinyTranslate):
    """The same with the feature that data sets of translations have."""

    def _info(self):
        features = tfds.features.Translation(languages=("pt", "en"))
        return self.dataset_info_from_configs(features=features)

    def _generate_examples(self, pairs):
        for number, (source, target) in enumerate(pairs):
            yield number, {"pt": source, "en": target}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.disable_progress_bar()
    for kind in (TinyTranslate, TinyTranslation):
        kind(data_dir=folder, file_format="array_record").download_and_prepare()
    return folder


def read(data_dir, split="train", name="tiny_translation/pt_to_en", **sides):
    sides = {"source": "pt", "target": "en", **sides}
    return read_tfds(name, data_dir, split, **sides)


def refusal(*arguments, **options):
    with pytest.raises(InputError) as caught:
        read(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["tiny_translation", "tiny_translate"])
def test_all_pairs_of_a_split_are_read_in_an_order_that_stays(data_dir, name):
    text = read(data_dir, name=f"{name}/pt_to_en")
    pairs = list(zip(text.source, text.target, strict=True))
    assert sorted(pairs) == sorted(PAIRS["train"])
    assert read(data_dir, name=f"{name}/pt_to_en") == text


def test_the_direction_is_the_readers_choice_and_no_space_is_lost(data_dir):
    text = read(data_dir, "validation", source="en", target="pt")
    assert text == ParallelText([" good day "], ["bom\u2028dia"])


def test_an_example_without_a_side_is_left_out_and_told(data_dir, caplog):
    text = read(data_dir, "test")
    assert sorted(text.source) == ["quatro", "um"]
    (record,) = caplog.records
    assert "test: left out: 2 examples without pt or en" in record.getMessage()
    places = {text.line(0), text.line(1)}
    assert len(places) == 2
    assert places < {1, 2, 3, 4}


def test_tensorflow_is_not_needed(data_dir):
    read(data_dir)
    assert "tensorflow" not in sys.modules


def test_the_newest_version_is_read(data_dir):
    versions = data_dir / "tiny_translation" / "pt_to_en"
    newest = versions / "1.10.0"
    newest.mkdir()
    text = (versions / "1.9.0" / "dataset_info.json").read_text()
    (newest / "dataset_info.json").write_text(text.replace("1.9.0", "1.10.0"))
    features = (versions / "1.9.0" / "features.json").read_bytes()
    (newest / "features.json").write_bytes(features)
    (shard,) = (versions / "1.9.0").glob("*-validation.array_record*")
    (newest / shard.name).write_bytes(shard.read_bytes())
    try:
        (versions / "1.9.0" / shard.name).rename(versions / "moved")
        assert read(data_dir, "validation").source == ["bom\u2028dia"]
    finally:
        (versions / "moved").rename(versions / "1.9.0" / shard.name)
        for path in newest.iterdir():
            path.unlink()
        newest.rmdir()


@pytest.mark.parametrize("name", ["tiny_translation", "nothing/pt_to_en"])
def test_a_set_that_is_not_prepared_is_refused_with_the_command(data_dir, name):
    message = refusal(data_dir, name=name)
    assert message.startswith(f"{data_dir / name}: no prepared data set")
    command = (
        f'tfds.builder("{name}", data_dir="{data_dir}", file_format="array_record"'
    )
    assert f"{command}).download_and_prepare()'" in message


def test_files_that_need_tensorflow_are_refused_with_the_command(data_dir, tmp_path):
    folder = tmp_path / "tiny_translation" / "pt_to_en" / "1.9.0"
    folder.mkdir(parents=True)
    prepared = data_dir / "tiny_translation" / "pt_to_en" / "1.9.0"
    for name in ("dataset_info.json", "features.json"):
        (folder / name).write_bytes((prepared / name).read_bytes())
    info = json.loads((folder / "dataset_info.json").read_text())
    info["fileFormat"] = "tfrecord"
    (folder / "dataset_info.json").write_text(json.dumps(info))
    message = refusal(tmp_path)
    assert message.startswith(f"{folder}: not in a format that can be read without")
    assert 'file_format="array_record"' in message


@pytest.mark.parametrize("damaged", ["dataset_info.json", "features.json", "shard"])
def test_damage_is_found_and_the_folder_named(data_dir, tmp_path, damaged):
    prepared = data_dir / "tiny_translation" / "pt_to_en" / "1.9.0"
    folder = tmp_path / "tiny_translation" / "pt_to_en" / "1.9.0"
    shutil.copytree(prepared, folder)
    (shard,) = folder.glob("*-train.array_record*")
    path = shard if damaged == "shard" else folder / damaged
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    message = refusal(tmp_path)
    assert message.startswith(f"{folder}: ")
    assert "damaged" in message
    assert "download_and_prepare" in message


@pytest.mark.parametrize(
    ("options", "claim"),
    [
        ({"split": "valid"}, "unknown split of tiny_translate/pt_to_en: 'valid'; did"),
        ({"source": "fr"}, "unknown text feature of tiny_translate/pt_to_en: 'fr'"),
        ({"target": "year"}, "unknown text feature of tiny_translate/pt_to_en: 'year'"),
    ],
)
def test_a_name_that_the_set_lacks_is_refused(data_dir, options, claim):
    assert claim in refusal(data_dir, name="tiny_translate/pt_to_en", **options)


def test_without_tfds_the_remedy_is_its_extra(data_dir, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    assert "pip install 'attention-zoo[tfds]'" in refusal(data_dir)
