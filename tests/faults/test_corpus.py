"""The short version of `python -m benchmarks.faults.corpus`."""

import subprocess
import sys

import pytest

from benchmarks.faults import corpus


def test_a_run_on_many_pairs_is_timed_and_weighed(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "SECONDS", 0.02)
    corpus.write_corpus(tmp_path / "text", 20_000)
    text = sum(path.stat().st_size for path in (tmp_path / "text").iterdir())
    run = corpus.command(tmp_path / "text", tmp_path / "run", workers=0, num_steps=3)
    peak, seconds = corpus.measure(run, tmp_path / "cache")
    assert list(seconds) == ["read", "tokens", "plan", "steps"]
    assert 10**8 < peak < 10**9  # most of it is JAX
    kept = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*/*"))
    assert 10 * 20_000 < kept < text


def test_what_children_hold_is_counted():
    child = "x = bytearray(b'x' * 90_000_000); print(flush=True); import sys;"
    child += "sys.stdin.read()"
    parent = "import subprocess, sys; x = bytearray(b'x' * 50_000_000);"
    parent += "subprocess.run([sys.executable, '-c', sys.argv[1]])"
    with subprocess.Popen(
        [sys.executable, "-c", parent, child],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        assert 140e6 < corpus.resident(process.pid) < 200e6
    assert corpus.resident(process.pid) == 0


def test_every_number_is_another_pair_and_a_run_that_fails_is_told(tmp_path):
    pairs = {corpus.pair(number) for number in range(1_000)}
    assert len(pairs) == 1_000
    with pytest.raises(SystemExit, match="failed with 3"):
        corpus.measure([sys.executable, "-c", "raise SystemExit(3)"], tmp_path)
