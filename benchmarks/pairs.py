"""Two programs that do the same work, timed in turn, so that both meet the same noise.

Each runs in a process of its own, with the same environment, and waits while the other
works. First both compute the same thing from the same weights, and what they return is
compared; only then are they timed.
"""

import multiprocessing
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from scipy.stats import bootstrap


class Work(Protocol):
    """What a side does; it is made in the side's own process."""

    def check(self) -> Mapping[str, np.ndarray]:
        """Returns numbers in which both sides must agree."""
        ...

    def run(self) -> None:
        """Does the work once, to its end."""
        ...

    def flops(self) -> float:
        """Returns the floating-point operations of `run`; only the peer is asked."""
        ...


Make = Callable[..., Work]
Numbers = Mapping[str, np.ndarray]
Difference = Callable[[Numbers, Numbers], dict[str, float]]


class Side:
    """A process that makes its work when it is created, and does it when asked.

    Args:
        make: a function of a module, called in the process with `arguments`.
    """

    def __init__(self, make: Make, **arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, make, arguments), daemon=True
        )
        self._process.start()
        theirs.close()

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, *exception) -> None:
        self._connection.close()
        self._process.join()

    def check(self) -> dict[str, np.ndarray]:
        """Returns what the work's `check` does."""
        return self._ask("check")

    def seconds(self) -> float:
        """Does the work once and returns how long it took."""
        return self._ask("run")

    def peak_bytes(self) -> int:
        """Returns the most memory that was held so far: what the work says, if it does.

        That is for work on a device with a memory of its own; else it is the process's.
        """
        return self._ask("memory")

    def flops(self) -> float:
        """Returns what the work's `flops` does."""
        return self._ask("flops")

    def first_seconds(self) -> float:
        """Returns how long the first `run` took, making the work included."""
        return self._ask("first")

    def _ask(self, what: str) -> Any:
        self._connection.send(what)
        answer = self._connection.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


def _serve(connection, make: Make, arguments: dict[str, Any]) -> None:
    begun = time.perf_counter()
    work = make(**arguments)
    made = time.perf_counter() - begun
    first = None

    def run() -> float:
        nonlocal first
        begun = time.perf_counter()
        work.run()
        seconds = time.perf_counter() - begun
        first = made + seconds if first is None else first
        return seconds

    answers = {
        "check": work.check,
        "run": run,
        "first": lambda: first,
        "memory": getattr(work, "peak_bytes", process_peak_bytes),
        "flops": lambda: work.flops(),
    }
    while True:
        try:
            what = connection.recv()
        except EOFError:
            return
        try:
            connection.send(answers[what]())
        except Exception as error:
            connection.send(error)


def process_peak_bytes() -> int:
    """Returns the most memory that this process has held."""
    # `getrusage` would count what the parent held before it became this program.
    status = Path("/proc/self/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])


@dataclass(frozen=True)
class Paired:
    """What two sides took, in turn.

    Attributes:
        ours, peer: seconds of each run.
        flops: floating-point operations of one run, in matrix products.
        ours_bytes, peer_bytes: the most memory that each process held.
        cold_seconds, cached_seconds: to our first result, without and with what JAX
            has compiled before.
        differences: between what both compute, by what they are of.
    """

    ours: list[float]
    peer: list[float]
    flops: float
    ours_bytes: int
    peer_bytes: int
    cold_seconds: float
    cached_seconds: float
    differences: dict[str, float]

    @property
    def ratio(self) -> float:
        """The median of peer / ours: above one, we are faster."""
        return float(np.median(self._ratios))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % bootstrap interval of that median."""
        found = bootstrap(
            (self._ratios,),
            np.median,
            method="percentile",
            rng=np.random.default_rng(0),
        )
        return tuple(map(float, found.confidence_interval))

    @property
    def _ratios(self) -> np.ndarray:
        return np.array(self.peer) / np.array(self.ours)

    def to_json(self) -> dict[str, Any]:
        """Returns everything, summary first."""
        seconds = float(np.median(self.ours))
        low, high = np.quantile(self.ours, [0.25, 0.75])
        return {
            "ratio": self.ratio,
            "interval": self.interval,
            "median_seconds": seconds,
            "quartiles_seconds": [float(low), float(high)],
            "peer_median_seconds": float(np.median(self.peer)),
            "gflops_per_second": self.flops / seconds / 1e9,
            **asdict(self),
        }


def measure(
    ours: Make,
    peer: Make,
    *,
    num_pairs: int,
    difference: Difference,
    tolerances: Mapping[str, float],
    cache: Path,
    **arguments: Any,
) -> Paired:
    """Runs both sides in turn and returns what they took.

    Args:
        num_pairs: timed runs of each side, after two that warm up.
        difference: of what both compute, which may reach its tolerance.
        cache: an empty folder, for what JAX compiles.

    Raises:
        ValueError: the sides do not compute the same.
    """
    cold = _first(ours, cache=cache, **arguments)
    with Side(ours, cache=cache, **arguments) as we:
        computed = we.check()  # before the peer reads what ours has left for it
        with Side(peer, cache=cache, **arguments) as they:
            apart = difference(computed, they.check())
            require_close(apart, tolerances)
            for _ in range(2):
                we.seconds(), they.seconds()
            times = [(we.seconds(), they.seconds()) for _ in range(num_pairs)]
            peaks = we.peak_bytes(), they.peak_bytes()
            flops = they.flops()  # which may take memory
    return Paired(
        ours=[time for time, _ in times],
        peer=[time for _, time in times],
        flops=flops,
        ours_bytes=peaks[0],
        peer_bytes=peaks[1],
        cold_seconds=cold,
        # In a process of its own: the check above has compiled some of it already.
        cached_seconds=_first(ours, cache=cache, **arguments),
        differences=apart,
    )


def _first(make: Make, **arguments: Any) -> float:
    """Returns how long a process of its own takes to its first result."""
    with Side(make, **arguments) as side:
        side.seconds()
        return side.first_seconds()


def require_close(
    differences: Mapping[str, float], tolerances: Mapping[str, float]
) -> None:
    """Raises ValueError for a difference beyond its tolerance."""
    for name, tolerance in tolerances.items():
        if not differences[name] <= tolerance:
            raise ValueError(
                f"the {name} of both sides differ by {differences[name]:.1e}, which is "
                f"more than {tolerance:.0e}: they do not do the same work"
            )


def relative_distance(ours: Numbers, peer: Numbers) -> dict[str, float]:
    """Returns the distance of each array from the peer's, over the peer's length.

    In the Euclidean norm: where rounding decides on which side of zero one unit of a
    ReLU is, the gradient of one token differs by percents, and that of all by 1e-4.
    """
    if ours.keys() != peer.keys():
        raise ValueError(f"the sides return {sorted(ours)} and {sorted(peer)}")
    norm = np.linalg.norm
    return {
        "numbers": max(
            float(norm(ours[name] - peer[name]) / norm(peer[name])) for name in ours
        )
    }


def keep_compiled(folder: Path) -> None:
    """Lets JAX keep in a folder whatever it compiles."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(folder / "jax"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
