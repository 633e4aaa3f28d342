"""The default corpus: phrases in two languages, made on the spot.

A random value (a day, an amount of money, three countries) is rendered in both
locales, so the pair is a translation by construction, and its word order differs
where the languages differ. What is drawn is kept apart from how it is said: a
category is a space of values and a function that renders one of them, so the number
of phrases is the size of the space. A hash of the source decides to which split a
phrase belongs. Countries, units and months are all met in training; what is new in
a test phrase is their combination.
"""

import contextlib
import dataclasses
import datetime
import difflib
import functools
import itertools
import math
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any

from babel import Locale, UnknownLocaleError, localedata

from zoo.data import phrase_templates as say
from zoo.data.splits import Split, percents, split_of
from zoo.data.text import ParallelText
from zoo.errors import InputError

CATEGORIES: tuple[str, ...] = (
    "date",
    "time",
    "date_time",
    "date_interval",
    "relative_time",
    "duration",
    "price",
    "rate",
    "quantities",
    "countries",
    "languages",
    "number_words",
    "trip",
    "record",
)


def phrases(
    source_locale: str, target_locale: str, split: Split, count: int, seed: int
) -> ParallelText:
    """Returns `count` different phrases of one split, in two languages.

    The categories take turns. Equal arguments give equal phrases, and a smaller
    count gives the beginning of what a larger one gives. White space is written as
    plain single spaces, as people type it; CLDR also has narrow and unbreakable ones.

    >>> text = phrases("en", "ko", "train", count=2, seed=0)
    >>> text.category
    ['date', 'time']

    Raises:
        InputError: Babel or num2words lacks a locale, or names that a category needs,
            both locales are the same, or the split does not have so many phrases.
    """
    source, target = parse_locale(source_locale), parse_locale(target_locale)
    if source == target:
        raise InputError(
            f"source and target locale are both {source_locale!r}; choose two"
        )
    kinds = categories(source, target)
    limit = _room(kinds, split)
    if not 1 <= count <= limit:
        raise InputError(
            f"cannot make {count} phrases for {split}; ask for 1 to {limit}"
        )
    streams = {
        name: _stream(kind, random.Random(f"{seed} {name}"), source, target, split)
        for name, kind in kinds.items()
    }
    turns = list(itertools.islice(itertools.cycle(CATEGORIES), count))
    sources, targets = zip(*(next(streams[name]) for name in turns), strict=True)
    return ParallelText(list(sources), list(targets), turns)


