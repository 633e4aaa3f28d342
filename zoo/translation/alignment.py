"""From attention between tokens to links between words.

The weights of a word are the sum over the tokens it is read from, and the mean over the
tokens it is written with; each target word is linked to the source word that it looks
at most. The end of sentence belongs to no word.

Which layer of a Transformer's decoder shows translation best is for the user to choose:
of six, Garg et al. (2019), "Jointly Learning to Align and Translate with Transformer
Models", found the last but one; of two and three layers that we trained it is the last.
In every family the row of a token holds where the model looked to write this token. (To
take the row in which a token is read instead, as Chen et al. 2020, "Accurate Word
Alignment Induction from Neural Machine Translation", found better for deep
Transformers, was worse in all that we trained.)
"""

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# What stands between the spaces at which readers of a printed alignment cut a line.
WORD = re.compile(r"[^ \t\n\r]+")


def word_numbers(texts: Sequence[str]) -> list[int]:
    """Returns for each token the number of its word; a space goes with the next one.

    Args:
        texts: what each token writes, spaces included.

    >>> word_numbers([" New", " Y", "ork", " ", "!", " "])
    [0, 1, 1, 2, 2, 2]
    """
    numbers, written = [], ""
    for text in texts:
        written += text
        num_begun = len(WORD.findall(written))
        numbers.append(num_begun - bool(WORD.search(text)))
    num_words = len(WORD.findall(written))
    return [min(number, num_words - 1) for number in numbers]


def sum_words(
    weights: Float[np.ndarray, "Q K"], words: Sequence[int]
) -> Float[np.ndarray, "Q N"]:
    """Returns the weights of the words that keys belong to."""
    return weights @ _members(words)


def mean_words(
    weights: Float[np.ndarray, "Q N"], words: Sequence[int]
) -> Float[np.ndarray, "M N"]:
    """Returns the mean weights of the words that queries belong to."""
    members = _members(words)
    return members.T @ weights / np.maximum(members.sum(axis=0), 1.0)[:, None]


def _members(words: Sequence[int]) -> Float[np.ndarray, "Q N"]:
    """Returns 1 where a token is part of a word."""
    numbers = np.asarray(words, np.int64)[:, None]
    return (numbers == np.arange(numbers.max(initial=-1) + 1)).astype(np.float32)


def align_words(
    weights: Float[np.ndarray, "Q K"],
    source_texts: Sequence[str],
    target_texts: Sequence[str],
) -> list[tuple[int, int]]:
    """Returns (source word, target word) for each target word, in its order.

    Args:
        weights: where the model looked to write each target token.
        source_texts, target_texts: what each token writes, without end of sentence;
            what the weights have beyond these is left out, and so is what stands before
            the text, such as the name of a language, and writes nothing.
    """
    first_key, first_query = _first(source_texts), _first(target_texts)
    source = word_numbers(source_texts[first_key:])
    target = word_numbers(target_texts[first_query:])
    weights = weights[first_query:, first_key:][: len(target), : len(source)]
    by_word = mean_words(sum_words(weights, source), target)
    if by_word.shape[1] == 0:
        return []
    return [(int(row.argmax()), number) for number, row in enumerate(by_word)]


def _first(texts: Sequence[str]) -> int:
    """Returns the place of the first token that writes something."""
    return next((place for place, text in enumerate(texts) if text), len(texts))


def format_links(links: Sequence[tuple[int, int]]) -> str:
    """Returns links in the format of Pharaoh, which fast_align and Marian write.

    >>> format_links([(0, 0), (2, 1)])
    '0-0 2-1'
    """
    return " ".join(f"{source}-{target}" for source, target in links)
