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
# # A translator
#
# Three networks have learned the same English phrases in Korean with the same number of
# updates. One squeezes the phrase into a vector, one looks back at it while it writes, and
# one does nothing but look. This notebook asks what each has understood, where it fails,
# and where it looks.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import zoo
from experiments.translate.config import data_from_json
from experiments.translate.lengths import by_length, draw_by_length
from zoo.metrics import exact_match_counts, score_by
from zoo.plots import LINE_COLOURS, attention_grid
from zoo.runs import read_config

WEIGHTS = Path("weights")

# %% [markdown]
# ## 1. The phrases
#
# Dates, prices, lists of countries: the data of Unicode CLDR write them in every language,
# so that a corpus needs no download. What makes them a task for attention is the order. A
# Korean date begins with the year, where the English one ends; a price per week begins
# with the week.

# %%
data = data_from_json(read_config(WEIGHTS / "phrases-transformer")["data"])
test = data.read("test", seed=0)
for number in range(14):
    print(
        f"{test.category[number]:>14}  {test.source[number]}  →  {test.target[number]}"
    )

# %% [markdown]
# None of these 2,000 phrases was seen in training.
#
# ## 2. Three ways to remember
#
# All three write a target $y$ word piece by word piece,
#
# $$p(y \mid x) = \prod_t p(y_t \mid y_{<t}, x),$$
#
# and differ in what they know of the source $x$ at step $t$.
#
# *One vector.* A recurrent network reads $x$ into its state, $h_j = f(h_{j-1}, x_j)$, and
# the writer gets the last one, $c = h_S$, at every step (Cho et al. 2014). Four facts
# must pass through it as well as one.
#
# *A look at each step.* The reader keeps all of its states, and the writer, in state
# $s_{t-1}$, takes a mean of them that is new at each step (Bahdanau et al. 2015):
#
# $$c_t = \sum_j \alpha_{tj} h_j, \qquad
# \alpha_{tj} = \underset{j}{\text{softmax}}\; v^\top \tanh(W s_{t-1} + U h_j).$$
#
# *Looks alone.* There is no recurrence left: words look at words, in several heads and
# layers, and the writer looks at the source by the same rule (Vaswani et al. 2017):
#
# $$\text{Attention}(Q, K, V) = \text{softmax}\!\left(\frac{Q K^\top}{\sqrt{E}}\right) V.$$
#
# The weights lie beside this notebook, in 16 bits, and `zoo.load` takes a folder of them
# as it takes a run. `weights/README.md` has the commands that made them.

# %%
translators = {
    "one vector": zoo.load(WEIGHTS / "phrases-rnn"),
    "Bahdanau attention": zoo.load(WEIGHTS / "phrases-bahdanau"),
    "Transformer": zoo.load(WEIGHTS / "phrases-transformer"),
}
source = "August 29, 1924, 4:53 PM"
for name, translator in translators.items():
    ((best,),) = translator.translate([source])
    print(f"{name:>18}: {best.text}")

# %% [markdown]
# ## 3. What each has understood
#
# All three translate all phrases, greedily: at each step the likeliest piece. A phrase
# counts if every letter is right.

# %%
written = {
    name: [best.text for (best,) in translator.translate(test.source, beam_size=1)]
    for name, translator in translators.items()
}
right = {
    name: score_by(test.category, exact_match_counts(texts, test.target))
    for name, texts in written.items()
}

# %%
order = sorted(right["one vector"], key=right["one vector"].get)
rows = np.arange(len(order))
figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
for offset, colour, (name, scores) in zip(
    (0.27, 0, -0.27), LINE_COLOURS, right.items(), strict=False
):
    values = [scores[category] for category in order]
    axes.barh(rows + offset, values, height=0.25, label=name, color=colour)
    print(f"{name}: {np.mean([scores[c] for c in test.category]):.1f} % of all phrases")
axes.set_yticks(rows, [category.replace("_", " ") for category in order])
axes.set(xlabel="phrases that are right to the letter, in percent", xlim=(0, 100))
axes.spines[["top", "right"]].set_visible(False)
figure.legend(loc="outside upper center", ncols=3, frameon=False)

# %% [markdown]
# A plain date is one fact, or three small ones, and fits into a vector. A *trip* is a
# country, two days and a price; a *record* is four facts in any order. They are lost not
# because they are long but because the facts are independent: nothing about Nepal tells
# the price. What does the network write, when it has forgotten?

