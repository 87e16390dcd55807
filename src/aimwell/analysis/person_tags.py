"""Descriptive tags 描述 of the person: age, birthday, sex, membership, language, city tier, and who can be reached how.

They come from columns of customers as they were delivered (text), under any of the usual names, and from consents
(purpose marketing; the latest word before ``as_of`` wins, a withdrawal at the same instant wins over a permission,
a permission that has ended is none). Days are counted in whole numbers, so that no engine's calendar matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date

from aimwell.analysis.tag import Tag
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.sql_text import quote_name

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "birth_date": ("birth_date", "birthday", "date_of_birth", "出生日期", "生日"),
    "sex": ("sex", "gender", "性别"),
    "joined_on": (
        "joined_on",
        "registered_on",
        "signup_date",
        "registration_date",
        "created_at",
        "注册日期",
        "注册时间",
    ),
    "membership_level": ("membership_level", "member_level", "level", "tier", "vip_level", "会员等级"),
    "language": ("language", "locale", "语言"),
    "city": ("city", "城市", "所在城市"),
    "city_tier": ("city_tier", "city_level", "城市等级"),
}
"""The names under which sources deliver what is known of a person."""
REACHED_BY: Mapping[str, str] = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}
"""What must be known of a customer to reach them through a channel."""
_YEAR = "^[12][0-9]{3}"
_DAY_PATTERN = f"{_YEAR}-[0-9][0-9]-[0-9][0-9][^0-9]"
_FEMALE = ("f", "female", "woman", "女", "女性", "女士")
_MALE = ("m", "male", "man", "男", "男性", "男士", "先生")


def _describe(name: str, title: Text, description: Text, kind: Type, need: str, unit: str = "") -> Tag:
    return Tag(name, title, description, "descriptive", unit, kind, (need,))


def _define_person() -> tuple[Tag, ...]:
    born = "customers.birth_date"
    return (
        _describe(
            "age_years",
            say("Age"),
            say("Full years since birth."),
            Type.INTEGER,
            born,
            "years",
        ),
        _describe(
            "age_band",
            say("Age group"),
            say("Under 18, 18–24, 25–34, 35–44, 45–54, 55–64, or 65 and over."),
            Type.TEXT,
            born,
        ),
        _describe(
            "birth_month",
            say("Month of birth"),
            say("1 is January."),
            Type.INTEGER,
            born,
            "month",
        ),
        _describe(
            "days_to_birthday",
            say("Days to the next birthday"),
            say("0 is today."),
            Type.INTEGER,
            born,
            "days",
        ),
    )


def _define_membership() -> tuple[Tag, ...]:
    return (
        _describe("sex", say("Sex"), say("Female or male, as delivered."), Type.TEXT, "customers.sex"),
        _describe(
            "membership_days",
            say("Days as a member"),
            say("Days since the customer joined."),
            Type.INTEGER,
            "customers.joined_on",
            "days",
        ),
        _describe(
            "membership_level",
            say("Membership level"),
            say("As delivered with the customer."),
            Type.TEXT,
            "customers.membership_level",
        ),
        _describe(
            "language",
            say("Language"),
            say("As delivered with the customer."),
            Type.TEXT,
            "customers.language",
        ),
        _describe("city", say("City"), say("As delivered with the customer."), Type.TEXT, "customers.city"),
        _describe(
            "city_tier",
            say("Tier of the city"),
            say("As delivered with the customer."),
            Type.TEXT,
            "customers.city_tier",
        ),
    )


def _define_reach() -> tuple[Tag, ...]:
    titles = {
        "email": say("Can be e-mailed"),
        "sms": say("Can be sent SMS"),
        "call": say("Can be called"),
        "mail": say("Can be written to"),
    }
    explained = say("The address or number is known, and the customer allows marketing through this channel.")
    return (
        *(
            _describe(
                f"contactable_{channel}", titles[channel], explained, Type.BOOLEAN, f"consents:{channel}"
            )
            for channel in REACHED_BY
        ),
        _describe(
            "channels_contactable",
            say("Channels open"),
            say("Through how many channels the customer can be reached and allows it."),
            Type.INTEGER,
            "customers",
            "channels",
        ),
    )


PERSON_TAGS: tuple[Tag, ...] = (*_define_person(), *_define_membership(), *_define_reach())
"""All tags of the person, in the order in which people read them."""


def find_columns(columns: Iterable[str]) -> dict[str, str]:
    """What is known of a person → the column in which it was delivered; the first usual name wins."""
    there = {name.lower(): name for name in columns}
    return {
        meaning: next(there[name] for name in names if name in there)
        for meaning, names in COLUMNS.items()
        if any(name in there for name in names)
    }


def render_person(columns: Mapping[str, str], as_of: date) -> dict[str, str]:
    """SQL of each tag of the person over customers ``c``, joined to the parts of ``render_days``."""
    found = {
        name: f"{_name_part(meaning)}.{name}"
        for meaning in DAYS
        if meaning in columns
        for name in _render_day(meaning, as_of)
    }
    if "sex" in columns:
        told = f"LOWER(TRIM(c.{quote_name(columns['sex'])}))"
        found["sex"] = (
            f"CASE WHEN {told} IN ({_list(_FEMALE)}) THEN 'female' WHEN {told} IN ({_list(_MALE)}) THEN 'male' END"
        )
    for name in ("membership_level", "language", "city", "city_tier"):
        if name in columns:
            found[name] = f"NULLIF(TRIM(CAST(c.{quote_name(columns[name])} AS VARCHAR)), '')"
    return found


DAYS = ("birth_date", "joined_on")
"""What is known of a person as a day."""


def render_days(columns: Mapping[str, str], as_of: date, people: str) -> dict[str, tuple[str, str]]:
    """A part for each day that was delivered with the customers of the part ``people``, and how ``c`` is joined to it.

    Days come as text, year first (``_read_day``). Reading them is what costs, and many customers share one: each
    different text is read once.
    """
    parts = {}
    for meaning in DAYS:
        if meaning in columns:
            column = quote_name(columns[meaning])
            distinct = f"(SELECT DISTINCT CAST({column} AS VARCHAR) AS told FROM {people}) AS t"
            shown = [f"{text} AS {name}" for name, text in _render_day(meaning, as_of).items()]
            name = _name_part(meaning)
            parts[name] = (
                f"    SELECT\n        d.told,\n        {f',{chr(10)}        '.join(shown)}\n"
                f"    FROM {_read_day(distinct)} AS d",
                f"LEFT JOIN {name} ON {name}.told = CAST(c.{column} AS VARCHAR)",
            )
    return parts


def _read_day(texts: str) -> str:
    """The texts ``told`` of ``texts`` AS t, each with its eight digits, or NULL where it is no day of the calendar.

    Read are 1990-06-15, 1990/6/15, 1990.6.15, 19900615, 1990年6月15日 and full-width digits, with or without a time
    after them. Every engine has these few functions; the usual spelling takes the shortest way through them.
    """
    # The blank at the end spares every pattern the case that the text ends there.
    text = "CONCAT(TRIM(t.told), ' ')"
    plain = text
    for signs, meant in (
        *((sign, str(digit)) for digit, sign in enumerate("０１２３４５６７８９")),
        ("年月/.／．－", "-"),
    ):
        for sign in signs:
            plain = f"REPLACE({plain}, '{sign}', '{meant}')"
    plain = f"REPLACE(REPLACE({plain}, '日', ' '), '号', ' ')"
    spread = "CONCAT(SUBSTRING(a.x, 1, 4), '-', SUBSTRING(a.x, 5, 2), '-', SUBSTRING(a.x, 7, 2), ' ')"
    month, day = "SUBSTRING(c.x, 6, 2)", "SUBSTRING(c.x, 9, 2)"
    longest = (
        f"CASE WHEN {month} = '02' THEN '29' WHEN {month} IN ('04', '06', '09', '11') THEN '30' ELSE '31' END"
    )
    return (
        f"(SELECT c.told, CASE WHEN REGEXP_MATCHES(c.x, '{_DAY_PATTERN}') AND {month} BETWEEN '01' AND '12'"
        f" AND {day} BETWEEN '01' AND {longest} THEN CONCAT(SUBSTRING(c.x, 1, 4), {month}, {day}) END AS digits"
        f" FROM (SELECT b.told, CASE WHEN REGEXP_MATCHES(b.x, '{_YEAR}-[0-9][0-9]-[0-9][^0-9]')"
        " THEN CONCAT(SUBSTRING(b.x, 1, 8), '0', SUBSTRING(b.x, 9, 1), ' ') ELSE b.x END AS x"
        f" FROM (SELECT a.told, CASE WHEN REGEXP_MATCHES(a.x, '{_YEAR}-[0-9]-')"
        " THEN CONCAT(SUBSTRING(a.x, 1, 5), '0', SUBSTRING(a.x, 6))"
        f" WHEN REGEXP_MATCHES(a.x, '{_YEAR}[0-9]{{4}}([0-9]{{6}})?[^0-9]') THEN {spread} ELSE a.x END AS x"
        f" FROM (SELECT t.told, CASE WHEN REGEXP_MATCHES({text}, '{_DAY_PATTERN}') THEN {text} ELSE {plain} END AS x"
        f" FROM {texts}) AS a) AS b) AS c)"
    )


def _name_part(meaning: str) -> str:
    return f"{meaning}_told"


def _render_day(meaning: str, as_of: date) -> dict[str, str]:
    """SQL of the tags of one day over its digits ``d``."""
    day = _Day()
    if meaning == "birth_date":
        return _render_birth(day, as_of)
    passed = f"{_count_days(as_of)} - ({day.number})"
    return {"membership_days": f"CASE WHEN {day.is_day} AND {passed} >= 0 THEN CAST({passed} AS BIGINT) END"}


class _Day:
    """A day by its eight digits."""

    def __init__(self) -> None:
        digits = "d.digits"
        self.is_day = f"{digits} IS NOT NULL"
        self.year = f"CAST(SUBSTRING({digits}, 1, 4) AS BIGINT)"
        self.month = f"CAST(SUBSTRING({digits}, 5, 2) AS BIGINT)"
        self.day = f"CAST(SUBSTRING({digits}, 7, 2) AS BIGINT)"
        self.number = _number_days(self.year, self.month, self.day)


def _number_days(year: str, month: str, day: str) -> str:
    """The proleptic Gregorian day number, by Fliegel and Van Flandern (1968), in whole numbers."""
    before_march = f"(CASE WHEN {month} <= 2 THEN 1 ELSE 0 END)"
    years = f"({year} - {before_march})"
    months = f"({month} + 12 * {before_march} - 3)"
    return (
        f"365 * {years} + FLOOR({years} / 4.0) - FLOOR({years} / 100.0) + FLOOR({years} / 400.0)"
        f" + FLOOR((153 * {months} + 2) / 5.0) + {day}"
    )


def _count_days(day: date) -> int:
    """The same number of a day that Python knows."""
    before_march = 1 if day.month <= 2 else 0
    year, month = day.year - before_march, day.month + 12 * before_march - 3
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month + 2) // 5 + day.day


def _render_birth(born: _Day, as_of: date) -> dict[str, str]:
    passed = f"CASE WHEN {born.month} * 100 + {born.day} <= {as_of.month * 100 + as_of.day} THEN 0 ELSE 1 END"
    age = f"({as_of.year} - {born.year} - {passed})"
    known = f"{born.is_day} AND {age} BETWEEN 0 AND 120"
    bands = " ".join(
        f"WHEN {age} < {end} THEN '{name}'"
        for end, name in (
            (18, "under_18"),
            (25, "18_24"),
            (35, "25_34"),
            (45, "35_44"),
            (55, "45_54"),
            (65, "55_64"),
        )
    )
    gone = f"CASE WHEN {born.month} * 100 + {born.day} < {as_of.month * 100 + as_of.day} THEN 1 ELSE 0 END"
    next_year = f"({as_of.year} + {gone})"
    to_come = f"{_number_days(next_year, born.month, born.day)} - {_count_days(as_of)}"
    return {
        "age_years": f"CASE WHEN {known} THEN {age} END",
        "age_band": f"CASE WHEN NOT ({known}) THEN NULL {bands} ELSE '65_and_over' END",
        "birth_month": f"CASE WHEN {known} THEN {born.month} END",
        "days_to_birthday": f"CASE WHEN {known} THEN CAST({to_come} AS BIGINT) END",
    }


def _list(words: Iterable[str]) -> str:
    return ", ".join(f"'{word}'" for word in words)
