# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
#   language_info:
#     name: python
# ---

# %% [markdown]
# # Attention from scratch
#
# A network that reads a sentence must remember it. This notebook begins with a network
# that remembers in one vector and fails, and ends with the attention of the Transformer.
# Each idea is an equation, a few lines of the zoo, and a picture. All numbers from larger
# data stand in `experiments/translate/README.md` with the commands that made them.

# %%
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import zoo
from zoo.plots import attention_grid, draw_map

# %% [markdown]
# ## 1. The bottleneck
#
# An encoder-decoder without attention (Cho et al. 2014, Sutskever et al. 2014) reads the
# source to its end and hands over its last state: $s_0 = h_S$. However long the sentence,
# the decoder sees one vector of fixed width.
#
# The smallest task that shows it: read some digits, write them backwards.

# %%
PAD, START, END, ZERO = 0, 1, 2, 3


def reversal(generator, count, longest):
    """Returns a batch of digits and the same digits backwards."""
    source = np.zeros((count, longest + 1), np.int32)
    inputs, labels = source.copy(), source.copy()
    for row, length in enumerate(generator.integers(1, longest + 1, count)):
        digits = generator.integers(ZERO, ZERO + 10, length)
        source[row, : length + 1] = [*digits, END]
        inputs[row, : length + 1] = [START, *digits[::-1]]
        labels[row, : length + 1] = [*digits[::-1], END]
    return {"source": source, "inputs": inputs, "labels": labels}


generator = np.random.default_rng(0)
reversal(generator, 2, longest=5)

# %% [markdown]
# Models of the zoo are pairs of pure functions, `init` and `apply`, and a training step is
# a pure function too: `step(state, batch) -> (state, metrics)`. So a training loop is four
# lines, and `jax.jit` compiles all of it.

# %%
from zoo.losses import sequence_loss
from zoo.models.contract import initialize
from zoo.training.config import OptimizerConfig
from zoo.training.optimizers import make_optimizer
from zoo.training.step import init_state, make_train_step

STEPS = 600


def train(model, longest):
    """Trains on digits to reverse and returns the parameters."""

    def loss(params, batch, key):
        return sequence_loss(model, params, batch, key)

    settings = OptimizerConfig(learning_rate=3e-3, warmup_steps=50)
    optimizer = make_optimizer(settings, STEPS)
    step = jax.jit(make_train_step(loss, optimizer, jax.random.key(1)))
    state = init_state(initialize(model, jax.random.key(0)), optimizer)
    for number in range(STEPS):
        batch = reversal(np.random.default_rng(number), 64, longest)
        state, _ = step(state, batch)
    return state.params


# %%
LONGEST = 14
small = {"vocab_size": 13, "model_dim": 48, "dropout_rate": 0.0}
models = {
    "no attention": zoo.create_model("rnn-gru", **small),
    "Bahdanau attention": zoo.create_model("rnn-bahdanau", attention_dim=48, **small),
}
trained = {name: train(model, LONGEST) for name, model in models.items()}

# %% [markdown]
# Greedy decoding of digits that neither model has seen, and how many sentences come out
# right, by their length:

# %%
from functools import partial

from zoo.decoding import greedy_search

test = reversal(np.random.default_rng(10_000), 1_000, LONGEST)
lengths = (test["source"] > END).sum(axis=1)


def right(name):
    """Returns which test sentences the model reverses without a mistake."""
    search = jax.jit(partial(greedy_search, models[name], max_length=LONGEST + 1))
    tokens, _ = search(trained[name], test["source"])
    return (np.asarray(tokens)[:, 0] == test["labels"]).all(axis=1)


figure, axes = plt.subplots(figsize=(6, 3))
for name in models:
    correct = right(name)
    share = [correct[lengths == length].mean() for length in range(1, LONGEST + 1)]
    axes.plot(range(1, LONGEST + 1), share, marker="o", label=name)
    print(f"{name}: {correct.mean():.1%} right")
axes.set(xlabel="digits", ylabel="reversed right", ylim=(-0.05, 1.05))
axes.legend()

# %% [markdown]
# Both have learned from the same 600 batches. Without attention the longer sentences are
# lost: they do not fit the vector. With attention length hardly matters.
#
# ## 2. Attention: a soft dictionary
#
# Bahdanau et al. (2015) keep *every* state of the reader, $h_1 \dots h_S$, and let the
# decoder choose. A Python dictionary returns the value whose key *equals* the query.
# Attention compares the query with every key, turns the scores into weights that sum to
# one, and returns the weighted mean of the values:
#
# $$\text{context} = \sum_j \alpha_j v_j, \qquad \alpha = \text{softmax}(\text{score}(q, k_j))$$

# %%
from zoo.layers.attention import masked_softmax

