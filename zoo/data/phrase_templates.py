"""How a locale says the parts of a phrase: dates, quantities, money, names, lists.

All wording comes from Unicode CLDR (through Babel) and from num2words. What joins
the parts of a phrase is a pattern of CLDR or plain punctuation, never grammar of
ours, so that every function works for every locale. What a locale has no words for
raises LookupError.
"""

import datetime
import functools
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal

from babel import Locale, dates, lists, numbers, units
from num2words import CONVERTER_CLASSES, num2words

Style = Literal["standard", "or"]
Unit = Literal["day", "week", "month"]

COUNTRIES = (
    "AE AF AL AM AO AR AT AU AZ BA BD BE BF BG BO BR BW BY CA CH CI CL CM CN CO CR CU "
    "CY CZ DE DK DO DZ EC EE EG ES ET FI FJ FR GB GE GH GR GT HR HU ID IE IL IN IQ IR "
    "IS IT JM JO JP KE KH KR KW KZ LA LB LK LT LU LV LY MA MD MG ML MN MT MX MY MZ NA "
    "NE NG NL NO NP NZ OM PA PE PH PK PL PT PY QA RO RS RU RW SA SE SG SI SK SN SO SY "
    "TH TN TR TZ UA UG US UY UZ VE VN YE ZA ZM ZW"
)
LANGUAGES = (
    "af am ar az be bg bn ca cs cy da de el en es et eu fa fi fr ga gl gu ha he hi hr "
    "hu hy id is it ja ka kk km ko ky la lo lt lv mk ml mn mr ms my ne nl pa pl pt ro "
    "ru si sk sl sq sr sv sw ta te th tr uk ur uz vi yo zh zu"
)
CURRENCIES = (
    "AUD BRL CAD CHF CNY CZK DKK EGP EUR GBP HUF IDR INR JPY KES KRW MXN NOK NZD PHP "
    "PLN RUB SEK SGD THB TRY USD VND ZAR"
)
TIME_ZONES = (
    "Alaska America_Central America_Eastern America_Mountain America_Pacific Arabian "
    "Argentina Atlantic Australia_Eastern Australia_Western Bangladesh Brasilia Chile "
    "China Colombia Cuba Europe_Central Europe_Eastern Europe_Western Hawaii_Aleutian "
    "Hong_Kong India Iran Israel Japan Korea Moscow New_Zealand Newfoundland Pakistan "
    "Peru Singapore"
)
UNITS = (
    "area-acre area-hectare area-square-kilometer area-square-meter concentr-percent "
    "digital-gigabyte digital-megabyte electric-volt energy-kilocalorie "
    "energy-kilowatt-hour length-centimeter length-foot length-kilometer "
    "length-light-year length-meter length-mile mass-gram mass-kilogram mass-ounce "
    "mass-pound power-watt temperature-celsius temperature-fahrenheit "
    "volume-cubic-meter volume-gallon volume-liter volume-milliliter"
)
SPEEDS = (
    "speed-kilometer-per-hour speed-meter-per-second speed-mile-per-hour "
    "consumption-mile-per-gallon consumption-liter-per-100-kilometer"
)
FLOWS = (
    "digital-megabyte energy-kilocalorie mass-gram mass-kilogram volume-cubic-meter "
    "volume-liter volume-milliliter"
)
PERIODS = (
    "duration-second duration-minute duration-hour duration-day duration-week "
    "duration-month"
)
PRICED = (
    "duration-hour duration-day duration-week duration-month mass-kilogram "
    "volume-liter area-square-meter"
)
# Each unit with the counts that do not fill the one before it.
DURATIONS = (
    {"year": range(1, 100), "month": range(1, 12), "day": range(1, 28)},
    {"week": range(1, 52), "day": range(1, 7), "hour": range(1, 24)},
    {"day": range(1, 100), "hour": range(1, 24), "minute": range(1, 60)},
    {"hour": range(1, 24), "minute": range(1, 60), "second": range(1, 60)},
)
DISTANCES: dict[Unit, range] = {
    "day": range(1, 31),
    "week": range(1, 13),
    "month": range(1, 25),
}
# Languages in which num2words fails for some numbers.
_INCOMPLETE = {"am"}
_DAYS_IN: dict[Unit, int] = {"day": 1, "week": 7, "month": 30}
_LENGTHS: tuple[Literal["long", "short"], ...] = ("long", "short")
# One number of each grammatical kind that the languages of CLDR distinguish.
_COUNTS = (1, 2, 3, 5, 11, 21, 100, Decimal("1.5"))


