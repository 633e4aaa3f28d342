"""What the hosts of a run have to have in common."""

import jax
import numpy as np
import pytest

from zoo.errors import InputError
from zoo.training import hosts
from zoo.training.hosts import NAME_BYTES, fingerprint, require_same


def test_hosts_that_disagree_are_both_named():
    def row(name, value):
        return name.ljust(NAME_BYTES).encode() + bytes.fromhex(fingerprint(value))

    same = [row("red", {"a": 1, "b": 2}), row("blue", {"b": 2, "a": 1})]
    require_same("config", same)
    digests = [fingerprint({"a": 1, "b": 2})[:12], fingerprint({"a": 2})[:12]]
    with pytest.raises(InputError) as error:
        require_same("config", [*same, row("green", {"a": 2})])
    assert str(error.value) == (
        f"the hosts disagree on the config: process 0 (red) has {digests[0]}, process "
        f"2 (green) has {digests[1]}; give all of them the same config"
    )


def test_all_hosts_compare_what_each_of_them_has(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)

    def gather(row):
        other = row.copy()
        other[NAME_BYTES] ^= 1
        return np.stack([row, other])

    monkeypatch.setattr(hosts.multihost_utils, "process_allgather", gather)
    with pytest.raises(InputError, match="disagree on the data"):
        hosts.agree("data", lambda: fingerprint(1))
