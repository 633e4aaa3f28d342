# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     notebook_metadata_filter: language_info
#   kernelspec:
#     display_name: Python 3
#     name: python3
#   language_info:
#     name: python
# ---

# %% [markdown]
# # Many devices
#
# A training step is one pure function. What runs it, one device or eight, is decided
# outside. Here the same step runs under `jit`, under `pmap` and over meshes, on eight
# devices that JAX makes of one CPU, and takes the same updates everywhere. On a machine
# with eight GPUs the code is the same without the settings of the first cell.

# %%
import os

# Where XLA runs sums of a program side by side, each holds a thread a device.
os.environ["NPROC"] = "32"

import jax

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 8)
print(jax.devices())

# %%
import matplotlib.pyplot as plt
import numpy as np
import optax

import zoo
from zoo.losses import sequence_loss
from zoo.models.contract import initialize
from zoo.plots import LINE_COLOURS
from zoo.training.devices import make_driver
from zoo.training.step import init_state, make_train_step

# %% [markdown]
# ## A model and its step
#
# Plain SGD, because it forgives nothing: with Adam a gradient that is eight times too
# large makes the same update.

# %%
ROWS, LENGTH, VOCAB = 16, 12, 50
model = zoo.create_model(
    "transformer-tiny",
    vocab_size=VOCAB,
    num_layers=1,
    model_dim=32,
    mlp_dim=64,
    num_heads=4,
    dropout_rate=0.0,
)
params = initialize(model, jax.random.key(0))
optimizer = optax.sgd(0.3)


def loss(params, batch, key):
    """Returns the sum of the loss over tokens, and their number."""
    return sequence_loss(model, params, batch, key)


step = make_train_step(loss, optimizer, jax.random.key(1))


def batches(count):
    """Yields sentences of 1 to 12 words: the shards hold unequal numbers of tokens."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        lengths = 1 + np.arange(ROWS) * (LENGTH - 1) // (ROWS - 1)
        valid = np.arange(LENGTH) < lengths[:, None]
        words = generator.integers(3, VOCAB, (3, ROWS, LENGTH))
        source, inputs, labels = np.where(valid, words, 0).astype(np.int32)
        yield {"source": source, "inputs": inputs, "labels": labels}


# %% [markdown]
# ## Five ways to run it
#
# * `jit` on one device;
# * `jit` on eight, each with its rows of the batch: XLA adds up what the shards have;
# * `pmap` on eight: the same, with the sum written out by name in the step;
# * `sharded`: each device also keeps only a part of every array of the state;
# * `jit` on a mesh of 4 × 2: two devices share a model, each with half of the heads.

# %%
WAYS = {
    "one device": {"name": "jit", "devices": jax.devices()[:1]},
    "jit, 8": {"name": "jit"},
    "pmap, 8": {"name": "pmap"},
    "sharded, 8": {"name": "sharded"},
    "jit, 4 x 2": {"name": "jit", "model_devices": 2},
}
finals, states = {}, {}
for way, arguments in WAYS.items():
    driver = make_driver(step=step, **arguments)
    state = driver.place(init_state(params, optimizer))
    for batch in batches(10):
        state, metrics = driver.step(state, driver.split(batch))
    states[way], finals[way] = state, jax.device_get(driver.gather(state).params)
    print(f"{way:>12}: loss {float(metrics['loss']):.6f} nats a token")

# %% [markdown]
# How far did the parameters move, and how far apart are they now?

# %%


def largest(first, second):
    """Returns the largest difference between two trees."""
    gaps = jax.tree.map(lambda a, b: np.abs(a - b).max(), first, second)
    return max(jax.tree.leaves(gaps))


print(f"moved by {largest(params, finals['one device']):.3f}")
for way, final in finals.items():
    print(f"{way:>12}: {largest(final, finals['one device']):.1e} from one device")

# %% [markdown]
# The secret is small: losses and gradients are *sums* over tokens, and are divided by the
# number of tokens once, after all devices have added theirs. A mean of means would give a
# device with few tokens as much to say as one with many.
#
# ## Where the arrays lie
#
# The query kernel [D, H, E] of the first layer, seen along its features D and heads H. Each
# rectangle is a part, with the numbers of the devices that hold it.


# %%
def parts_of(array):
    """Returns the devices that hold each part of an array's first two axes."""
    parts = {}
    for shard in array.addressable_shards:
        spans = zip(shard.index[:2], array.shape, strict=False)
        place = tuple(span.indices(size)[:2] for span, size in spans)
        parts.setdefault(place, []).append(shard.device.id)
    return parts


figure, panels = plt.subplots(1, 3, figsize=(10, 3.6), sharey=True)
for panel, way in zip(panels, ("jit, 8", "sharded, 8", "jit, 4 x 2"), strict=True):
    kernel = states[way].params["encoder_0"]["self_attention"]["query"]["kernel"]
    for colour, (place, devices) in zip(
        [*LINE_COLOURS, "0.4", "0.6"], parts_of(kernel).items(), strict=False
    ):
        (top, bottom), (left, right) = place
        corner, sides = (left, top), (right - left, bottom - top)
        panel.add_patch(plt.Rectangle(corner, *sides, fc=colour, ec="white", alpha=0.6))
        middle = (left + right) / 2, (top + bottom) / 2
        names = " ".join(map(str, devices))
        panel.annotate(names, middle, ha="center", va="center", size=11)
    panel.set(xlim=(0, kernel.shape[1]), ylim=(kernel.shape[0], 0), title=way)
    panel.set(xlabel="heads", xticks=range(kernel.shape[1] + 1))
panels[0].set_ylabel("features")
figure.tight_layout()

# %% [markdown]
# Under `jit, 8` every device has the whole matrix. `sharded` cuts the longest axis that
# divides; the matrix is put together when it is used (and forgotten again, though on a CPU
# XLA keeps it until the backward pass). On 4 × 2 the devices of a pair have two heads each,
# and never see the others'.
#
# How much memory is that? The bytes of the state that device 0 holds:

# %%
for way in ("jit, 8", "sharded, 8", "jit, 4 x 2"):
    held = sum(
        shard.data.nbytes
        for leaf in jax.tree.leaves(states[way])
        for shard in leaf.addressable_shards
        if shard.device.id == 0
    )
    print(f"{way:>12}: {held:>7,} bytes")

# %% [markdown]
# Which part of which array lies where is said in one file, `zoo/training/sharding.py`;
# from the command line it is `--training.driver sharded` and `--training.model-devices 2`.
