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
# # Visual questions
#
# A picture, a question, an answer. A model that is right has perhaps looked; perhaps it
# only knows what is usually answered. This notebook has two models that look in different
# ways, draws where they look, and then takes the picture away to see what an answer owes
# to it.

# %%
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageDraw

import zoo
from experiments.vqa.config import data_from_json
from experiments.vqa.drawing import choose, sheet_of
from experiments.vqa.scoring import controls, measure_looks, scores_of
from experiments.vqa.viewing import looks_of
from zoo.data.vqa.examples import select
from zoo.looks import Look, Seen, looks_of_answer
from zoo.overlays import overlay, sheet
from zoo.plots import LINE_COLOURS
from zoo.runs import read_config
from zoo.vqa_metrics import accuracy

WEIGHTS = Path("weights")

# %% [markdown]
# ## 1. Pictures and questions
#
# easy-VQA (Zhou 2019) has one coloured shape on a pale ground, and some ten questions about
# each picture. It is as small as a data set can be that still asks for all three: read the
# words, find the shape, bring both together. Its 1,000 test pictures were not trained on;
# we take the questions of every fourth.

# %%
data = data_from_json(read_config(WEIGHTS / "easy-vqa")["data"])
train, whole = data.read("train", seed=0), data.read("test", seed=0)
test = select(whole, whole.image_of % 4 == 0)

figure, panels = plt.subplots(1, 5, figsize=(11, 2.6), layout="constrained")
for panel, number in zip(
    panels, choose(test, np.ones(len(test.questions)), 5), strict=True
):
    panel.imshow(test.images[int(test.image_of[number])])
    words = test.questions[number].rsplit(" ", 2)
    panel.set_title("\n".join([" ".join(words[:-2]), " ".join(words[-2:])]), size=9)
    panel.set_xlabel(test.top_answers[number])
    panel.set(xticks=[], yticks=[])
print(f"{len(test.questions):,} questions about {len(set(test.image_of))} pictures")

# %% [markdown]
# ## 2. Two ways to look
#
# A small convolutional network makes of a picture a grid of regions $v_1 \dots v_R$. From
# there the models part.
#
# *Stacked attention* (Yang et al. 2016). A recurrent network reads the question into a
# vector $u_0$. It looks at all regions, adds what it saw to what it knew, and, knowing
# more, looks again:
#
# $$\alpha = \text{softmax}\big(w^\top \tanh(W v_i + U u_{k-1})\big), \qquad
# u_k = u_{k-1} + \sum_i \alpha_i v_i.$$
#
# This is Bahdanau's attention with the question in the place of the writer, and regions in
# that of words. Each $k$ is a *glimpse*; ours has two.
#
# *MCAN* (Yu et al. 2019). The blocks are those of the Transformer. Words look at words
# (self-attention); then regions look at regions, and at the words (guided attention):
#
# $$X' = \text{Attention}(X, X, X), \qquad
# Y' = \text{Attention}(Y, Y, Y), \qquad
# Y'' = \text{Attention}(Y', X', X').$$
#
# So here it is the picture that looks at the question. In the end a softmax over the
# regions says how much of each goes into the answer, and that is what we can draw beside
# the glimpses.

# %%
answerers = {
    "stacked attention": zoo.load(WEIGHTS / "easy-vqa"),
    "MCAN": zoo.load(WEIGHTS / "easy-vqa-mcan"),
}
scores = {}
for name, answerer in answerers.items():
    answers, _ = answerer.predict(test)
    scores[name] = scores_of(test, answers)
    found = accuracy(scores[name])
    low, high = found.interval
    print(f"{name}: {found.value:.2f} % right ({low:.2f} – {high:.2f})")

# %% [markdown]
# ## 3. Where they look
#
# A question, the picture with the box of the shape that the question names, and each look
# over the picture in pale grey: the denser, the more weight. Below each stands the largest
# weight of a cell, and the share that lies in the box.

# %%
places = choose(test, scores["stacked attention"], 6)
sheet_of(answerers["stacked attention"], test, places)

# %% [markdown]
# Asked for a colour, it looks *into* the shape, for there the colour is. Asked for the kind
# of shape, it looks at edges and corners, for a circle and a rectangle are the same in the
# middle. Nobody has told it either. The last two rows are mistakes, which are rare and both
# about very small shapes: it had looked at the right place, or right beside it.

# %%
sheet_of(answerers["MCAN"], test, places)

# %% [markdown]
# MCAN is nearly as often right, and its picture says next to nothing: every cell gets two
# percent, whatever is asked. Before the regions are pooled they have looked at each other
# and at the words, so each of them already carries the answer, and it hardly matters which
# is taken. Look one step earlier, then. In the guided layers each region looks at the
# words; here is for each word how much the regions look at it:

# %%
number = places[1]
image = test.images[int(test.image_of[number])]
question = test.questions[number]
guided = next(x for x in looks_of(answerers["MCAN"], image, question) if x.by_cells)
best = answerers["MCAN"].answer(image, question)[0]
sheet(
    [
        Seen(
            picture=image,
            question=question,
            predicted=best.text,
            probability=best.probability,
            looks=[
                Look(f'"{word}"', [word], weights[None])
                for word, weights in zip(guided.looking, guided.weights, strict=True)
            ],
            grid=answerers["MCAN"].grid,
        )
    ],
    inches=1.3,
)

