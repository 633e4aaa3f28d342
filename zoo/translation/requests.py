"""What is asked of translations, from words to tokens.

A word that is required or banned stands behind a space. What every translation begins
with, such as the name of a language, comes before a prefix.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from zoo.data.text_tokens import TextTokens
from zoo.decoding.words import Banned, allows, ban_words
from zoo.errors import InputError


class Request(NamedTuple):
    """A sentence, in tokens: what is read, and what must be written.

    Attributes:
        source: ends with end of sentence.
        prefix: what the translation begins with.
        required: the phrases that it holds.
    """

    source: list[int]
    prefix: list[int]
    required: list[list[int]]

    def check_room(self, number: int, limit: int) -> None:
        """Raises InputError unless all that must be written fits into the limit."""
        needed = len(self.prefix) + sum(map(len, self.required)) + 1
        if needed > limit:
            raise InputError(
                f"sentence {number}: prefix and required words take {needed} subwords, "
                f"end of sentence included, but max_length is {limit}; ask for less"
            )


def encode(
    tokenizer: TextTokens,
    sentences: Sequence[str],
    max_length: int,
    name: str = "sentence",
) -> list[list[int]]:
    """Returns the tokens of every sentence to read, with the end of sentence.

    Args:
        max_length: in tokens, end of sentence included.
        name: what an error calls a sentence.

    Raises:
        InputError: a sentence is longer.
    """
    return _with_end(tokenizer, tokenizer.encode(sentences), max_length, name)


def encode_targets(
    tokenizer: TextTokens, sentences: Sequence[str], max_length: int
) -> list[list[int]]:
    """Returns the tokens of every sentence that was written; else as `encode`."""
    ids = tokenizer.encode_targets(sentences)
    return _with_end(tokenizer, ids, max_length, "target")


def _with_end(tokenizer, sentences, max_length, name):
    ids = []
    for number, tokens in enumerate(sentences, start=1):
        if len(tokens) + 1 > max_length:
            raise InputError(
                f"{name} {number} has {len(tokens) + 1} tokens, more than the "
                f"{max_length} that the model was trained for; split it"
            )
        ids.append([*tokens, tokenizer.eos_id])
    return ids


def read_requests(
    tokenizer: TextTokens,
    sources: Sequence[list[int]],
    prefixes: Sequence[str] | None,
    required: Sequence[Sequence[str]] | None,
) -> list[Request]:
    """Returns what is asked of every sentence, in tokens.

    Raises:
        InputError: something that must be written is not in the vocabulary.
    """
    count = len(sources)
    prefixes = [""] * count if prefixes is None else prefixes
    required = [()] * count if required is None else required
    if len(prefixes) != count or len(required) != count:
        raise ValueError(
            f"{count} sentences need as many prefixes and lists of required words, not "
            f"{len(prefixes)} and {len(required)}"
        )
    texts = [prefix.strip() for prefix in prefixes]
    known = _known(tokenizer, texts, tokenizer.encode_targets(texts), "prefix")
    requests = []
    for source, prefix, words in zip(sources, known, required, strict=True):
        words = _words(words, "required")
        phrases = _known(tokenizer, words, tokenizer.encode_words(words), "required")
        requests.append(Request(source, prefix, phrases))
    return requests


def read_banned(
    tokenizer: TextTokens, words: Sequence[str], requests: Sequence[Request]
) -> Banned | None:
    """Returns what forbids the words, None if there are none that could be written.

    Raises:
        InputError: a banned word stands in a required one.
    """
    ids = [
        tokens
        for tokens in tokenizer.encode_words(_words(words, "banned"))
        if tokenizer.unknown_id not in tokens
    ]
    if not ids:
        return None
    banned = ban_words(ids, token_texts(tokenizer))
    for request in requests:
        for phrase in request.required:
            if not allows(banned, phrase):
                (text,) = tokenizer.decode([phrase])
                raise InputError(
                    f"{text!r} is required, but holds a banned word; choose one"
                )
    return banned


@lru_cache(maxsize=4)
def token_texts(tokenizer: TextTokens) -> list[str]:
    """Returns what each token writes behind another, its space included."""
    return tokenizer.texts()


def _words(words: Sequence[str], name: str) -> list[str]:
    for word in words:
        if not word.strip():
            raise InputError(f"{name}: {word!r} is no word; leave it out")
    return [word.strip() for word in words]


def _known(
    tokenizer: TextTokens, texts: Sequence[str], ids: list[list[int]], name: str
) -> list[list[int]]:
    """Returns the tokens of texts, if a model can write them."""
    for text, tokens in zip(texts, ids, strict=True):
        if tokenizer.unknown_id in tokens:
            raise InputError(
                f"{name}: {text!r} has what is not in the model's vocabulary, so that "
                "it cannot be written; choose other words"
            )
    return ids
