"""A process that is killed while it saves."""

import random
import signal
import subprocess
import sys
import time

import jax.numpy as jnp

from zoo.checkpoints import Checkpoints

TRAINER = """
import sys
from pathlib import Path
import jax.numpy as jnp
from zoo.checkpoints import Checkpoints

shape, last = (250_000,), int(sys.argv[2])
with Checkpoints(Path(sys.argv[1])) as checkpoints:
    step = max(checkpoints.steps(), default=0)
    if step:
        tree = checkpoints.restore(step, {"params": jnp.zeros(shape)})
        assert (tree["params"] == step).all()
        assert checkpoints.note(step) == {"step": step}
    print("from", step, flush=True)
    for step in range(step + 1, last + 1):
        tree = {"params": jnp.full(shape, step, jnp.float32)}
        checkpoints.save(step, tree, loss=1 / step, note={"step": step})
"""


def start_trainer(directory, last):
    arguments = [sys.executable, "-c", TRAINER, str(directory), str(last)]
    pipe = subprocess.PIPE
    return subprocess.Popen(arguments, stdout=pipe, stderr=pipe, text=True)


def test_a_run_killed_while_saving_goes_on_from_a_whole_step(tmp_path):
    choose = random.Random(0)
    before = 0
    for _ in range(3):
        with start_trainer(tmp_path, 10**6) as trainer:
            assert int(trainer.stdout.readline().split()[1]) >= before
            with Checkpoints(tmp_path) as reader:
                while len(reader.steps()) < 2 or max(reader.steps()) < before + 3:
                    assert trainer.poll() is None, trainer.stderr.read()
                    time.sleep(0.005)
            time.sleep(choose.uniform(0, 0.05))
            trainer.send_signal(signal.SIGKILL)
        with Checkpoints(tmp_path) as reader:
            before = max(reader.steps())
            for step in reader.steps():
                found = reader.restore(step, {"params": jnp.zeros(250_000)})
                assert (found["params"] == step).all()
    with start_trainer(tmp_path, before + 1) as trainer:
        output, complaints = trainer.communicate()
    assert output == f"from {before}\n"
    assert complaints == ""  # neither warnings nor log lines
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [str(before), str(before + 1)]
    )