# %%
for category in ("trip", "record"):
    number = test.category.index(category)
    print(f"{'read':>18}: {test.source[number]}")
    print(f"{'right':>18}: {test.target[number]}")
    for name, texts in written.items():
        print(f"{name:>18}: {texts[number]}")
    print()

# %% [markdown]
# It writes something of the right *kind*: a country for a country, a price for a price. The
# grammar is in the weights; the facts would have to be in the vector.
#
# The same by length, as Bahdanau et al. drew it (their figure 2). BLEU counts runs of one
# to four words that the reference has too; the bars are 95 % intervals of resampled
# phrases. On real sentences the line without attention falls and falls. Here it falls and
# comes back: the longest phrases are two prices, with many words and few facts.

# %%
lengths = by_length(written, test, lowercase=False)
draw_by_length(lengths)

# %% [markdown]
# ## 4. Where they look
#
# Attention can be read. Each row of a map is a step of the writer, each column a piece of
# the source, and a row sums to one. Both models write the same phrase here.

# %%
pair = source, "1924년 8월 29일 오후 4:53"
maps = {}
for name in ("Bahdanau attention", "Transformer"):
    looked = translators[name].attention(*pair)
    for layer, weights in enumerate(looked.between().values(), start=1):
        caption = f"{name}, layer {layer}" if name == "Transformer" else name
        maps[caption] = weights.mean(axis=0)
attention_grid(maps, looked.source_pieces, looked.target_pieces)

# %% [markdown]
# Korean puts the year first, and the map of the recurrent model shows the eye going there
# and back. It is nearly an alignment, and where it is none there is a reason: 년, "year",
# follows from the digits before it, so that the eye is already at the month. The
# Transformer's first layer looks about, and its second one fetches. Its heads agree about
# the digits, and take different views of what has no counterpart:

# %%
looked = translators["Transformer"].attention(*pair)
last = list(looked.between().values())[-1]
attention_grid(
    {f"layer 2, head {number}": head for number, head in enumerate(last, start=1)},
    looked.source_pieces,
    looked.target_pieces,
)

# %% [markdown]
# A warning belongs here. That a model looks at a piece does not prove that it used it: the
# states it looks at have read their neighbours (Jain and Wallace 2019). A map is a
# hypothesis, and the test is an intervention. So let us change one fact of the source and
# see which pieces change, and whether they are those that looked at it.

# %%
changed = source.replace("29", "14")
for name in ("Bahdanau attention", "Transformer"):
    ((before,), (after,)) = translators[name].translate([source, changed])
    looked = translators[name].attention(source, before.tokens)
    last = list(looked.between().values())[-1].mean(axis=0)
    day = [looked.source_pieces.index("2"), looked.source_pieces.index("9")]
    share = last[:, day].sum(axis=1)
    top = np.sort(np.argsort(-share)[:3])
    print(f"{name}: {before.text} became {after.text}")
    print("  looked at the day most:", [looked.target_pieces[step] for step in top])

# %% [markdown]
# ## 5. What else it might have written
#
# Greedy search takes the likeliest piece and never repents. A beam of $W$ keeps the $W$
# best beginnings and ranks whole sentences by the mean log-probability of a piece,
#
# $$\text{score}(y) = \frac{1}{|y|^\alpha} \sum_t \log p(y_t \mid y_{<t}, x),
# \qquad \alpha = 1.$$
#
# How far the second best lies below the best says how sure a model is. The one with a
# single vector is not:

# %%
record = test.source[test.category.index("record")]
print(record)
for name, translator in translators.items():
    print(name)
    for hypothesis in translator.translate([record], beam_size=4, num_best=3)[0]:
        print(f"  {hypothesis.score:6.3f}  {hypothesis.text}")

# %% [markdown]
# ## Where to go from here
#
# * `python -m experiments.translate.train` makes the Transformer in some four minutes, and
#   `python -m experiments.translate.plot "May 3, 2021" --output map.html` a page to look
#   around in: every layer, every head, every step of the beam.
# * `python -m experiments.demo` does the same for whatever you type.
# * On real text, Multi30k, the gap is the same: 24 BLEU without attention and 40 with;
#   `experiments/translate/README.md` has the table and its commands.
# * In the next notebook the model looks at pictures.
