"""The laws of a model that answers questions about images, as numbers.

What must not matter, and what must be equal, whatever a model has learned; see also
`zoo.laws`. Each function returns by how much a law is broken: rounding, about 1e-6, or
a mistake::

    for law, violation in violations(model, params, image, questions).items():
        print(f"{law}: {violation:.0e}")

A law asks a function for its logits, so that it holds whatever compiles the function:
`logits(image, questions)`, or `answer(regions, valid, questions)`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Num

from zoo.models.contract import Seq2Seq
from zoo.models.visual_contract import VisualModel

Logits = Callable[[Array, Array], Array]
Answer = Callable[[Array, Array, Array], Array]


def violations(
    model: VisualModel,
    params: Any,
    image: Num[Array, "B ..."],
    questions: Int[Array, "B G S"],
) -> dict[str, float]:
    """Returns the largest difference of logits, in nats, under every law.

    >>> import zoo
    >>> sizes = {"model_dim": 8, "word_dim": 4, "joint_dim": 8, "region_dim": 6}
    >>> model = zoo.create_model("vqa-baseline-tiny", vocab_size=9, **sizes)
    >>> params = jax.jit(partial(zoo.initialize, model))(jax.random.key(0))
    >>> image = jax.random.normal(jax.random.key(1), (2, 3, 6))
    >>> questions = jnp.array([[[3, 4], [5, 0]], [[6, 7], [8, 3]]])
    >>> max(violations(model, params, image, questions).values()) < 1e-4
    True

    Args:
        image: two different ones or more.
        questions: two or more of each image, different ones, one of them padded.
    """
    logits: Logits = partial(jax.jit(partial(_logits, model)), params)
    encode = partial(model.apply, method="encode_image")
    regions, valid = jax.jit(encode)({"params": params}, image)
    answer: Answer = partial(jax.jit(partial(_answer, model)), params)
    found = {
        padding_of_a_question_cannot_matter: padding_of_a_question_cannot_matter(
            logits, image, questions, model.pad_id
        ),
        masked_regions_cannot_matter: masked_regions_cannot_matter(
            answer, regions, valid, questions
        ),
        jit_is_eager: jit_is_eager(
            logits, partial(_logits, model, params), image, questions
        ),
    } | {law: law(logits, image, questions) for law in _OF_LOGITS}
    return {law.__name__.replace("_", " "): value for law, value in found.items()}


def padding_of_a_question_cannot_matter(
    logits: Logits,
    image: Num[Array, "B ..."],
    questions: Int[Array, "B G S"],
    pad_id: int = 0,
) -> float:
    """Returns what three more columns of padding change."""
    columns = ((0, 0), (0, 0), (0, 3))
    longer = jnp.pad(questions, columns, constant_values=pad_id)
    return _largest(logits(image, questions), logits(image, longer))


def questions_of_one_image_cannot_influence_each_other(
    logits: Logits, image: Num[Array, "B ..."], questions: Int[Array, "B G S"]
) -> float:
    """Returns what other questions beside it change for the first and for the last."""
    together = logits(image, questions)
    changes = []
    for slot in (0, questions.shape[1] - 1):
        alike = jnp.broadcast_to(questions[:, slot, None], questions.shape)
        changes.append(_largest(together[:, slot], logits(image, alike)[:, slot]))
    return float(np.max(changes))  # not max, which lets a NaN pass


def questions_at_once_are_one_by_one(
    logits: Logits, image: Num[Array, "B ..."], questions: Int[Array, "B G S"]
) -> float:
    """Returns what changes when each question of an image is asked alone."""
    slots = range(questions.shape[1])
    alone = [logits(image, questions[:, slot, None]) for slot in slots]
    return _largest(logits(image, questions), jnp.concatenate(alone, axis=1))


def pictures_of_the_batch_cannot_matter(
    logits: Logits, image: Num[Array, "B ..."], questions: Int[Array, "B G S"]
) -> float:
    """Returns what other images beside it change for the first and for the last."""
    together = logits(image, questions)
    changes = []
    for row in (0, len(image) - 1):
        alike = jnp.broadcast_to(image[row, None], image.shape)
        changes.append(_largest(together[row], logits(alike, questions)[row]))
    return float(np.max(changes))


def masked_regions_cannot_matter(
    answer: Answer,
    regions: Float[Array, "B R D"],
    valid: Bool[Array, "B R"],
    questions: Int[Array, "B G S"],
) -> float:
    """Returns what the last region changes once it is masked."""
    valid = jnp.asarray(valid).at[:, -1].set(False)
    other = jnp.asarray(regions).at[:, -1].multiply(-3).at[:, -1].add(2)
    return _largest(answer(regions, valid, questions), answer(other, valid, questions))


def jit_is_eager(
    compiled: Logits,
    eager: Logits,
    image: Num[Array, "B ..."],
    questions: Int[Array, "B G S"],
) -> float:
    """Returns what compilation changes."""
    return _largest(compiled(image, questions), eager(image, questions))


_OF_LOGITS = (
    questions_of_one_image_cannot_influence_each_other,
    questions_at_once_are_one_by_one,
    pictures_of_the_batch_cannot_matter,
)


def _logits(model, params, image, questions):
    variables = {"params": params}
    regions, valid = model.apply(variables, image, method="encode_image")
    return _answer(model, params, regions, valid, questions)


def _answer(model, params, regions, valid, questions):
    """Returns the logits of the answers, or of the first word of written ones."""
    call = partial(model.apply, {"params": params})
    if not isinstance(model, Seq2Seq):
        return call(regions, valid, questions, method="answer")
    batch, num_questions, _ = questions.shape
    start = jnp.full((batch * num_questions, 1), model.start_id, jnp.int32)
    memory = call(regions, valid, questions, method="read")
    logits = call(call(memory, start, method="write"), method="logits")
    return logits.reshape(batch, num_questions, -1)


def _largest(first, second) -> float:
    return float(np.abs(np.asarray(first) - np.asarray(second)).max())
