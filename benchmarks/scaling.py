"""What a device holds and sends in an update, by strategy and number of devices.

A model on paper, from shapes alone: no array is made and nothing is compiled.

    python -m benchmarks.scaling transformer-big --devices 8 64 1024
    python -m benchmarks.scaling transformer-big --accumulation 4 --remat

With P bytes of parameters, of which C are in arrays that the rule cuts, n devices over
which the batch is divided and m that share a model:

    strategy    holds, but for activations    sends
    jit         4 P                           2 a P (n-1)/n
    sharded     4 P - 4 C (1 - 1/n)           a (2 (P - C) + 3 C) (n-1)/n
    2-D         4 P - 4 C (1 - 1/m)           2 a (P - C + C/m) (n-1)/n + 2 S (m-1)/m

The 4 are parameters, gradient and Adam's two moments; a moving average makes them 5.
A sum over n devices sends 2 (n-1)/n of its size from each of them, and gathering or
scattering half of that (Rajbhandari et al. 2020, section 7; Patarasuk and Yuan 2009):
cut parameters are gathered for the forward and for the backward pass, and their
gradient is summed where it is kept, for each of the a portions of a batch. S is what
the blocks of a 2-D mesh sum up, forward and backward (Shoeybi et al. 2019, section 3),
and forward once more with `--remat`. Parameters and gradients are float32 whatever the
precision, and S has half the bytes in bfloat16.
"""

import argparse
import math
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import AbstractMesh, NamedSharding

import zoo
from zoo.models.contract import initialize
from zoo.training.sharding import DATA, MODEL, Rule, heads, shards, whole

FLOAT = 4
COPIES = 4  # parameter, gradient, and Adam's mean and square


@dataclass(frozen=True)
class Strategy:
    """How devices divide the work.

    Attributes:
        rule: which part of an array a device holds.
        model_devices: that share one copy of the model.
    """

    rule: Rule
    model_devices: int = 1

    def mesh(self, num_devices: int) -> AbstractMesh:
        rows = num_devices // self.model_devices
        return AbstractMesh((rows, self.model_devices), (DATA, MODEL))


STRATEGIES = {
    "jit": Strategy(whole),
    "sharded": Strategy(shards),
    "2-D, m = 4": Strategy(heads, 4),
}


def pieces(strategy: Strategy, tree: Any, num_devices: int) -> list[tuple[int, int]]:
    """Returns the bytes of each array, of the whole and of a device's part."""
    mesh = strategy.mesh(num_devices)

    def sizes(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        sharding = NamedSharding(mesh, strategy.rule(name, leaf.shape, mesh))
        part = math.prod(sharding.shard_shape(leaf.shape))
        return leaf.size * leaf.dtype.itemsize, part * leaf.dtype.itemsize

    paths = jax.tree_util.tree_leaves_with_path(tree)
    return [sizes(path, leaf) for path, leaf in paths]


def held(strategy: Strategy, tree: Any, num_devices: int) -> int:
    """Returns the bytes of a tree of arrays that a device holds."""
    return sum(part for _, part in pieces(strategy, tree, num_devices))


def sent(
    strategy: Strategy,
    params: Any,
    num_devices: int,
    sums_per_model: int = 0,
    *,
    portions: int = 1,
) -> float:
    """Returns the bytes that a device sends in an update.

    Args:
        sums_per_model: bytes that the devices of a model sum up over a whole batch.
        portions: in which a batch is taken.
    """
    rows, shared = num_devices // strategy.model_devices, strategy.model_devices
    total = 2 * _ring(shared) * sums_per_model
    for size, part in pieces(strategy, params, num_devices):
        if strategy.rule is shards and part < size:
            total += 3 * portions * _ring(rows) * size
        else:
            total += 2 * portions * _ring(rows) * part
    return total


def _ring(devices: int) -> float:
    return (devices - 1) / devices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="transformer-big")
    parser.add_argument("--devices", type=int, nargs="+", default=[8, 64, 1_024])
    parser.add_argument("--tokens", type=int, default=4_096, help="of a device")
    parser.add_argument("--accumulation", type=int, default=1)
    parser.add_argument("--remat", action="store_true")
    parser.add_argument(
        "--precision", choices=["float32", "bfloat16"], default="float32"
    )
    arguments = parser.parse_args()
    model = zoo.create_model(arguments.model)
    params = jax.eval_shape(lambda key: initialize(model, key), jax.random.key(0))
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    print(f"{arguments.model}: {size:,} parameters, {FLOAT * size / 1e6:,.0f} MB")
    print("| strategy | devices | holds, MB | sends, MB |\n|---|---|---|---|")
    # Two sums a block in the encoder and three in the decoder, in each pass.
    number = FLOAT if arguments.precision == "float32" else FLOAT // 2
    states = number * arguments.tokens * model.model_dim
    sums = (2 + arguments.remat) * (2 + 3) * model.num_layers * states
    for name, strategy in STRATEGIES.items():
        for devices in arguments.devices:
            holds = COPIES * held(strategy, params, devices)
            # The devices of a model see the same rows, so many more at once.
            sends = sent(
                strategy,
                params,
                devices,
                strategy.model_devices * sums,
                portions=arguments.accumulation,
            )
            print(f"| {name} | {devices:,} | {holds / 1e6:,.0f} | {sends / 1e6:,.0f} |")


if __name__ == "__main__":
    main()
