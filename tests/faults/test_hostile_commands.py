"""The short version of `python -m benchmarks.faults.hostile_commands`."""

import random

from benchmarks.faults import hostile, hostile_commands


def test_a_command_ends_with_one_line_and_what_it_takes_is_counted(tmp_path):
    hostile_case = hostile.picture_that_is_a_bomb(tmp_path, random.Random(0))
    next(hostile_case)
    command = hostile_commands.COMMANDS[hostile.picture_that_is_a_bomb](tmp_path)
    assert hostile_commands.outcome(command, limit=4_000) == "refused"
    assert hostile_commands.outcome(command, limit=10).endswith(" MB")


def test_a_traceback_is_told():
    found = hostile_commands.outcome(["no.such.module"], limit=4_000)
    assert found.startswith("status 1: ")


def test_nearly_all_classes_are_given_to_commands():
    # Two more, of checkpoints and of what is no file, are made by the command itself.
    assert set(hostile_commands.COMMANDS) < set(hostile.CLASSES)
    assert len(hostile_commands.COMMANDS) >= 12
