"""Age, birthday, sex, membership and reach, against the same worked out in Python from dates of many spellings."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aimwell.analysis.contact_tags import (
    PERMISSIONS,
    compile_contacts,
    compile_permissions,
    define_attributes,
)
from aimwell.analysis.person_tags import find_columns
from aimwell.core.tables import TABLES
from aimwell.engine.tag_plan import Among
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import make_workspace

ZONE = "Asia/Shanghai"
SPELLINGS = (
    "{0:%Y-%m-%d}",
    "{0:%Y/%m/%d}",
    "{0:%Y%m%d}",
    " {0:%Y-%m-%d} 08:30:00",
    "{0:%Y-%m-%d}T00:00:00Z",
    "{0.year}/{0.month}/{0.day}",
    "{0.year}-{0.month}-{0.day} 8:05",
    "{0.year}年{0.month}月{0.day}日",
    "{0:%Y}年{0:%m}月{0:%d}日 08:30",
    "{0.year}.{0.month}.{0.day}",
    "{0:%Y%m%d}083000",
)
NO_DAYS = (
    None,
    "",
    "unknown",
    "0000-00-00",
    "1990-13-01",
    "1990-06-32",
    "15.06.1990",
    "1990-02-30",
    "1990年6月31日",
    "1990年6月",
    "1990/6/155",
    "1511111111111",
    "90-06-15",
    "3150-01-01",
)
TODAYS = (date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 1), date(2025, 3, 1), date(2024, 12, 31))


def list_births() -> list[tuple[str | None, date | None]]:
    """(as delivered, the day): spellings of days, and what is none."""
    chance = random.Random(5)
    days = [date(1904, 2, 29), date(2000, 2, 29), date(1999, 12, 31), date(2000, 1, 1), date(2024, 3, 1)]
    days += [date(1930, 1, 1) + timedelta(days=chance.randrange(34_000)) for _ in range(300)]
    spelt = [(SPELLINGS[number % len(SPELLINGS)].format(day), day) for number, day in enumerate(days)]
    spelt += [("１９９０年６月１５日", date(1990, 6, 15)), ("１９９０－０６－１５", date(1990, 6, 15))]
    return [*spelt, *((text, None) for text in NO_DAYS)]


BIRTHS = list_births()


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    made = make_workspace(Path(tmp_path_factory.mktemp("persons")))
    people = [{"customer_id": f"c{number:04d}", "source": "t"} for number in range(len(BIRTHS))]
    table = TABLES["customers"].build(people)
    columns = {
        "birth_date": [text for text, _ in BIRTHS],
        "注册日期": [text for text, _ in reversed(BIRTHS)],
        "性别": [["女", " Female ", "M", "先生", "x", None][number % 6] for number in range(len(BIRTHS))],
        "level": ["  gold " if number % 2 else " " for number in range(len(BIRTHS))],
    }
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values, pa.string()))
    with made.run("data", as_of=date(2024, 1, 1)) as run:
        run.replace("customers", table)
    yield made
    made.close()


def ask(workspace: Workspace, today: date, among: Among = Among()) -> list[dict[str, Any]]:
    with workspace.read() as reader:
        attributes = define_attributes(reader.query("SELECT * FROM customers LIMIT 0").column_names)
        person = find_columns(tag.name.removeprefix("attribute_") for tag in attributes)
        allowed = compile_permissions(as_of=today, zone_name=ZONE)
        reader.register(PERMISSIONS, reader.query(allowed.sql, allowed.parameters))
        query = compile_contacts(attributes, as_of=today, person=person, among=among)
        rows = reader.query(query.sql, query.parameters).to_pylist()
    return sorted(rows, key=lambda row: str(row["customer_id"]))


def find_age(born: date, today: date) -> int:
    return today.year - born.year - ((today.month, today.day) < (born.month, born.day))


def find_days_to_birthday(born: date, today: date) -> int:
    year = today.year + ((born.month, born.day) < (today.month, today.day))
    # Who was born on 29 February celebrates on 1 March where there is none.
    leap = born.month == 2 and born.day == 29
    coming = date(year, 3, 1) - timedelta(days=year % 4 == 0) if leap else born.replace(year=year)
    return (coming - today).days


@pytest.mark.parametrize("today", TODAYS)
def test_ages_and_birthdays_are_those_of_the_calendar(workspace: Workspace, today: date) -> None:
    for row, (text, born) in zip(ask(workspace, today), BIRTHS, strict=True):
        if born is None or not 0 <= find_age(born, today) <= 120:
            expected: tuple[int | None, ...] = (None, None, None)
            assert row["age_band"] is None, text
        else:
            expected = (find_age(born, today), born.month, find_days_to_birthday(born, today))
        assert (row["age_years"], row["birth_month"], row["days_to_birthday"]) == expected, text


def test_age_groups_begin_and_end_where_they_say(workspace: Workspace) -> None:
    limits = ((18, "under_18"), (25, "18_24"), (35, "25_34"), (45, "35_44"), (55, "45_54"), (65, "55_64"))
    for row in ask(workspace, date(2024, 12, 31)):
        if row["age_years"] is not None:
            expected = next((name for end, name in limits if row["age_years"] < end), "65_and_over")
            assert row["age_band"] == expected


def test_members_count_days_since_they_joined(workspace: Workspace) -> None:
    today = date(2024, 3, 1)
    for row, (_, joined) in zip(ask(workspace, today), reversed(BIRTHS), strict=True):
        known = joined is not None and joined <= today
        assert row["membership_days"] == ((today - joined).days if known and joined else None)


def test_sex_and_level_are_read_as_people_write_them(workspace: Workspace) -> None:
    rows = ask(workspace, date(2024, 3, 1))
    expected = ["female", "female", "male", "male", None, None]
    assert [row["sex"] for row in rows] == [expected[number % 6] for number in range(len(rows))]
    assert {row["membership_level"] for row in rows} == {"gold", None}


def test_a_range_answers_the_same_rows(workspace: Workspace) -> None:
    rows = ask(workspace, date(2024, 3, 1))
    some = ask(workspace, date(2024, 3, 1), Among("c0010", "c0020"))
    assert some == rows[10:20]


def test_who_can_be_reached_is_who_is_known_and_allows_it(tmp_path: Path) -> None:
    made = make_workspace(tmp_path)
    people = [
        {"customer_id": "a", "phone": "1", "source": "t"},
        {"customer_id": "b", "phone": "2", "source": "t"},
        {"customer_id": "c", "source": "t"},
    ]
    since = datetime(2024, 1, 1, tzinfo=UTC)
    consents = [
        {"customer_id": name, "channel": "sms", "purpose": "marketing", "since": since, "source": "t"}
        | {"allowed": name != "b"}
        for name in "abc"
    ]
    with made.run("data", as_of=date(2024, 1, 1)) as run:
        run.replace("customers", TABLES["customers"].build(people))
        run.replace("consents", TABLES["consents"].build(consents))
    rows = ask(made, date(2024, 3, 1))
    assert [row["contactable_sms"] for row in rows] == [True, False, False]
    assert [row["channels_contactable"] for row in rows] == [1, 0, 0]
    assert [row["consent_sms"] for row in rows] == [True, False, True]
    made.close()
