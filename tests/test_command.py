"""What a command does around its work."""

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
