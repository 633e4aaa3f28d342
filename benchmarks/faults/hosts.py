"""Trains on two hosts, kills one, cuts their link, stops one, and starts both again.

The hosts are two network namespaces of this machine with a link between them. Whatever
happens to one of them, both must end, or go on where the link was cut for a moment;
started again they must go on from the last checkpoint, and end with the parameters of
two hosts to which nothing happened, bit for bit. Where a run ends before all faults
were made, another one takes the rest.

    python -m benchmarks.faults.hosts --faults 12

Each fault is told at once, and all of them in one line at the end. Where the system
refuses namespaces, a line says so, and nothing is run.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.faults.kills import (
    COMPILED_ONCE,
    command,
    finished_steps,
    parameters,
)

HOSTS = {"zoo0": "10.77.0.1", "zoo1": "10.77.0.2"}
HEARTBEAT = 10
PATIENCE = 12 * HEARTBEAT  # for one host to notice that the other one has ended
INSIDE = "ZOO_FAULTS_INSIDE"
FAULTS = ("kill", "cut 2 s", "cut 60 s", "SIGTERM")
# What a supervisor starts again: a stopped, a killed, a bereft host.
RESTARTED = {143, -signal.SIGTERM, -signal.SIGKILL, 134, -signal.SIGABRT}


def enter_namespaces() -> None:
    """Runs this command again where it may make networks; ends it if it may not."""
    new = ["unshare", "--user", "--map-root-user", "--mount", "--net", "--uts"]
    try:
        subprocess.run([*new, "ip", "netns"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        print("skipped: this system refuses network namespaces (unshare, ip netns)")
        sys.exit(0)
    arguments = [sys.executable, "-m", "benchmarks.faults.hosts", *sys.argv[1:]]
    os.execvpe(new[0], [*new, *arguments], {**os.environ, INSIDE: "1"})


def make_network(folder: Path) -> None:
    """Makes the two hosts, and a link between them."""
    lines = "\n".join(f"{address} {host}" for host, address in HOSTS.items())
    (folder / "hosts").write_text(f"127.0.0.1 localhost\n{lines}\n")
    steps = ["mount -t tmpfs none /run"]  # where ip keeps the names
    steps += [f"ip netns add {host}" for host in HOSTS]
    one, other = HOSTS
    link = "ip link add wire"
    steps += [f"{link} netns {one} type veth peer name wire netns {other}"]
    for host, address in HOSTS.items():
        steps += [f"ip -n {host} addr add {address}/24 dev wire"]
        steps += [f"ip -n {host} link set {device} up" for device in ("lo", "wire")]
    for step in steps:
        subprocess.run(step.split(), check=True)


def set_link(state: str) -> None:
    subprocess.run(["ip", "-n", "zoo0", "link", "set", "wire", state], check=True)


def start(folder: Path, workdir: Path, num_steps: int, port: int):
    """Returns the processes of both hosts; what they say is in the folder."""
    processes = []
    for number, host in enumerate(HOSTS):
        arguments = [
            *command("translate", workdir, num_steps, 0),
            f"--hosts.coordinator-address={HOSTS['zoo0']}:{port}",
            f"--hosts.num-processes={len(HOSTS)}",
            f"--hosts.process-id={number}",
            f"--hosts.heartbeat-seconds={HEARTBEAT}",
        ]
        # Gloo asks for the address of a host's own name.
        names = f"mount --bind {folder / 'hosts'} /etc/hosts && hostname {host} && exec"
        shell = ["unshare", "--uts", "sh", "-c", f'{names} "$@"', "sh", *arguments]
        with (folder / f"{host}.log").open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", host, *shell],
                env={
                    **COMPILED_ONCE,
                    "JAX_COMPILATION_CACHE_DIR": str(folder / "jax"),
                    **os.environ,
                    "JAX_PLATFORMS": "cpu",
                },
                stdout=log,
                stderr=log,
            )
        processes.append(process)
    return processes


def make_fault(fault: str, victim: subprocess.Popen) -> None:
    """Does something to one host, or to the link between both."""
    if fault == "kill":
        victim.kill()
    elif fault == "SIGTERM":
        victim.terminate()
    else:
        set_link("down")
        time.sleep(float(fault.split()[1]))
        set_link("up")


def statuses(processes) -> list[int]:
    """Waits for both hosts; if one ends, the other one must do so soon after."""
    while all(process.poll() is None for process in processes):
        time.sleep(0.1)
    limit = PATIENCE if any(process.poll() for process in processes) else 3_600
    try:
        return [process.wait(limit) for process in processes]
    except subprocess.TimeoutExpired:
        for process in processes:
            process.kill()
        raise SystemExit(f"a host went on for {limit} s after the other one") from None


def train(folder: Path, workdir: Path, num_steps: int, faults: list[str], rng) -> int:
    """Trains to the end with these faults; returns how many there were."""
    made, port = 0, 20_000
    while True:
        port += 1  # the old one may be taken for a minute after its host was killed
        before, began = max(finished_steps(workdir), default=0), time.monotonic()
        both, fault = start(folder, workdir, num_steps, port), None
        while made < len(faults) and all(one.poll() is None for one in both):
            if max(finished_steps(workdir), default=0) > before:
                time.sleep(rng.uniform(0, 1))
                if any(one.poll() is not None for one in both):
                    break
                victim = rng.choice(range(len(both)))
                fault = faults[made]
                made += 1
                make_fault(fault, both[victim])
                if fault != "cut 2 s":
                    break
                print(f"{fault}: both go on at {before}", flush=True)
                before = max(finished_steps(workdir))
            time.sleep(0.05)
        ended = statuses(both)
        step = max(finished_steps(workdir), default=0)
        print(
            f"{fault or 'no fault'}: ended with {ended} at step {step} after "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
        if ended == [0, 0]:
            return made
        if not set(ended) <= RESTARTED:
            logs = [(folder / f"{host}.log").read_text()[-2_000:] for host in HOSTS]
            raise SystemExit("unrecoverable:\n" + "\n---\n".join(logs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--faults", type=int, default=12)
    parser.add_argument("--num-steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        enter_namespaces()
    rng, began = random.Random(arguments.seed), time.monotonic()
    faults = [FAULTS[number % len(FAULTS)] for number in range(arguments.faults)]
    rng.shuffle(faults)
    made = runs = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_network(folder)
        whole = folder / "whole"
        train(folder, whole, arguments.num_steps, [], rng)
        while made < len(faults):
            broken = folder / f"broken-{runs}"
            made += train(folder, broken, arguments.num_steps, faults[made:], rng)
            runs += 1
            if parameters(whole) != parameters(broken):
                raise SystemExit(f"after {made} faults the final parameters differ")
    counted = ", ".join(f"{faults.count(fault)} {fault}" for fault in FAULTS)
    print(
        f"{made} faults of {runs} runs ({counted}): 0 unrecoverable, final parameters "
        f"bit-equal; {time.monotonic() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
