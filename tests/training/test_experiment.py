"""A run is begun once, on data that it knows again."""

import json

import numpy as np
import pytest
from PIL import Image

import experiments.translate.train
import experiments.vqa.train
from zoo.checkpoints import Checkpoints
from zoo.errors import InputError
from zoo.training.experiment import DATA, begin, require_same_data


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begun(workdir, fingerprint):
    """Begins a run, or goes on; returns how often it has saved what it needs."""
    saved = workdir / "saved"

    def save():
        with saved.open("a") as file:
            file.write("once\n")

    begin(workdir, {}, fingerprint, save)
    return len(saved.read_text().splitlines())


def test_what_stands_beside_checkpoints_is_written_once(tmp_path):
    assert begun(tmp_path, "aa") == 1
    require_same_data(tmp_path, "aa")
    assert begun(tmp_path, "aa") == 1
    assert json.loads((tmp_path / DATA).read_text()) == {"sha256": "aa"}
    with pytest.raises(InputError, match=r"other data \(aa there and bb here"):
        require_same_data(tmp_path, "bb")


def test_a_start_that_was_killed_before_it_was_over_is_made_again(tmp_path):
    assert begun(tmp_path, "aa") == 1
    (tmp_path / DATA).unlink()
    assert begun(tmp_path, "aa") == 2
    assert (tmp_path / DATA).exists()


def test_a_run_that_keeps_nothing_of_its_data_goes_on_as_it_is(tmp_path):
    assert begun(tmp_path, "aa") == 1
    (tmp_path / DATA).unlink()
    with Checkpoints(tmp_path / "checkpoints") as checkpoints:
        checkpoints.save(3, {"w": np.zeros(2)}, loss=1.0, note={})
    require_same_data(tmp_path, "bb")
    assert begun(tmp_path, "aa") == 1
    assert not (tmp_path / DATA).exists()


@pytest.fixture
def stopped(monkeypatch):
    """Begins a run that is stopped before its first update."""

    def stop(*_, **__):
        raise RuntimeError("stopped")

    monkeypatch.setattr("zoo.training.experiment.train_to_end", stop)

    def start(train, arguments):
        with pytest.raises(RuntimeError, match="stopped"):
            train.main(arguments)

    return start


def require_refused(train, arguments, workdir):
    before = contents(workdir)
    with pytest.raises(InputError, match=r"other data .*restore the data.*--workdir"):
        train.main(arguments)
    assert contents(workdir) == before


def test_two_answers_that_swap_their_rank_are_other_data(tmp_path, stopped):
    data, workdir = tmp_path / "daquar", tmp_path / "run"
    (data / "images").mkdir(parents=True)
    answers = ["lamp", "lamp", "book", "book", "lamp", "chair"]
    for number in (1, 2, 38):
        Image.new("RGB", (8, 8)).save(data / "images" / f"image{number}.png")
    (data / "train_images_list.txt").write_text("image2\nimage38\n")
    (data / "test_images_list.txt").write_text("image1\n")

    def write(answers):
        images = [2, 2, 2, 2, 2, 38]
        pairs = zip(images, answers, strict=True)
        lines = [f"what is left in the image{n} ?\n{answer}\n" for n, answer in pairs]
        (data / "all_qa_pairs.txt").write_text("".join(lines))

    write(answers)
    arguments = ["daquar", f"--data.folder={data}", f"--workdir={workdir}"]
    stopped(experiments.vqa.train, arguments)
    assert json.loads((workdir / "answers.json").read_text()) == ["lamp", "book"]
    write(["book", *answers[1:]])
    require_refused(experiments.vqa.train, arguments, workdir)
    write(answers)
    stopped(experiments.vqa.train, arguments)


def test_a_corrected_line_of_text_is_other_data(tmp_path, stopped):
    data, workdir = tmp_path / "corpus", tmp_path / "run"
    data.mkdir()
    for split in ("train", "val", "test"):
        for language in ("de", "en"):
            lines = [f"{language} words {number}\n" for number in range(40)]
            (data / f"{split}.{language}").write_text("".join(lines))
    arguments = ["files", f"--data.folder={data}", "--data.tokens=words"]
    arguments += ["--model.vocab-size=60", f"--workdir={workdir}"]
    stopped(experiments.translate.train, arguments)
    text = (data / "train.en").read_text()
    (data / "train.en").write_text(text.replace("words 7\n", "words 8\n"))
    require_refused(experiments.translate.train, arguments, workdir)
    (data / "train.en").write_text(text)
    stopped(experiments.translate.train, arguments)
