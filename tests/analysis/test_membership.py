"""Who entered, stayed, left and came back, over any order of runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.analysis.membership import carry_members
from aimwell.core.tables import SEGMENT_MEMBERS
from aimwell.engine.session import Session
from aimwell.engine.settings import EngineSettings
from aimwell.engine.workspace import Reader

FIRST = date(2024, 1, 1)
History = list[tuple[str, date, date | None]]


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def record(reader: Reader, number: int, members: set[str]) -> History:
    """The history of one segment after a run on day ``number`` that found ``members``."""
    now = pa.table(
        {
            "segment": pa.array(["late"] * len(members), pa.string()),
            "customer_id": pa.array(sorted(members), pa.string()),
        }
    )
    table = carry_members(reader, now, as_of=day(number), run_id="run")
    remember(reader, table)
    return [(row["customer_id"], row["entered_on"], row["left_on"]) for row in table.to_pylist()]


def remember(reader: Reader, table: pa.Table) -> None:
    reader.execute("DROP VIEW IF EXISTS segment_members")
    reader.register("segment_members", SEGMENT_MEMBERS.validate(table))


def tell(runs: list[tuple[int, set[str]]]) -> History:
    """The same history written in plain Python, from runs in the order of their days."""
    rows: dict[str, History] = {}
    for number, members in runs:
        for name in sorted(set(rows) | members):
            spells = rows.setdefault(name, [])
            is_open = bool(spells) and spells[-1][2] is None
            if name in members and not is_open:
                spells.append((name, day(number), None))
            elif name not in members and is_open:
                spells[-1] = (name, spells[-1][1], day(number))
    return [spell for name in sorted(rows) for spell in rows[name]]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    session = Session(EngineSettings(), tmp_path, {})
    yield Reader(session)
    session.close()


def test_entering_staying_leaving_and_coming_back(reader: Reader) -> None:
    assert record(reader, 0, {"a", "b"}) == [("a", day(0), None), ("b", day(0), None)]
    assert record(reader, 7, {"a", "c"}) == [
        ("a", day(0), None),
        ("b", day(0), day(7)),
        ("c", day(7), None),
    ]
    assert record(reader, 14, {"b"}) == [
        ("a", day(0), day(14)),
        ("b", day(0), day(7)),
        ("b", day(14), None),
        ("c", day(7), day(14)),
    ]


def test_a_run_that_is_repeated_or_corrected_replaces_itself(reader: Reader) -> None:
    record(reader, 0, {"a"})
    once = record(reader, 7, {"b"})
    assert record(reader, 7, {"b"}) == once
    assert record(reader, 7, {"a"}) == [("a", day(0), None)]


MEMBERS = st.sets(st.sampled_from(["a", "b", "c"]))


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.integers(0, 9), MEMBERS, min_size=1, max_size=4), st.integers(0, 9), MEMBERS)
def test_a_run_for_an_earlier_day_forgets_what_came_after(
    reader: Reader, runs: dict[int, set[str]], number: int, members: set[str]
) -> None:
    remember(reader, SEGMENT_MEMBERS.build([]))
    ordered = sorted(runs.items())
    assert [record(reader, *one) for one in ordered][-1] == tell(ordered)
    kept = [one for one in ordered if one[0] < number]
    assert record(reader, number, members) == tell([*kept, (number, members)])
