"""Numbers of a journey, node by node: who came, who waits there, who left, who reached the goal; holdout beside.

Reads the store's ``journey_enrolments``, ``journey_visits`` and ``deliveries``; writes nothing.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import sqlalchemy as sa

from aimwell.deployment.journeys.enrolments import ENDED
from aimwell.deployment.journeys.graph import Journey
from aimwell.deployment.journeys.graph_json import NODES
from aimwell.deployment.journeys.walk import PREFIX
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_VISITS
from aimwell.engine.ledger_tables import DELIVERIES

ARMS = ("treatment", "holdout")
OUTCOMES = ("goal", "exit", "end", "stopped")
_KINDS = {made: kind for kind, made in NODES.items()}


def count_journey(connection: sa.Connection, journey: Journey) -> dict[str, Any]:
    """The figures of a journey; every count has both arms."""
    people = _count_people(connection, journey.name)
    visited = _count_visits(connection, journey.name)
    names = [name for name, _ in journey.nodes]
    # Nodes of older versions that people still came to.
    names += sorted({node for node, _, _ in [*people, *visited] if node not in names})
    nodes = [_describe_node(journey, name, people, visited) for name in names]
    arms = {}
    for arm in ARMS:
        own = {key: count for key, count in people.items() if key[1] == arm}
        arms[arm] = {
            "entered": sum(own.values()),
            "active": sum(count for (_, _, state), count in own.items() if state not in OUTCOMES),
            **{
                name: sum(count for (_, _, state), count in own.items() if state == name) for name in OUTCOMES
            },
        }
    return {
        "journey": journey.name,
        "arms": arms,
        "nodes": nodes,
        "deliveries": _count_deliveries(connection, journey),
    }


def _count_people(connection: sa.Connection, name: str) -> dict[tuple[str, str, str], int]:
    """(node, arm, state or outcome) → enrolments."""
    columns = JOURNEY_ENROLMENTS.c
    state = sa.case((columns.state == ENDED, columns.outcome), else_=columns.state)
    keys = (columns.node, columns.arm, state)
    query = sa.select(*keys, sa.func.count()).where(columns.journey == name).group_by(*keys)
    return {(node, arm, found): int(count) for node, arm, found, count in connection.execute(query)}


def _count_visits(connection: sa.Connection, name: str) -> dict[tuple[str, str, str | None], int]:
    """(node, arm, result) → visits."""
    enrolments, visits = JOURNEY_ENROLMENTS.c, JOURNEY_VISITS.c
    keys = (visits.node, enrolments.arm, visits.result)
    query = (
        sa.select(*keys, sa.func.count())
        .join(JOURNEY_ENROLMENTS, visits.enrolment_id == enrolments.enrolment_id)
        .where(enrolments.journey == name)
        .group_by(*keys)
    )
    return {(node, arm, result): int(count) for node, arm, result, count in connection.execute(query)}


def _describe_node(
    journey: Journey,
    name: str,
    people: dict[tuple[str, str, str], int],
    visited: dict[tuple[str, str, str | None], int],
) -> dict[str, Any]:
    node = journey.find(name)
    row: dict[str, Any] = {"node": name, "kind": None if node is None else _KINDS[type(node)]}
    for arm in ARMS:
        came = sum(count for (at, whose, _), count in visited.items() if (at, whose) == (name, arm))
        here = {state: count for (at, whose, state), count in people.items() if (at, whose) == (name, arm)}
        waiting = sum(count for state, count in here.items() if state == "waiting")
        ready = sum(count for state, count in here.items() if state == "ready")
        results: dict[str, int] = defaultdict(int)
        for (at, whose, result), count in visited.items():
            if (at, whose) == (name, arm) and result is not None:
                results[result] += count
        row[arm] = {
            "entered": came,
            "waiting": waiting,
            "coming": ready,
            "left": came - waiting,
            "goal": here.get("goal", 0),
            **results,
        }
    return row


def _count_deliveries(connection: sa.Connection, journey: Journey) -> dict[str, int]:
    """State in the ledger → messages."""
    columns = DELIVERIES.c
    query = (
        sa.select(columns.state, sa.func.count())
        .where(columns.plan_id == f"{PREFIX}{journey.name}")
        .group_by(columns.state)
    )
    return {state: int(count) for state, count in connection.execute(query)}
