"""What a command does around its work."""

import os
import subprocess
import sys
import warnings

import pytest
from jax.errors import JaxRuntimeError

from experiments.command import is_lost, run


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (JaxRuntimeError("UNAVAILABLE: Task 1 does not answer"), True),
        (JaxRuntimeError("DEADLINE_EXCEEDED: Barrier timed out"), True),
        (JaxRuntimeError("ABORTED: Task 1 was started again"), True),
        (JaxRuntimeError("CANCELLED: Barrier failed"), True),
        (JaxRuntimeError("INTERNAL: no heartbeat of task 1"), True),
        (JaxRuntimeError("UNKNOWN: Gloo AllReduce failed"), True),
        (ValueError("UNKNOWN: Gloo AllReduce failed"), True),
        (TimeoutError("a barrier of Orbax"), True),
        (JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory"), False),
        (JaxRuntimeError("INTERNAL: no such kernel"), False),
        (ValueError("UNAVAILABLE"), False),
    ],
)
def test_only_a_host_that_does_not_answer_is_lost(error, lost):
    assert is_lost(error) == lost


def test_what_pillow_warns_of_is_no_line_of_a_command():
    def main(_):
        warnings.warn_explicit("corrupt EXIF", UserWarning, "Image.py", 1, "PIL.Image")

    with pytest.raises(UserWarning):
        main([])
    run(main)


@pytest.mark.skipif(sys.platform != "linux", reason="GLIBC_TUNABLES are Linux's")
@pytest.mark.parametrize("given", [None, "glibc.malloc.check=0"])
def test_a_command_takes_huge_pages_unless_something_is_set(given):
    code = (
        "import os, sys\n"
        "from experiments.command import run\n"
        "def main(arguments):\n"
        "    print(os.environ['GLIBC_TUNABLES'], arguments, sys.stdin.read())\n"
        "run(main)"
    )
    variables = {**os.environ, "GLIBC_TUNABLES": given}
    variables = {name: value for name, value in variables.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-c", code, "--one", "two words"],
        env=variables,
        input="text",
        capture_output=True,
        text=True,
        check=True,
    )
    wanted = given or "glibc.malloc.hugetlb=1"
    assert done.stdout == f"{wanted} ['--one', 'two words'] text\n"
