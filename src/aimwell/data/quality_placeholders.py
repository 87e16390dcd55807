"""Quality checks for what stands where nothing is known: telephone numbers and addresses that nobody has, and days that
programs write when there is none (a birthday of 1900-01-01).

Orders and events on such a day are set aside before (``parsing``). Reads ``customers``; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from aimwell.core.tables import CUSTOMERS
from aimwell.core.text import Text, say
from aimwell.data.dates import PLACEHOLDER_DAYS
from aimwell.data.findings import EVERYWHERE, Finding, ask
from aimwell.data.scratch import quote
from aimwell.engine.session import Queryable
from aimwell.stats.distribution import find_binomial_p_value

ALPHA = 0.01
_PHONE = "|".join([*(f"{digit}{{6}}" for digit in range(10)), "1234567", "7654321", "0123456"])
_EMAIL = r"^(test|none|no|na|nil|null|abc|aaa+|xxx+|123+|asdf?|qwe(rty)?|unknown|noemail|无)@"
_CHANCE = 1e-4
"""Of a real number of eleven digits to hold six equal ones in a row, or a run; of a person to be born on one day of
seventy years; both rounded up."""
_MAY_BE_TRUE = (date(1969, 12, 31), date(1970, 1, 1))
_DRAWN = 10_000
_DAY = (
    r"[0-9]{4}[-/.年][0-9]{1,2}[-/.月][0-9]{1,2}|[0-9]{1,2}[-/.][0-9]{1,2}[-/.][0-9]{4}|"
    r"(0001|1[6-9][0-9]{2}|2[01][0-9]{2}|9999)(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])"
)
_EMPTY = say("Leave the field empty where nothing is known, and do not make it compulsory.")


def find_placeholders(reader: Queryable) -> Iterator[Finding]:
    """The findings of every check of this module."""
    yield from _find_contacts(reader)
    for column in _list_day_columns(reader):
        yield _judge_days(reader, column)


def _find_contacts(reader: Queryable) -> Iterator[Finding]:
    tests = {
        "phone": f"regexp_matches(regexp_replace(phone, '[^0-9]', '', 'g'), '{_PHONE}')",
        "email": f"regexp_matches(lower(email), '{_EMAIL}')",
    }
    for column, condition in tests.items():
        row = ask(
            reader,
            f"""
            SELECT count({column}) AS total,
                CAST(coalesce(sum(CASE WHEN {condition} THEN 1 ELSE 0 END), 0) AS BIGINT) AS affected
            FROM customers WHERE {column} IS NOT NULL
            """,
        )[0]
        if not row["total"]:
            continue
        chance = find_binomial_p_value(row["affected"], row["total"], _CHANCE)
        # The values themselves are personal data: no example is kept.
        yield Finding(
            EVERYWHERE,
            "customers",
            column,
            "inaccurate",
            "placeholder_contact",
            int(row["affected"]) if chance < ALPHA and row["affected"] > 1 else 0,
            int(row["total"]),
            (),
            lambda affected, total, column: say(
                "{affected} of {total} values of '{column}' look like placeholders (000000, 1234567, test@…).",
                affected=affected,
                total=total,
                column=column,
            ),
            _EMPTY,
            0.02,
            2.0,
        )


def _list_day_columns(reader: Queryable) -> list[str]:
    """Attributes whose values are days, by a draw of the customers: a column of words is not searched for them."""
    declared = {column.name.casefold() for column in CUSTOMERS.columns}
    names = reader.query("SELECT * FROM customers LIMIT 0").column_names
    columns = [name for name in names if name.casefold() not in declared]
    if not columns:
        return []
    parts = max(1, int(ask(reader, "SELECT count(*) AS rows FROM customers")[0]["rows"]) // _DRAWN)
    sums = ", ".join(
        f"count({quote(name)}) AS filled_{place}, count(CASE WHEN regexp_matches({_text(name)}, "
        f"'^({_DAY})([^0-9]|$)') THEN 1 END) AS days_{place}"
        for place, name in enumerate(columns)
    )
    drawn = ask(reader, f"SELECT {sums} FROM customers WHERE hash(customer_id) % {parts} = 0")[0]
    return [
        name
        for place, name in enumerate(columns)
        if drawn[f"days_{place}"] and drawn[f"days_{place}"] >= 0.5 * drawn[f"filled_{place}"]
    ]


def _text(column: str) -> str:
    return f"CAST({quote(column)} AS VARCHAR)"


def _judge_days(reader: Queryable, column: str) -> Finding:
    """Of whom a day may be true, more must have it than chance gives."""
    text = _text(column)
    years = sorted({f"{day.year:04d}" for day in PLACEHOLDER_DAYS})
    named = " OR ".join(f"contains({text}, '{year}')" for year in years)
    rows = ask(
        reader,
        f"""
        SELECT regexp_extract({text}, '^({_DAY})') AS day, count(*) AS rows FROM customers
        WHERE {named} GROUP BY 1 ORDER BY 1
        """,
    )
    total = int(ask(reader, f"SELECT count({quote(column)}) AS total FROM customers")[0]["total"])
    found: dict[date, int] = {}
    for row in rows:
        day = _read_day(row["day"])
        if day is not None:
            found[day] = found.get(day, 0) + int(row["rows"])
    possible = sum(found.get(day, 0) for day in _MAY_BE_TRUE)
    if possible < 2 or find_binomial_p_value(possible, total, _CHANCE) >= ALPHA:
        found = {day: rows for day, rows in found.items() if day not in _MAY_BE_TRUE}
    return Finding(
        EVERYWHERE,
        "customers",
        column,
        "inaccurate",
        "placeholder_dates",
        sum(found.values()),
        total,
        tuple(day.isoformat() for day in sorted(found, key=lambda day: (-found[day], day))[:5]),
        _tell_days,
        _EMPTY,
        0.01,
        2.0,
    )


def _read_day(text: str) -> date | None:
    """The day among ``PLACEHOLDER_DAYS`` that ``text`` writes, the year first or last; else None."""
    if len(text) == 8 and text.isdigit():
        numbers = (int(text[:4]), int(text[4:6]), int(text[6:]))
    else:
        parts = [int(part) for part in re.findall(r"\d+", text)]
        if len(parts) != 3:
            return None
        numbers = (
            (parts[0], parts[1], parts[2])
            if parts[0] > 31 or parts[2] <= 31
            else (parts[2], parts[0], parts[1])
        )
    year, one, other = numbers
    return next(
        (day for day in PLACEHOLDER_DAYS if day.year == year and {day.month, day.day} == {one, other}), None
    )


def _tell_days(affected: int, total: int, column: str) -> Text:
    return say(
        "{affected} of {total} values of '{column}' are days that programs write when they know none.",
        affected=affected,
        total=total,
        column=column,
    )
