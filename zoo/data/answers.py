"""Answers as the official VQA evaluator compares them.

The rules are those of ``vqaEval.py`` of GT-Vision-Lab/VQA (Agrawal et al. 2015, "VQA:
Visual Question Answering"; BSD-2-Clause), its oddities included: every published
accuracy has been counted with them.
"""

import functools
import re
from collections.abc import Callable, Sequence

MIN_ANNOTATORS = 4  # of fewer, no answer could be worth all

# In the order in which they are cut. Apostrophe, colon and % stay.
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_COMMA_IN_NUMBER = re.compile(r"\d,\d")
# A typo lets the official expression look at what follows only, and another sets 32 as
# the largest number of substitutions.
_PERIOD = re.compile(r"\.(?!\d)")
_MOST_PERIODS = 32

_NUMBERS = "zero one two three four five six seven eight nine ten"
_DIGITS = {"none": "0"} | {word: str(n) for n, word in enumerate(_NUMBERS.split())}
_ARTICLES = {"a", "an", "the"}
# Contractions that are mended if just one of their apostrophes is missing. "let's",
# "she's" and those with a capital I are in the official table to no effect.
_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't
    hadn't've hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've
    it'll ma'am mightn't mightn't've might've mustn't must've needn't not've o'clock
    oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
    somebody'll somebody's someone'd someone'd've someone'll someone's something'd
    something'd've something'll that's there'd there'd've there're there's they'd
    they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're
    what's what've when's where'd where's where've who'd who'd've who'll who's who've
    why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've
    you'd you'd've you'll you're you've
"""
_MENDED = {
    right[: match.start()] + right[match.end() :]: right
    for right in _CONTRACTIONS.split()
    for match in re.finditer("'", right)
} | {"somebody'd": "somebodyd"}  # the wrong way round, officially


def stripped(answer: str) -> str:
    r"""Returns an answer in one line and without space at its ends.

    >>> stripped(" hot\tdog\n")
    'hot dog'
    """
    return answer.replace("\n", " ").replace("\t", " ").strip()


def without_punctuation(answer: str) -> str:
    """Returns an answer whose punctuation is gone, or a space in its place.

    Gone if it somewhere stands beside a space, or if the answer has a number with a
    comma anywhere; and so is each period that no digit follows.

    >>> without_punctuation("black-and-white"), without_punctuation("$2,000 (ca.)")
    ('black and white', '$2000 ca')
    """
    number = _COMMA_IN_NUMBER.search(answer)
    cut = answer
    for mark in _PUNCTUATION:
        beside_space = f"{mark} " in answer or f" {mark}" in answer
        cut = cut.replace(mark, "" if beside_space or number else " ")
    return _PERIOD.sub("", cut, count=_MOST_PERIODS)


def in_common_words(answer: str) -> str:
    """Returns an answer in lower case, with digits for numbers and without articles.

    >>> in_common_words("The two  dogs dont bark")
    "2 dogs don't bark"
    """
    words = [_DIGITS.get(word, word) for word in answer.lower().split()]
    return " ".join(_MENDED.get(word, word) for word in words if word not in _ARTICLES)


@functools.lru_cache(maxsize=1 << 16)  # answers repeat
def normalise(answer: str) -> str:
    """Returns what the official evaluator compares where annotators disagree.

    >>> normalise("A T-shirt."), normalise("none")
    ('t shirt', '0')
    """
    return in_common_words(without_punctuation(stripped(answer)))


def comparison(answers: Sequence[str]) -> Callable[[str], str]:
    """Returns what an answer is turned into before it is compared with these.

    Unanimous answers are compared letter for letter, all others normalised.

    >>> comparison(["two", "2"])("two"), comparison(["two", "two"])("two")
    ('2', 'two')
    """
    return normalise if len({*map(stripped, answers)}) > 1 else stripped
