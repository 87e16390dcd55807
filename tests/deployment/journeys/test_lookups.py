"""Whoever an event is about is looked up, however many others wait: PostgreSQL reads no whole table for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.deployment.journeys.enrolments import read_active, read_due, read_past, write_moves
from aimwell.engine.store import Store
from tests.deployment.stores import find_address

WAITING, MET = 20_000, 2_000
FILL = sa.text("""
    INSERT INTO journey_enrolments
        (journey, version, customer_id, occasion, arm, node, state, edge, probability, due_ms, step, entered_ms)
    SELECT 'j', 1, 'c' || number, 'o', 'treatment', 'wait', 'waiting', 'entry', 1, number, 1, 0
    FROM generate_series(1, :waiting) AS number
""")


@pytest.fixture
def store(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """Many people wait, and the planner knows it."""
    store = Store(find_address("postgres", tmp_path, request))
    with store.begin() as connection:
        connection.execute(FILL, {"waiting": WAITING})
        connection.execute(sa.text("ANALYZE journey_enrolments"))
    yield store
    store.close()


@pytest.fixture
def plans(store: Store) -> list[str]:
    """How the server goes about each statement on enrolments."""
    found: list[str] = []

    @sa.event.listens_for(store.engine, "before_cursor_execute")
    def _explain(_: Any, cursor: Any, statement: str, parameters: Any, *others: Any) -> None:
        if "journey_enrolments" in statement:
            with cursor.connection.cursor() as beside:
                beside.execute(f"EXPLAIN {statement}", parameters)
                found.append("\n".join(line for (line,) in beside))

    return found


def test_an_event_costs_the_same_however_many_wait(store: Store, plans: list[str]) -> None:
    customers = [f"c{number}" for number in range(1, WAITING, WAITING // MET)]
    with store.begin() as connection:
        people = read_active(connection, ["j"], customers)
        for place, one in enumerate(people):
            one.node, one.state, one.due_ms = f"node {place % 3}", "ready", 1
            one.bring({"word": f'"{place}", \\ {{NULL}}'} if place % 2 else {})
        people[0].end("goal", 5)
        write_moves(connection, people)
        assert len(read_past(connection, "j", customers)) == MET
        numbers = [one.enrolment_id for one in people]
        moved = {one.enrolment_id: one for one in read_due(connection, numbers, 1, lock=True)}
    assert len(people) == MET and moved.keys() == set(numbers[1:])
    assert all(
        (moved[one.enrolment_id].node, moved[one.enrolment_id].state, moved[one.enrolment_id].context)
        == (one.node, "ready", one.context)
        for one in people[1:]
    )
    # Three updates: of whoever goes on, of whom the event brought something, of whoever left.
    assert len(plans) == 6
    assert not [plan for plan in plans if "Seq Scan" in plan]