@functools.cache
def date(locale: Locale, day: int, width: Literal["full", "long"]) -> str:
    """Returns a day with its weekday (width "full") or without it ("long").

    Args:
        day: the ordinal of a date; 1 is 1 January of year 1.
    """
    return dates.format_date(datetime.date.fromordinal(day), width, locale)


def weekday_date(locale: Locale, day: int) -> str:
    """Returns a day with its weekday."""
    return date(locale, day, "full")


@functools.cache
def time(locale: Locale, minute: int) -> str:
    """Returns a time of day, told in minutes after midnight."""
    value = datetime.time(*divmod(minute, 60))
    return _time_pattern(locale, "short").apply(value, locale)


def time_in_zone(locale: Locale, second: int, zone: str) -> str:
    """Returns a second of the day, with the name of a time zone."""
    minute, second = divmod(second, 60)
    value = datetime.time(*divmod(minute, 60), second)
    clock = _time_pattern(locale, "full").apply(value, locale)
    return clock.replace("{0}", zone_name(locale, zone))


@functools.cache
def _time_pattern(locale: Locale, width: str) -> dates.DateTimePattern:
    """Returns CLDR's pattern with AM and PM in full and {0} for the time zone.

    In full, because the short forms are not what people write in every language:
    Korean has 오전 and 오후, but AM and PM when they are short.
    """
    fields = {"a": ("field", ("a", 4)), "z": ("chars", "{0}")}
    tokens = dates.tokenize_pattern(locale.time_formats[width].pattern)
    return dates.parse_pattern(
        dates.untokenize_pattern(
            fields.get(token[0], (kind, token)) if kind == "field" else (kind, token)
            for kind, token in tokens
        )
    )


def between(locale: Locale, first: str, last: str) -> str:
    """Returns an interval whose ends are written out in full."""
    return locale.interval_formats[None].format(first, last)


def joined(locale: Locale, day: str, clock: str) -> str:
    """Returns a day and a time of day in the locale's order of the two."""
    pattern = str(dates.get_datetime_format("long", locale))
    return pattern.replace("'", "").format(clock, day)


def date_time(locale: Locale, day: int, minute: int) -> str:
    """Returns a day and a minute of it."""
    return joined(locale, date(locale, day, "long"), time(locale, minute))


def date_interval(locale: Locale, start: int, days: int) -> str:
    """Returns an interval of days, without repeating the month and year they share."""
    first, last = map(datetime.date.fromordinal, (start, start + days))
    return dates.format_interval(first, last, "yMMMd", locale=locale)


def relative_time(
    locale: Locale, distance: tuple[Unit, int], sign: int, start: int, minutes: int
) -> str:
    """Returns a day counted from today, and an interval of that day."""
    unit, count = distance
    day = dates.format_timedelta(
        datetime.timedelta(days=sign * count * _DAYS_IN[unit]),
        granularity=unit,
        threshold=math.inf,  # never turns days into weeks
        add_direction=True,
        locale=locale,
    )
    clock = between(locale, time(locale, start), time(locale, start + minutes))
    return joined(locale, day, clock)


def duration(locale: Locale, names: Sequence[str], counts: Sequence[int]) -> str:
    """Returns a length of time in several units."""
    parts = [
        quantity(locale, count, f"duration-{name}")
        for name, count in zip(names, counts, strict=True)
    ]
    try:
        return lists.format_list(parts, "unit", locale)
    except KeyError:  # Babel lacks what a locale inherits of this pattern
        return lists.format_list(parts, "standard", locale)


