import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.errors import InputError
from zoo.training import records
from zoo.training.records import Metrics, flatten, open_run, read_json, write_json

CONFIG = {"seed": 1, "model": {"num_layers": 3, "norm": "pre"}, "lengths": (8, 16)}
# What becomes a list, a string and null in JSON is still the same config.
CONFIG_OF_A_CORPUS = CONFIG | {"source": Path("a.de"), "limit": float("inf")}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_new_run_gets_its_config_and_the_same_config_opens_it_again(tmp_path):
    workdir = tmp_path / "runs" / "한국"
    open_run(workdir, CONFIG_OF_A_CORPUS)
    assert [file.name for file in workdir.iterdir()] == ["config.json"]
    before = (workdir / "config.json").stat().st_mtime_ns
    (workdir / "metrics.jsonl").write_text("")
    open_run(workdir, CONFIG_OF_A_CORPUS)
    assert (workdir / "config.json").stat().st_mtime_ns == before


def test_another_config_is_refused_with_every_field_that_differs(tmp_path):
    open_run(tmp_path / "run", CONFIG)
    before = (tmp_path / "run" / "config.json").read_bytes()
    changed = {"seed": 2, "model": {"num_layers": 3, "norm": "post"}, "extra": None}
    with pytest.raises(InputError) as error:
        open_run(tmp_path / "run", changed)
    assert str(error.value) == (
        f"{tmp_path}/run holds a run with another config: seed is 1 there and 2 here,"
        ' model.norm is "pre" there and "post" here,'
        " extra is absent there and null here,"
        " lengths is [8, 16] there and absent here;"
        " choose another --workdir or the original values"
    )
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(InputError, match=r"thesis\.tex, no config\.json.*--workdir"):
        open_run(tmp_path, CONFIG)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_killed_before_its_config_was_whole_can_begin_again(tmp_path):
    (tmp_path / "config.json.tmp").write_text('{"seed"')
    open_run(tmp_path, CONFIG)
    assert [file.name for file in tmp_path.iterdir()] == ["config.json"]


def test_a_workdir_that_is_a_file_is_an_input_error(tmp_path):
    (tmp_path / "file").write_text("")
    for workdir in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot hold a run"):
            open_run(workdir, CONFIG)


def test_true_and_one_are_different_values(tmp_path):
    open_run(tmp_path / "run", {"tied": True})
    with pytest.raises(InputError, match="tied is true there and 1 here"):
        open_run(tmp_path / "run", {"tied": 1})


def test_flatten_keeps_lists_and_empty_dicts_as_values():
    assert flatten({"a": {"b": {"c": 1}, "d": [2]}, "e": {}}) == {
        "a.b.c": 1,
        "a.d": [2],
        "e": {},
    }


def test_json_is_readable_text_and_comes_back(tmp_path):
    write_json(tmp_path / "x.json", {"locale": "한국어", "n": 2})
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text == '{\n  "locale": "한국어",\n  "n": 2\n}\n'
    assert read_json(tmp_path / "x.json") == {"locale": "한국어", "n": 2}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    write_json(tmp_path / "x.json", {"n": 1})

    def fail(descriptor):
        raise OSError("no space left")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(InputError, match=r"x\.json: cannot .*no space left"):
        write_json(tmp_path / "x.json", {"n": 2})
    assert read_json(tmp_path / "x.json") == {"n": 1}