def parse_locale(name: str) -> Locale:
    """Returns the locale of a name such as ko, pt-BR or sr_Latn.

    Raises:
        InputError: Babel or num2words lacks it; says which ones both have.
    """
    try:
        locale = Locale.parse(name.replace("-", "_"))
    except (ValueError, UnknownLocaleError):
        locale = None
    if locale is not None and say.words_language(locale):
        return locale
    supported = [
        language
        for language in sorted(localedata.locale_identifiers())
        if "_" not in language and say.words_language(Locale(language))
    ]
    fault = "Babel has no locale" if locale is None else "num2words has no words for"
    nearest = difflib.get_close_matches(name, supported, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    raise InputError(f"{fault} {name!r}; {hint}supported are {', '.join(supported)}")


@dataclasses.dataclass(frozen=True)
class Space:
    """Holds how many values there are, and how to draw one of them."""

    size: int
    draw: Callable[[random.Random], Any]


def choice(items: Sequence) -> Space:
    """Returns the space of the items, which must differ from one another."""
    return Space(len(items), lambda rng: rng.choice(items))


def arrangements(items: Sequence, count: int) -> Space:
    """Returns the space of all ordered choices of `count` different items."""
    size = math.perm(len(items), count)
    return Space(size, lambda rng: tuple(rng.sample(items, count)))


def product(*spaces: Space) -> Space:
    """Returns the space of tuples with one value of each space."""
    size = math.prod(space.size for space in spaces)
    return Space(size, lambda rng: tuple([space.draw(rng) for space in spaces]))


def either(*spaces: Space) -> Space:
    """Returns the union of disjoint spaces, which are drawn from equally often."""
    size = sum(space.size for space in spaces)
    return Space(size, lambda rng: rng.choice(spaces).draw(rng))


DAYS = choice(
    range(datetime.date(1900, 1, 1).toordinal(), datetime.date(2100, 1, 1).toordinal())
)
# Larger numbers are round: a learner should meet all of them in a few minutes.
AMOUNTS = either(
    *map(choice, (range(1, 100), range(100, 1000, 10), range(1000, 10_000, 100)))
)
MEASURES = either(
    choice([Decimal(number) for number in range(1, 100)]),
    choice([Decimal(number) for number in range(100, 1000, 10)]),
    choice([Decimal(number) / 10 for number in range(1, 1000) if number % 10]),
)
WRITTEN = either(choice(range(1, 100)), choice(range(100, 1000)))


@dataclasses.dataclass(frozen=True)
class Category:
    """Phrases of one kind: a space of tuples, and `render(locale, *value)`."""

    space: Space
    render: Callable[..., str]


@functools.cache
def categories(source: Locale, target: Locale) -> dict[str, Category]:
    """Returns the categories by name, made of what both locales can express.

    The source determines the target: of several things that the source locale calls
    by one name only the first is kept, and no format leaves out a part of a value.
    """
    known = functools.partial(_known, (source, target))
    costs = itertools.product(say.CURRENCIES.split(), say.PRICED.split())
    flows = itertools.product(say.FLOWS.split(), say.PERIODS.split())
    countries = known("countries", say.country, say.COUNTRIES.split())
    languages = known("languages", say.language, say.LANGUAGES.split())
    zones = known("time zones", say.zone_name, say.TIME_ZONES.split())
    currencies = known("currencies", _three(say.money), say.CURRENCIES.split())
    units = known("units", _three(say.quantity), say.UNITS.split())
    prices = known("prices", _three(say.price), costs)
    rates = known("rates", _three(say.rate), [*zip(say.SPEEDS.split()), *flows])
    styles = choice(known("lists", _abc, ("standard", "or")))
    measures = product(MEASURES, choice(units))
    price, rate = product(AMOUNTS, choice(prices)), product(MEASURES, choice(rates))
    list_of = functools.partial(_list_of, styles)
    return {
        **_times(choice(zones)),
        "price": list_of(say.price, product(price, price)),
        "rate": list_of(say.rate, product(rate, rate)),
        "quantities": list_of(say.quantity, product(measures, measures, measures)),
        "countries": list_of(say.country, arrangements(list(zip(countries)), 3)),
        "languages": list_of(say.language, arrangements(list(zip(languages)), 3)),
        "number_words": Category(product(*[WRITTEN] * 3), say.number_words),
        **_long(countries, product(AMOUNTS, choice(currencies)), measures),
    }


def _times(zones: Space) -> dict[str, Category]:
    """Returns the categories that tell when or how long."""
    minutes, seconds = choice(range(24 * 60)), choice(range(24 * 60 * 60))
    distances = [
        product(choice([unit]), choice(counts))
        for unit, counts in say.DISTANCES.items()
    ]
    durations = [
        product(choice([tuple(counts)]), product(*map(choice, counts.values())))
        for counts in say.DURATIONS
    ]
    # Starts before 16:00 and takes less than eight hours: ends on the same day.
    starts, lengths = choice(range(16 * 60)), choice(range(5, 8 * 60))
    return {
        "date": Category(product(DAYS), say.weekday_date),
        "time": Category(product(seconds, zones), say.time_in_zone),
        "date_time": Category(product(DAYS, minutes), say.date_time),
        "date_interval": Category(
            product(DAYS, either(choice(range(1, 30)), choice(range(30, 400)))),
            say.date_interval,
        ),
        "relative_time": Category(
            product(either(*distances), choice((-1, 1)), starts, lengths),
            say.relative_time,
        ),
        "duration": Category(either(*durations), say.duration),
    }


def _long(countries: Sequence, payments: Space, measures: Space) -> dict[str, Category]:
    """Returns the categories that put several facts into one phrase."""
    return {
        "trip": Category(
            product(choice(countries), DAYS, choice(range(1, 30)), payments), say.trip
        ),
        "record": Category(
            product(
                arrangements(range(4), 4), choice(countries), DAYS, payments, measures
            ),
            say.record,
        ),
    }


def _list_of(styles: Space, render: Callable, parts: Space) -> Category:
    """Returns lists of such parts, joined by what the locale has for "and" or "or"."""

    def render_list(locale, style, values):
        return say.listed(locale, style, [render(locale, *value) for value in values])

    return Category(product(styles, parts), render_list)


def _known(
    locales: tuple[Locale, Locale],
    things: str,
    name: Callable[[Locale, Any], str],
    items: Iterable,
) -> list:
    """Returns the items with a name in both locales, in the first of them its own."""
    first = {}
    for item in items:
        with contextlib.suppress(LookupError):
            names = [name(locale, item) for locale in locales]
            first.setdefault(names[0], item)
    if not first:
        raise InputError(
            f"Babel has no {things} in {locales[0]} and {locales[1]}; choose others"
        )
    return list(first.values())


def _three(render: Callable) -> Callable[[Locale, Any], str]:
    """Returns a function that names a kind of thing by naming three of it."""
    return lambda locale, kind: render(locale, 3, kind)


def _abc(locale: Locale, style: say.Style) -> str:
    return say.listed(locale, style, "abc")


def _room(kinds: dict[str, Category], split: Split) -> int:
    """Returns how many phrases can be drawn without many repetitions."""
    smallest = min(kind.space.size for kind in kinds.values())
    return len(kinds) * (smallest * percents(split) // 200)


def _stream(
    kind: Category, rng: random.Random, source: Locale, target: Locale, split: Split
) -> Iterator[tuple[str, str]]:
    """Yields the pairs of one category that belong to the split, each once."""
    seen = set()
    while True:
        value = kind.space.draw(rng)
        text = _line(kind.render(source, *value))
        if text not in seen and split_of(text) == split:
            seen.add(text)
            yield text, _line(kind.render(target, *value))


def _line(text: str) -> str:
    return " ".join(text.split())
