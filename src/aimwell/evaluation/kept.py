"""What earlier evaluations kept. Reads results, lessons, plans. Writes nothing."""

from __future__ import annotations

from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable

_NEWEST = """
SELECT r.plan_id
FROM results AS r
INNER JOIN plans AS p ON p.plan_id = r.plan_id
ORDER BY p.as_of DESC, p.round_number DESC, r.plan_id DESC
LIMIT 1
"""

_RESULTS = """
SELECT plan_id, metric, segment, estimate, lower, upper, p_value, n_treatment, n_control, unit, method,
look, simulated FROM results WHERE plan_id = $plan_id ORDER BY CASE WHEN segment = 'all' THEN 0 ELSE 1 END,
segment, metric, look
"""

_LESSONS = """
SELECT
    l.plan_id, l.action_id, l.promised, l.realised, l.standard_error, l.n_treatment, l.n_control, l.lesson,
    l.simulated
FROM lessons AS l
LEFT JOIN plans AS p ON p.plan_id = l.plan_id
ORDER BY p.as_of DESC, l.plan_id DESC, CASE WHEN l.action_id IS NULL THEN 0 ELSE 1 END, l.realised DESC,
l.action_id
"""


def read_results(reader: Queryable, plan_id: str | None = None) -> list[dict[str, Any]]:
    """The results of ``plan_id``, else of the newest evaluated plan; NotReady when there are none."""
    if plan_id is None:
        newest = reader.query(_NEWEST).to_pylist()
        plan_id = newest[0]["plan_id"] if newest else ""
    rows: list[dict[str, Any]] = reader.query(_RESULTS, {"plan_id": plan_id}).to_pylist()
    if not rows:
        raise NotReady(
            "evaluation.no_results",
            say("There is no evaluated plan yet.")
            if not plan_id
            else say("Plan '{plan}' has no results.", plan=plan_id),
            remedy=say("Evaluate a plan whose window has ended with: aimwell evaluation run"),
            where={"value": plan_id or None},
        )
    return rows


def read_lessons(reader: Queryable) -> list[dict[str, Any]]:
    """All lessons, newest plan first, the whole plan's before its actions'; texts in both languages."""
    rows: list[dict[str, Any]] = reader.query(_LESSONS).to_pylist()
    return [{**row, "lesson": Text.from_json(row["lesson"]).both()} for row in rows]