def test_who_reads_while_a_file_is_written_anew_sees_the_old_one_to_its_end(tmp_path):
    write_json(tmp_path / "x.json", {"n": 1})
    with (tmp_path / "x.json").open() as reader:
        write_json(tmp_path / "x.json", {"n": 2})
        assert json.loads(reader.read()) == {"n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["x.json"]


def test_numbers_of_any_library_are_written_and_those_that_json_lacks_as_null(tmp_path):
    values = {"nan": float("nan"), "inf": -np.inf, "bad": np.float32("nan")}
    values |= {"jax": jnp.float32(0.5), "numpy": np.int64(3), "list": np.ones(2)}
    write_json(tmp_path / "x.json", values)
    assert read_json(tmp_path / "x.json") == {
        "nan": None,
        "inf": None,
        "bad": None,
        "jax": 0.5,
        "numpy": 3,
        "list": [1.0, 1.0],
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"x\.json cannot be read: No such file"),
        (b'{"a": 1,\n "b" 2}', r"x\.json:2 is not JSON"),
        (b'{"a": "\xff"}', r"x\.json is not UTF-8"),
        (b"[1]", r"x\.json holds no JSON object, but list"),
    ],
)
def test_json_that_cannot_be_read_is_an_input_error(tmp_path, content, message):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_json(tmp_path / "x.json")


def test_each_metric_is_in_the_file_at_once(tmp_path):
    metrics = Metrics(tmp_path / "metrics.jsonl", after_step=-1)
    metrics.write(step=1, split="train", loss_nats_per_token=jnp.float32(2.5))
    assert lines(tmp_path / "metrics.jsonl") == [
        {"step": 1, "split": "train", "loss_nats_per_token": 2.5}
    ]
    metrics.write(step=2, text="가\u2028나", loss_nats_per_token=float("nan"))
    written = (tmp_path / "metrics.jsonl").read_bytes().split(b"\n")[1]
    assert json.loads(written) == {
        "step": 2,
        "text": "가\u2028나",
        "loss_nats_per_token": None,
    }


def test_a_resumed_run_drops_the_lines_it_will_write_again(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, after_step=-1)
    for step in (0, 10, 10, 20):
        metrics.write(step=step)
    with path.open("a") as file:
        file.write('{"step": 30, "loss')
    Metrics(path, after_step=10).write(step=11)
    assert [line["step"] for line in lines(path)] == [0, 10, 10, 11]
    assert [file.name for file in tmp_path.iterdir()] == ["metrics.jsonl"]
    Metrics(path, after_step=-1)
    assert path.read_bytes() == b""


def test_a_half_written_line_is_cut_off_before_the_next_one(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes('{"step": 1}\n{"text": "가'.encode()[:-1])
    Metrics(path, after_step=5).write(step=2)
    assert [line["step"] for line in lines(path)] == [1, 2]


@pytest.mark.parametrize(
    "line", ["not json", "[1]", '{"loss": 1}', '{"step": null}', ""]
)
def test_a_line_no_run_has_written_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 1}}\n{line}\n{{"step": 3}}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl:2 is no JSON object"):
        Metrics(path, after_step=5)
    assert len(path.read_text().splitlines()) == 3


def test_the_environment_names_hardware_versions_and_commit():
    found = records.environment()
    assert found["hardware"].startswith(f"{len(os.sched_getaffinity(0))} x ")
    assert found["hardware"].endswith(", cpu")
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"] == sys.version.split()[0]
    json.dumps(found)


def git(directory, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    command = ["git", "-C", str(directory), *identity, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_code_and_says_if_it_has_changed(
    tmp_path, monkeypatch
):
    code = tmp_path / "records.py"
    code.write_text("1")
    monkeypatch.setattr(records, "__file__", str(code))
    assert records.environment()["commit"] is None  # no repository
    git(tmp_path, "init")
    (tmp_path / "other").write_text("1")
    git(tmp_path, "add", "other")
    git(tmp_path, "commit", "-m", "other")
    assert records.environment()["commit"] is None  # the repository of something else
    git(tmp_path, "add", "records.py")
    git(tmp_path, "commit", "-m", "code")
    git(tmp_path, "tag", "v1", "-m", "v1")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert records.environment()["commit"] == commit
    code.write_text("2")
    assert records.environment()["commit"] == commit + "-dirty"
    monkeypatch.setenv("PATH", "")
    assert records.environment()["commit"] is None  # no git


def test_importing_the_records_does_not_import_jax():
    check = "import sys, zoo.training.records; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True)
