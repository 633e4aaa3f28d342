import collections
import datetime
import hashlib
import random
import re
from decimal import Decimal

import pytest
from babel import Locale

from zoo.data import phrase_templates as say
from zoo.data import phrases as corpus
from zoo.data.phrases import (
    CATEGORIES,
    arrangements,
    categories,
    choice,
    either,
    phrases,
    product,
)
from zoo.data.splits import split_of
from zoo.errors import InputError

ENGLISH, KOREAN = Locale("en"), Locale("ko")
DAY = datetime.date(2026, 7, 23).toordinal()


@pytest.fixture(scope="module")
def train():
    return phrases("en", "ko", "train", count=3500, seed=0)


@pytest.fixture(scope="module")
def test():
    return phrases("en", "ko", "test", count=350, seed=0)


def plain(text):
    return " ".join(text.split())


def drawn(source, target, number=300):
    """Yields (category, value, source, target) of values drawn at random."""
    kinds = categories(Locale(source), Locale(target))
    for name, kind in kinds.items():
        rng = random.Random(0)
        for _ in range(number):
            value = kind.space.draw(rng)
            texts = [kind.render(Locale(name), *value) for name in (source, target)]
            yield name, value, *map(plain, texts)


@pytest.mark.parametrize(
    ("render", "value", "english", "korean"),
    [
        (say.weekday_date, (DAY,), "Thursday, July 23, 2026", "2026년 7월 23일 목요일"),
        (
            say.time_in_zone,
            (56709, "Korea"),
            "3:45:09 PM Korean Standard Time",
            "오후 3시 45분 9초 대한민국 표준시",
        ),
        (
            say.date_time,
            (DAY, 945),
            "July 23, 2026, 3:45 PM",
            "2026년 7월 23일 오후 3:45",
        ),
        (say.date_interval, (DAY, 3), "Jul 23 – 26, 2026", "2026년 7월 23일~26일"),
        (
            say.relative_time,
            (("month", 5), 1, 600, 180),
            "in 5 months, 10:00 AM – 1:00 PM",
            "5개월 후 오전 10:00 ~ 오후 1:00",
        ),
        (
            say.relative_time,
            (("day", 14), -1, 600, 60),
            "14 days ago, 10:00 AM – 11:00 AM",
            "14일 전 오전 10:00 ~ 오전 11:00",
        ),
        (
            say.duration,
            (("day", "hour", "minute"), (1, 1, 2)),
            "1 day, 1 hour, 2 minutes",
            "1일 1시간 2분",
        ),
        (
            say.price,
            (1200, ("EUR", "mass-kilogram")),
            "1,200 euros per kilogram",
            "킬로그램당 1,200 유로",
        ),
        (
            say.rate,
            (Decimal("62.5"), ("speed-kilometer-per-hour",)),
            "62.5 kilometers per hour",
            "시속 62.5킬로미터",
        ),
        (
            say.rate,
            (3, ("volume-liter", "duration-second")),
            "3 liters per second",
            "초당 3리터",
        ),
        (
            say.quantity,
            (Decimal(1), "temperature-celsius"),
            "1 degree Celsius",
            "섭씨 1도",
        ),
        (
            say.number_words,
            (21, 100, 907),
            "twenty-one; one hundred; nine hundred and seven",
            "이십일; 백; 구백칠",
        ),
        (
            say.trip,
            ("JP", DAY, 3, (1, "USD")),
            "Japan (Jul 23 – 26, 2026); 1 US dollar",
            "일본 (2026년 7월 23일~26일); 1 미국 달러",
        ),
        (
            say.record,
            ((3, 1, 0, 2), "FR", DAY, (90, "KRW"), (Decimal(2), "length-foot")),
            "2 feet; July 23, 2026; France; 90 South Korean won",
            "2피트; 2026년 7월 23일; 프랑스; 90 대한민국 원",
        ),
    ],
)
def test_a_value_is_said_as_people_say_it(render, value, english, korean):
    assert plain(render(ENGLISH, *value)) == english
    assert plain(render(KOREAN, *value)) == korean


def test_equal_arguments_give_equal_phrases(train):
    assert phrases("en", "ko", "train", count=3500, seed=0) == train
    assert phrases("en", "ko", "train", count=14, seed=1).source != train.source[:14]


def test_a_smaller_count_is_the_beginning_of_a_larger_one(train):
    few = phrases("en", "ko", "train", count=100, seed=0)
    assert few.source == train.source[:100]
    assert few.target == train.target[:100]


def test_the_categories_take_turns(train):
    assert set(collections.Counter(train.category).values()) == {250}
    assert train.category[:14] == list(CATEGORIES)
    assert tuple(categories(ENGLISH, KOREAN)) == CATEGORIES


def test_the_hash_of_a_source_decides_its_split(train, test):
    digest = hashlib.sha256(b"Japan").hexdigest()
    assert int(digest[:16], 16) % 100 == 0
    assert split_of("Japan") == "train"
    assert {split_of(source) for source in train.source} == {"train"}
    assert {split_of(source) for source in test.source} == {"test"}


def test_nine_phrases_of_ten_are_for_training():
    splits = collections.Counter(split_of(str(number)) for number in range(10_000))
    assert splits["train"] == pytest.approx(9000, abs=100)
    assert splits["validation"] == pytest.approx(500, abs=80)


