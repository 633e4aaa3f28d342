"""Sentences to score: a source and a target of many lengths, and mistakes."""

from zoo.data.text import ParallelText

PLAIN = {"lowercase": False, "tokenize": "13a"}
# Four words and more, up to 33, so that BLEU has its four orders.
TARGETS = [" ".join(f"w{i * k % 7}" for k in range(4 + i % 30)) for i in range(60)]
SOURCES = ["가 " * (3 + i % 30) + str(i) for i in range(60)]
TEXT = ParallelText(SOURCES, TARGETS)


def spoil(lines, every):
    """Returns lines whose every so many-th word is wrong."""
    return [
        " ".join("x" if (n + k) % every == 0 else w for k, w in enumerate(line.split()))
        for n, line in enumerate(lines)
    ]
