"""Who enters: the re-entry rule, the arm, the row. Writes the store's ``journey_enrolments``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from aimwell.core.seeds import draw_uniform
from aimwell.deployment.journeys.enrolments import (
    HOLDOUT,
    READY,
    TREATMENT,
    Entering,
    add_enrolments,
    read_past,
)
from aimwell.deployment.journeys.graph import Journey, Reentry
from aimwell.deployment.journeys.versions import Running

DAY_MS = 86_400_000


def enter(
    connection: sa.Connection,
    running: Running,
    journey: Journey,
    entering: Sequence[Entering],
    now_ms: int,
) -> int:
    """Let those in whom the re-entry rule allows, in their order; how many."""
    if not entering:
        return 0
    past = read_past(connection, running.name, sorted({one.customer_id for one in entering}))
    rows = []
    for one in entering:
        active, last, occasions = past.get(one.customer_id, (0, -1, set()))
        if one.occasion in occasions or not may_enter(journey.reentry, active, last, now_ms):
            continue
        past[one.customer_id] = (active + 1, max(last, now_ms), occasions | {one.occasion})
        rows.append(_build_row(running, journey, one, now_ms))
    return add_enrolments(connection, rows)


def draw_arm(journey: Journey, salt: str, customer_id: str) -> tuple[str, float]:
    """The customer's arm in the journey, the same for ever, and its probability."""
    if draw_uniform(f"{salt}\x1fholdout", customer_id) < journey.holdout:
        return HOLDOUT, journey.holdout
    return TREATMENT, 1 - journey.holdout


def may_enter(rule: Reentry, active: int, last: int, now_ms: int) -> bool:
    """Whether the rule lets in who is in it ``active`` times, and entered or left it ``last`` (before 0: never)."""
    if last < 0:
        return True
    if active >= rule.at_once or rule.again == "never":
        return False
    return rule.again == "always" or now_ms - last >= rule.days * DAY_MS


def _build_row(running: Running, journey: Journey, one: Entering, now_ms: int) -> dict[str, Any]:
    arm, probability = draw_arm(journey, running.salt, one.customer_id)
    return {
        "journey": running.name,
        "version": running.version,
        "customer_id": one.customer_id,
        "occasion": one.occasion,
        "arm": arm,
        "node": one.to,
        "state": READY,
        "edge": "entry",
        "probability": probability,
        "due_ms": now_ms,
        "step": 0,
        "entered_ms": one.entered_ms,
        "context": one.context,
    }