# %% [markdown]
# Here the shape stands out. Its cells look at the first words of the question, and those of
# the ground at the later ones; "circle", which names it, is looked at by all alike. What the
# weights mean is the model's own affair.

# %% [markdown]
# ## 4. Is it where it should be?
#
# A picture of attention convinces too easily, so let us count. Where a question names the
# shape, its box is known. The *pointing accuracy* is how often the cell with the largest
# weight touches the box (Zhang et al. 2016); it means something only beside what a cell
# drawn at random would get.

# %%
measured = {name: measure_looks(x, test) for name, x in answerers.items()}
bars = {
    (name, glimpse): look
    for name, looks in measured.items()
    for glimpse, look in looks.items()
}
groups = ["color", "shape", "color present", "shape present"]
figure, axes = plt.subplots(figsize=(8, 3.4), layout="constrained")
width = 0.8 / len(bars)
for place, ((name, glimpse), look) in enumerate(bars.items()):
    heights = [100 * look.groups[group].pointing_accuracy for group in groups]
    axes.bar(
        np.arange(len(groups)) + place * width - 0.4 + width / 2,
        heights,
        width=0.9 * width,
        color=LINE_COLOURS[place],
        label=f"{name}, {glimpse}",
    )
chance = next(iter(bars.values())).all.uniform_pointing
axes.axhline(100 * chance, color="0.3", linestyle="--", label="a random cell")
axes.set_xticks(range(len(groups)), groups)
axes.set(ylabel="points at the shape, in percent", ylim=(0, 100))
axes.spines[["top", "right"]].set_visible(False)
figure.legend(loc="outside upper center", ncols=2, frameon=False)

# %% [markdown]
# MCAN's largest cell is mostly at the shape too, but its map is so flat that the shape gets
# the share of weight that it would get by chance:

# %%
for (name, glimpse), look in bars.items():
    print(
        f"{name}, {glimpse}: {100 * look.all.attention_mass:.1f} % of the weight in the box; spread "
        f"evenly, {100 * look.all.uniform_mass:.1f} %"
    )

# %% [markdown]
# And it may point at the shape and not use what it sees. The test is an intervention: paint
# over the region with the largest weight, and another time a region drawn at random.

# %%
for (name, glimpse), look in bars.items():
    print(
        f"{name}, {glimpse}: {look.shown:.1f} % right; without the region it looks at "
        f"most {look.hidden:.1f} %, without a random one {look.hidden_random:.1f} %"
    )

# %% [markdown]
# Attention is no proof, but it is better than chance at telling what matters: the region
# that it names is missed, a random one is not.
#
# ## 5. What the question gives away
#
# How good is a model that never sees a picture? Three controls say it:
#
# * *question only*: the answer that was given most often, in training, to the same words,
# * *shuffled*: the trained model, with the pictures exchanged,
# * *blank*: the trained model on one picture of the mean colour.

# %%
answered = controls(answerers["stacked attention"], test, train)
for name, value in answered.items():
    print(f"{name.replace('_', ' '):>15}: {value:.1f} %")

# %% [markdown]
# Two thirds can be had without a look, because "is there a triangle?" is mostly answered by
# "no". An accuracy of 70 % would be no success here. It is the same with large data: half
# of the questions of VQA are answered from the words alone, which is why its second version
# has for each question two pictures with different answers (Goyal et al. 2017). A model's
# accuracy is worth what it lies above its controls.
#
# ## 6. Your own picture
#
# `answer` takes any picture, a file or an array. Here is one that the models were never
# prepared for: there has always been *one* shape of one colour.

# %%
drawn = Image.new("RGB", (64, 64), (235, 240, 250))
pen = ImageDraw.Draw(drawn)
pen.ellipse((6, 8, 26, 28), fill=(255, 0, 0))
pen.rectangle((38, 36, 58, 56), fill=(0, 0, 255))
picture = np.asarray(drawn)
for question in ("what color is the circle?", "what color is the rectangle?"):
    for name, answerer in answerers.items():
        best, second, *_ = answerer.answer(picture, question)
        print(
            f"{question} {name}: {best.text} {best.probability:.0%}, "
            f"{second.text} {second.probability:.0%}"
        )

# %%
answerer = answerers["stacked attention"]
question = "what color is the circle?"
best = answerer.answer(picture, question)[0]
overlay(
    Seen(
        picture=picture,
        question=question,
        predicted=best.text,
        probability=best.probability,
        looks=looks_of_answer(answerer.look(picture, question)),
        grid=answerer.grid,
    )
)

# %% [markdown]
# Asked for the rectangle, stacked attention says red as well, and is sure of it; MCAN is as
# sure of blue, whichever shape it is asked for. With one shape in every picture it never had to choose: "the colour of what is there" was good
# enough, and a question that names a shape gave no reason to find it. What a model has not
# been asked it has not learned, whatever its accuracy. `sort-of-clevr` (six objects) and
# `clevr` ask for it.
#
# ## Where to go from here
#
# * `python -m experiments.vqa.train` makes the first of these models in some four minutes;
#   `experiments/vqa/README.md` has every number with its command.
# * `python -m experiments.vqa.plot --output look.html` writes a page to look around in, and
#   `python -m experiments.demo` asks your own pictures.
# * In the notebook *Fork a module* you replace attention by something of your own.
