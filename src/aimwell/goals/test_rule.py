"""What a test is to decide, and by which rule: fixed before launch, kept with the plan, held to afterwards.

Strategy writes it into ``plan_designs``, evaluation reads it there: the two rooms share nothing else. Pure.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.stats.sequential import Shape

COLUMNS = ("design", "version", "metric", "target", "days", "needed")
"""Fields with a column of their own; the others stand in ``rule``."""


@dataclass(frozen=True)
class GuardRule:
    """A metric that must not be harmed; ``limit``: the worsening, as a share of its level, that matters."""

    metric: str
    limit: float


@dataclass(frozen=True)
class TestRule:
    """One test. ``times``: shares of the window's ``days`` after which to look, rising to 1.

    ``limits``: the |z| at which each planned look stops (None: no z stops yet); a look that comes late gets its
    limit from the error spent by then. ``alpha``: two-sided error over all looks.
    """

    __test__ = False

    design: str
    version: int
    metric: str
    target: float
    days: int
    needed: int | None
    arms: Mapping[str, float]
    strata: str | None
    cluster: str | None
    segment: str | None
    salt: str
    shape: Shape
    times: tuple[float, ...]
    limits: tuple[float | None, ...]
    alpha: float
    guards: tuple[GuardRule, ...]

    @property
    def guard_alpha(self) -> float:
        """Two-sided error of one guard: they share the whole test's among them (Bonferroni)."""
        return self.alpha / max(len(self.guards), 1)

    @property
    def control_share(self) -> float:
        """Control's share of those who are in the test."""
        return self.arms["control"]

    def list_days(self, start: date) -> tuple[date, ...]:
        """The business day of each look: what happened before it is known. Two looks never fall on one day."""
        days = sorted({max(1, math.ceil(round(time * self.days, 6))) for time in self.times})
        return tuple(start + timedelta(days=day) for day in days)

    def fingerprint(self) -> str:
        """SHA-256 of all of it."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_row(self, plan_id: str) -> dict[str, Any]:
        """A row of ``plan_designs``, without its run."""
        fields = asdict(self)
        columns = {name: fields.pop(name) for name in COLUMNS}
        rule = json.dumps(fields, sort_keys=True, ensure_ascii=False, allow_nan=False)
        return {"plan_id": plan_id, **columns, "rule": rule, "fingerprint": self.fingerprint()}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> TestRule:
        """The rule of a row; Conflict when it is not the one that was fingerprinted before launch."""
        fields = json.loads(row["rule"])
        fields |= {name: tuple(fields[name]) for name in ("times", "limits")}
        fields["guards"] = tuple(GuardRule(**guard) for guard in fields["guards"])
        found = cls(**{name: row[name] for name in COLUMNS}, **fields)
        if found.fingerprint() != row["fingerprint"]:
            raise Conflict(
                "goals.rule_changed",
                say(
                    "The rule of plan {plan}'s test is not the one that was fixed before launch.",
                    plan=row["plan_id"],
                ),
                remedy=say("Restore the workspace from a backup, or begin a new test."),
                where={"table": "plan_designs", "value": row["plan_id"]},
            )
        return found