def listed(locale: Locale, style: Style, parts: Sequence[str]) -> str:
    """Returns the parts joined by the locale's "and" (style "standard") or "or"."""
    return lists.format_list(parts, style, locale)


@functools.cache
def quantity(locale: Locale, number: Decimal | int, unit: str) -> str:
    """Returns a number of a unit."""
    length = _unit_lengths(locale, unit)[0]
    return units.format_unit(number, unit, length, locale=locale)


@functools.cache
def _unit_lengths(locale: Locale, unit: str) -> list[Literal["long", "short"]]:
    """Returns the forms, longest first, in which Babel has all of the unit's plurals.

    Babel lacks the long forms that CLDR inherits from the short ones, writes
    something poor in their place, and has no public way to ask.
    """
    patterns = locale._data["unit_patterns"][unit]
    plurals = {locale.plural_form(count) for count in _COUNTS}
    return [length for length in _LENGTHS if plurals <= patterns.get(length, {}).keys()]


def rate(
    locale: Locale, number: Decimal | int, flow: tuple[str] | tuple[str, str]
) -> str:
    """Returns a quantity per unit of something else.

    Args:
        flow: a unit such as kilometers per hour, or two that make one.
    """
    amount = quantity(locale, number, flow[0])
    return amount if len(flow) == 1 else per_unit(locale, amount, flow[1])


def money(locale: Locale, amount: int, currency: str) -> str:
    """Returns a whole amount with the currency's name, which no other one has."""
    locale.currencies[currency]  # where this is missing, Babel would write the code
    return numbers.format_currency(
        amount, currency, "#,##0", locale, currency_digits=False, format_type="name"
    )


def price(locale: Locale, amount: int, cost: tuple[str, str]) -> str:
    """Returns money per unit of something."""
    currency, unit = cost
    return per_unit(locale, money(locale, amount, currency), unit)


def per_unit(locale: Locale, text: str, unit: str) -> str:
    """Returns a quantity, or money, per unit of something."""
    return _per_pattern(locale, unit).format(text)


@functools.cache
def _per_pattern(locale: Locale, unit: str) -> str:
    for length in _LENGTHS:
        text = units.format_compound_unit("{0}", None, 1, unit, length, locale=locale)
        # What Babel cannot name it calls by the name that it was asked for.
        if text and unit not in text:
            return text
    raise LookupError(f"Babel cannot say per {unit} in {locale}")


def country(locale: Locale, code: str) -> str:
    """Returns the name of a country."""
    return locale.territories[code]


def language(locale: Locale, code: str) -> str:
    """Returns the name of a language."""
    return locale.languages[code]


def zone_name(locale: Locale, zone: str) -> str:
    """Returns the name of the standard time of one of CLDR's metazones."""
    return locale.meta_zones[zone]["long"]["standard"]


@functools.cache
def in_words(locale: Locale, number: int) -> str:
    """Returns a number written out."""
    return num2words(number, lang=words_language(locale))


def number_words(locale: Locale, *numbers: int) -> str:
    """Returns numbers written out; not a list, as "and" may stand inside a number."""
    return "; ".join(in_words(locale, number) for number in numbers)


def words_language(locale: Locale) -> str | None:
    """Returns what num2words calls the locale's language; None if it lacks it."""
    names = (str(locale), locale.language)
    known = CONVERTER_CLASSES.keys() - _INCOMPLETE
    return next((name for name in names if name in known), None)


def trip(
    locale: Locale, code: str, start: int, days: int, payment: tuple[int, str]
) -> str:
    """Returns a country, the interval of days spent there, and what it costs."""
    stay = date_interval(locale, start, days)
    return f"{country(locale, code)} ({stay}); {money(locale, *payment)}"


def record(
    locale: Locale,
    order: tuple[int, ...],
    code: str,
    day: int,
    payment: tuple[int, str],
    measure: tuple[Decimal, str],
) -> str:
    """Returns four facts in a given order: country, day, money, quantity."""
    facts = (
        country(locale, code),
        date(locale, day, "long"),
        money(locale, *payment),
        quantity(locale, *measure),
    )
    return "; ".join(facts[place] for place in order)