names = ["red", "green", "blue"]
keys = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])
values = jnp.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, 1.0]])
query = jnp.array([0.9, 0.1])

for sharpness in (1.0, 4.0, 100.0):
    weights = masked_softmax(sharpness * keys @ query, mask=None)
    print(
        f"scores x {sharpness:>5}:", dict(zip(names, np.round(weights, 3), strict=True))
    )

# %% [markdown]
# The sharper the scores, the more it is a dictionary. And unlike a dictionary it has a
# gradient: which key to look at can be learned.
#
# Where does the trained model look while it writes the digits backwards? It has not been
# told; the diagonal is what it found.

# %%
from zoo.models.contract import attention_maps

example = reversal(np.random.default_rng(4), 1, LONGEST)
length = int((example["source"] > END).sum()) + 1
(weights,) = attention_maps(
    models["Bahdanau attention"],
    trained["Bahdanau attention"],
    example["source"][:, :length],
    example["inputs"][:, :length],
).values()


def words(tokens):
    """Returns what is written on the axes of a map."""
    return [str(token - ZERO) if token >= ZERO else "end" for token in tokens]


attention_grid(
    {"Bahdanau attention": weights[0, 0]},
    words(example["source"][0, :length]),
    words(example["labels"][0, :length]),
)

# %% [markdown]
# ## 3. Four ways to compare
#
# Bahdanau's score is a small network, Luong et al. (2015) tried simpler ones:
#
# | name | score of state $s$ and annotation $h$ | parameters |
# |---|---|---|
# | dot | $s^\top h$ | none |
# | general | $s^\top W h$ | $W$ |
# | concat | $v^\top \tanh(W [s; h])$ | $W$, $v$ |
# | additive (Bahdanau) | $v^\top \tanh(W s + U h)$ | $W$, $U$, $v$ |
#
# Concat *is* additive: a matrix that meets two stacked vectors is two matrices. What
# differs between the papers is *when* one looks: Bahdanau before the decoder's step, with
# the old state; Luong after it, with the new one.

# %%
from zoo.layers.state_attention import additive_scores, dot_scores

state = jax.random.normal(jax.random.key(0), (1, 1, 8))
annotations = jax.random.normal(jax.random.key(1), (1, 5, 8))
matrix = jax.random.normal(jax.random.key(2), (8, 8)) / 8**0.5
vector = jax.random.normal(jax.random.key(3), (8,)) / 8**0.5
scores = {
    "dot": dot_scores(state, annotations),
    "general": dot_scores(state, annotations @ matrix),
    "additive": additive_scores(state @ matrix, annotations, vector),
}
for name, score in scores.items():
    print(f"{name:>8}:", "  ".join(f"{value:5.2f}" for value in score[0, 0]))

# %% [markdown]
# All of them learn to write digits backwards. Luong's look with the new state, and are told
# at the next step what they saw:

# %%
for score in ("dot", "general", "concat"):
    name = f"Luong, {score}"
    models[name] = zoo.create_model(f"rnn-luong-{score}", **small)
    trained[name] = train(models[name], LONGEST)
for name in models:
    print(f"{name:>18}: {right(name).mean():6.1%} right")

# %% [markdown]
# On real text (Multi30k, German to English, ten epochs) attention is worth 12 to 17 BLEU,
# and the three scores of Luong are within 1.5 BLEU of each other.
#
# ## 4. Scaled dot products, many at once
#
# The dot product of two random vectors of width $E$ has variance $E$, so that wide vectors
# make a softmax that is nearly hard, and hard means no gradient. Vaswani et al. (2017)
# divide by $\sqrt{E}$, and look up all queries in one product:
#
# $$\text{Attention}(Q, K, V) = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{E}}\right) V$$

# %%
from zoo.layers.attention import attention_weights

figure, panels = plt.subplots(1, 3, figsize=(9, 2.6), sharey=True)
for panel, width in zip(panels, (4, 64, 1024), strict=True):
    vectors = jax.random.normal(jax.random.key(width), (2, 1, 12, 1, width))
    scaled = attention_weights(vectors[0], vectors[1])[0, 0, 0]
    unscaled = attention_weights(vectors[0] * width**0.5, vectors[1])[0, 0, 0]
    panel.plot(np.sort(scaled)[::-1], marker="o", label="scaled")
    panel.plot(np.sort(unscaled)[::-1], marker="s", label="not scaled")
    panel.set(title=f"width {width}", xlabel="keys, the likeliest first")
panels[0].set_ylabel("weight")
panels[0].legend()

# %% [markdown]
# ## 5. Self-attention, and why it needs positions
#
# When queries, keys and values come from the same sentence, every word looks at every
# other: self-attention. But a sum does not know an order. Shuffle the words, and the
# outputs are shuffled with them, otherwise unchanged:

# %%
from zoo.layers.attention import MultiHeadAttention
from zoo.layers.positions import sinusoidal_positions

attention = MultiHeadAttention(model_dim=16, num_heads=4)
words_in = jax.random.normal(jax.random.key(5), (1, 6, 16))
params = attention.init(jax.random.key(6), words_in, words_in)
order = jnp.array([3, 0, 5, 1, 4, 2])


def outputs(sentence):
    """Returns what self-attention makes of a sentence."""
    return attention.apply(params, sentence, sentence)


without = jnp.abs(outputs(words_in)[:, order] - outputs(words_in[:, order])).max()
place = sinusoidal_positions(jnp.arange(6), 16)
with_them = jnp.abs(
    outputs(words_in + place)[:, order] - outputs(words_in[:, order] + place)
).max()
print(f"without positions {without:.1e}, with sinusoids {with_them:.1e}")

# %% [markdown]
# So the words must carry their place. The paper adds sines and cosines of many
# wavelengths; the product of two such vectors depends on their distance alone:

# %%
figure, panels = plt.subplots(1, 2, figsize=(9, 3), width_ratios=[2, 1])
table = sinusoidal_positions(jnp.arange(50), 64)
panels[0].imshow(table.T, aspect="auto", cmap="RdBu")
panels[0].set(xlabel="position", ylabel="feature", title="sinusoids")
panels[1].plot(np.arange(50) - 25, table @ table[25])
panels[1].set(xlabel="distance", title="product with position 25")

# %% [markdown]
# There are successors: a learned table, rotations of queries and keys (RoPE), a learned
# bias for each distance (T5), a slope for each head (ALiBi).
# `create_model("transformer-small", positions="rotary")` takes any of the five, and
# `python -m experiments.translate.study positions` trains all on short verses and asks
# for long ones.
#
# ## 6. Masks
#
# Two things must not be seen: padding, which is no word, and, in a decoder that is trained
# on whole sentences at once, the future. A mask is True where a query may look:

# %%
from zoo.layers.masks import causal_mask, padding_mask

valid = jnp.array([[True, True, True, True, False, False]])
masks = {
    "padding": padding_mask(valid),
    "causal": causal_mask(6),
    "both": padding_mask(valid) & causal_mask(6),
}
figure, panels = plt.subplots(1, 3, figsize=(8, 2.6))
for panel, (name, mask) in zip(panels, masks.items(), strict=True):
    query = key = jax.random.normal(jax.random.key(7), (1, 6, 1, 8))
    weights = attention_weights(query, key, mask)[0, 0]
    draw_map(panel, np.asarray(weights))
    panel.set(title=name, xlabel="keys", ylabel="queries")

# %% [markdown]
# Does it keep what it promises? The fifth word becomes another one: it is padding, and to
# the first four it is the future. How much does what attention says of each word change?

# %%
others = words_in.at[:, 4].add(1.0)
for name, mask in {"no mask": None, **masks}.items():
    before = attention.apply(params, words_in, words_in, mask)
    after = attention.apply(params, others, others, mask)
    changes = jnp.abs(after - before).max(axis=-1)[0]
    print(f"{name:>8}:", "  ".join(f"{change:.2f}" for change in changes))

# %% [markdown]
# Without a mask all words hear of it. With both, none but itself.
#
# ## 7. Heads
#
# One softmax makes one choice. With $H$ heads, each in a subspace of width $D / H$, a word
# can look at its verb and at its neighbour at once, for the same number of operations.
# Whether that helps is a matter of the task. Here is the smallest Transformer on the same
# digits, with one head a layer and with two:

# %%
for heads in (1, 2):
    name = f"Transformer, heads: {heads}"
    models[name] = zoo.create_model(
        "transformer-tiny", num_layers=2, mlp_dim=96, num_heads=heads, **small
    )
    trained[name] = train(models[name], LONGEST)
    print(f"{name}: {right(name).mean():.1%} right")

# %% [markdown]
# To write digits backwards is to look at one place at a time, and one head of the whole
# width does it as well as two of half of it. Where did the two look?

# %%
maps = attention_maps(
    models[name],
    trained[name],
    example["source"][:, :length],
    example["inputs"][:, :length],
)
attention_grid(
    {
        f"layer {layer + 1}, head {head + 1}": maps[f"decoder_{layer}/cross_attention"][
            0, head
        ]
        for layer in range(2)
        for head in range(2)
    },
    words(example["source"][0, :length]),
    words(example["labels"][0, :length]),
)

# %% [markdown]
# ## Where to go from here
#
# * `zoo/layers/attention.py` has the whole of section 4.
# * `experiments/translate/README.md` compares these three models on real text, and in
#   `experiments/vqa/README.md` a question looks at a picture.
# * In the notebook *Fork a module* you replace attention by something of your own.
