"""The files of experiments/launch start again after what a new start can mend alone."""

import os
import re
import subprocess
from pathlib import Path

import pytest

LAUNCH = Path(__file__).resolve().parent.parent / "experiments/launch"


def with_fakes(folder, **programs):
    """Returns an environment in which these scripts are found first."""
    for name, lines in programs.items():
        (folder / name).write_text(f"#!/bin/bash\n{lines}\n")
        (folder / name).chmod(0o755)
    path = f"{folder}:{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "SLURM_JOB_ID": "17", "ZOO_PAUSE": "0"}


def run(file, arguments, environment, folder):
    return subprocess.run(
        ["bash", LAUNCH / file, *arguments],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=10,
    )


@pytest.mark.parametrize(
    ("status", "ends", "again"),
    [
        *[(0, 0, False), (1, 2, False), (2, 2, False), (127, 2, False)],
        *[(143, 0, True), (134, 0, True), (137, 0, True), (130, 0, True)],
    ],
)
def test_slurm_queues_a_job_again_unless_it_is_done_or_wrong(
    tmp_path, status, ends, again
):
    environment = with_fakes(
        tmp_path,
        # Two tasks, of which srun gives the higher status.
        srun='shift; "$@"; first=$?; [ $first -eq 0 ] || exit 143',
        scontrol='echo "$@" > requeued',
        python=f'echo "$@" > called; exit {status}',
    )
    arguments = ["runs/one/", "module", "two words"]
    done = run("slurm.sbatch", arguments, environment, tmp_path)
    assert done.returncode == ends, done.stderr
    called = (tmp_path / "called").read_text()
    assert called == "-m module two words --workdir runs/one\n"
    assert (tmp_path / "requeued").exists() == again
    if again:
        assert (tmp_path / "requeued").read_text() == "requeue 17\n"


@pytest.mark.parametrize(("restarts", "again"), [("99", True), ("100", False)])
def test_slurm_gives_up_where_a_new_start_does_not_help(tmp_path, restarts, again):
    environment = with_fakes(
        tmp_path,
        srun='shift; "$@"',
        scontrol='echo "$@" > requeued',
        python="exit 137",  # killed for its memory at every start
    )
    environment["SLURM_RESTART_COUNT"] = restarts
    done = run("slurm.sbatch", ["runs/one", "module"], environment, tmp_path)
    assert done.returncode == (0 if again else 2)
    assert (tmp_path / "requeued").exists() == again
    assert ("started again 100 times" in done.stderr) == (not again)


def test_a_task_of_slurm_hears_that_its_time_is_over(tmp_path):
    environment = with_fakes(
        tmp_path,
        # As Slurm does: the signal goes to the task alone.
        srun="""shift; "$@" & task=$!
            until [ -e listens ]; do sleep 0.02; done
            kill -TERM $task; wait $task""",
        scontrol='echo "$@" > requeued',
        # Saves for a while, and then ends.
        python="""trap 'sleep 0.2; touch saved; exit 143' TERM
            touch listens
            while true; do sleep 0.02; done""",
    )
    done = run("slurm.sbatch", ["run", "module"], environment, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "saved").exists()
    assert (tmp_path / "requeued").exists()


@pytest.mark.parametrize("end", [0, 1, 2])
def test_a_host_of_a_tpu_starts_again_until_it_is_done_or_wrong(tmp_path, end):
    statuses = [143, 134, 137, end]
    (tmp_path / "attention-zoo").mkdir()
    environment = with_fakes(
        tmp_path,
        gcloud='bash -c "${!#}"',  # the last argument is the command
        python3=f"""printf '%s\\n' "$@" >> args; echo >> starts
            statuses=({" ".join(map(str, statuses))})
            exit ${{statuses[$(wc -l < starts) - 1]}}""",
    )
    arguments = ["slice", "zone", "module", "two words", "$HOME"]
    done = run("tpu_pod.sh", arguments, environment, tmp_path)
    assert done.returncode == end, done.stderr
    lines = (tmp_path / "attention-zoo/args").read_text().splitlines()
    assert lines == ["-m", "module", "two words", "$HOME", "--hosts.detect"] * 4


def test_a_host_of_a_tpu_gives_up_where_another_does_not_come_back(tmp_path):
    (tmp_path / "attention-zoo").mkdir()
    environment = with_fakes(
        tmp_path,
        gcloud='bash -c "${!#}"',
        python3="echo >> starts; exit 134",
    )
    done = run("tpu_pod.sh", ["slice", "zone", "module"], environment, tmp_path)
    assert done.returncode == 134, done.stderr
    assert (tmp_path / "attention-zoo/starts").read_text().count("\n") == 11


def test_the_pods_of_kubernetes_are_as_many_as_they_are_told():
    text = (LAUNCH / "jobset.yaml").read_text()
    numbers = re.findall(r"(?:parallelism|completions): (\d+)", text)
    numbers += re.findall(r'JAX_NUM_PROCESSES\n +value: "(\d+)"', text)
    assert len(numbers) == 3
    assert len(set(numbers)) == 1
    # The first pod, by the names that JobSet gives.
    name = re.search(r"^  name: (\w+)", text, re.MULTILINE)[1]
    job = re.search(r"^    - name: (\w+)", text, re.MULTILINE)[1]
    assert f"{name}-{job}-0-0.{name}:" in text
    assert "values: [1, 2, 126, 127]" in text