def test_no_phrase_comes_twice(monkeypatch):
    # So few days that half of those of the split are drawn.
    monkeypatch.setattr(corpus, "DAYS", choice(range(DAY, DAY + 400)))
    monkeypatch.setattr(corpus, "categories", categories.__wrapped__)
    text = phrases("en", "ko", "train", count=14 * 180, seed=0)
    assert len(set(text.source)) == len(text)


def test_every_word_of_a_test_phrase_is_met_in_training(test):
    train = phrases("en", "ko", "train", count=7000, seed=0)
    known, met = (
        set(re.findall(r"[^\W\d]+", " ".join(text.source))) for text in (train, test)
    )
    assert len(met) > 200
    assert met <= known


@pytest.mark.parametrize(
    ("source", "target"),
    [("en", "ko"), ("ko", "en"), ("ar", "en"), ("ja", "de"), ("tg", "fr")],
)
def test_the_source_determines_the_target(source, target):
    translation, meaning = {}, {}
    for _, value, text, translated in drawn(source, target):
        assert translation.setdefault(text, translated) == translated
        # And every value is a phrase of its own, so a space is as large as it says.
        assert meaning.setdefault(text, value) == value


@pytest.mark.parametrize("target", ["ja", "ar", "fr", "th", "tg", "pt_BR"])
def test_both_sides_are_single_lines_of_words(target):
    for _, _, *texts in drawn("en", target, number=30):
        for text in texts:
            assert text.isprintable() or "\u200f" in text or "\u200e" in text
            assert not re.search(r"None|\{|duration-|volume-|length-|mass-", text)


def test_white_space_is_what_people_type():
    # Between time and AM, CLDR's English has a narrow space that does not break.
    assert "\u202f" in say.time(ENGLISH, 0)
    text = phrases("en", "fr", "train", count=140, seed=0)
    for line in text.source + text.target:
        assert line == plain(line)


def test_a_weekday_agrees_with_its_date(train):
    for line, category in zip(train.source, train.category, strict=True):
        if category == "date":
            day = datetime.datetime.strptime(line, "%A, %B %d, %Y")
            assert f"{day:%A}" == line.split(",")[0]


def test_spaces_count_their_values():
    letters, numbers = choice("abc"), choice(range(4))
    assert product(letters, numbers).size == 12
    assert either(letters, numbers).size == 7
    assert arrangements("abcd", 2).size == 12
    space = product(either(letters, numbers), arrangements("abc", 3))
    rng = random.Random(0)
    assert len({space.draw(rng) for _ in range(2000)}) == space.size == 42


def test_there_are_many_more_than_ten_million_phrases():
    kinds = categories(ENGLISH, KOREAN)
    assert len(kinds) >= 10
    # The smallest is exact: one phrase for each day of two hundred years.
    assert kinds["date"].space.size == 73_049
    assert len({say.weekday_date(ENGLISH, DAY + n) for n in range(400)}) == 400
    assert min(kind.space.size for kind in kinds.values()) == 73_049
    # Without the long categories, whose sizes are products of all others.
    short = [kinds[name].space.size for name in ("date_time", "date_interval", "time")]
    assert sum(short) > 10**8


def test_of_two_things_with_one_name_only_the_first_is_kept(monkeypatch):
    monkeypatch.setattr(say, "COUNTRIES", "KR JP FR DE")
    monkeypatch.setattr(
        say,
        "country",
        lambda locale, code: {"KR": "Korea", "JP": "Korea"}.get(code, code),
    )
    kinds = categories.__wrapped__(ENGLISH, KOREAN)
    assert kinds["countries"].space.size == 2 * 3 * 2 * 1


def test_what_a_locale_cannot_say_is_left_out(monkeypatch):
    monkeypatch.setattr(say, "COUNTRIES", "KR JP FR Atlantis DE")
    kinds = categories.__wrapped__(ENGLISH, KOREAN)
    assert kinds["countries"].space.size == 2 * 4 * 3 * 2


def test_a_unit_without_a_long_name_has_its_short_one():
    assert say.quantity(KOREAN, 3, "duration-minute") == "3분"
    assert (
        say.rate(Locale("ja"), 3, ("volume-liter", "duration-second"))
        == "3 リットル/秒"
    )


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        (("xx", "ko", "train", 1), "Babel has no locale 'xx'"),
        (("en", "", "train", 1), "Babel has no locale ''"),
        (("koo", "en", "train", 1), "did you mean 'ko'?"),
        (("en", "zh", "train", 1), "num2words has no words for 'zh'"),
        # num2words would take the words of Finnish for Filipino.
        (("en", "fil", "train", 1), "num2words has no words for 'fil'"),
        (("en", "am", "train", 1), "supported are ar, az, be"),
        (("en", "ce", "train", 1), "Babel has no rates in en and ce"),
        (("ko", "ko", "train", 1), "source and target locale are both 'ko'"),
        (("en", "ko", "train", 0), "ask for 1 to 460208"),
        (("en", "ko", "test", 25_565), "ask for 1 to 25564"),
    ],
)
def test_what_cannot_be_made_is_refused(arguments, fault):
    with pytest.raises(InputError, match=re.escape(fault)) as caught:
        phrases(*arguments, seed=0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pt-BR", "pt_BR", "en_GB", "sr_Latn"])
def test_a_locale_may_name_a_region_or_a_script(name):
    assert len(phrases("ko", name, "train", count=14, seed=0)) == 14
