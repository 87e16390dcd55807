"""What each step of each wave found, kept in the store, so that an interrupted round goes on where it stopped.

A step that was done for the same inputs is not run again: its result is read back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Literal

import sqlalchemy as sa

from aimwell.core.errors import NotReady
from aimwell.core.steps import STEPS, StepName, StepResult
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.ledger_tables import CAMPAIGNS, DELIVERIES
from aimwell.engine.store_tables import ROUND_STEPS, TABLE_VERSIONS
from aimwell.engine.workspace import Workspace
from aimwell.strategy.experiment.saved import KIND

WaveName = Literal["pilot", "rollout"]
Progress = Callable[[str | Text], None]
_INPUT_TABLES = ("customers", "products", "order_lines", "consents")
STEP_TITLES: dict[StepName, Text] = {
    "goals": say("1 Goals"),
    "data": say("2 Data"),
    "analysis": say("3 Analysis"),
    "models": say("3 Models"),
    "strategy": say("4 Strategy"),
    "deployment": say("5 Deployment"),
    "evaluation": say("6 Evaluation"),
}
_WAVE_TITLES: dict[WaveName, Text] = {"pilot": say("pilot"), "rollout": say("rollout")}


@dataclass(frozen=True)
class Wave:
    """One pass through the six steps: a plan, its window and its budget."""

    round_number: int
    name: WaveName
    as_of: date
    days: int = 28
    budget: Decimal | None = None
    design: str | None = None
    """A saved design of a test, whose arms, days and rule the plan takes."""

    @property
    def plan_id(self) -> str:
        """The plan of this wave: the same after an interruption."""
        return f"round-{self.round_number}-{self.name}"

    @property
    def end(self) -> date:
        """The first business day after the window in which outcomes count."""
        return self.as_of + timedelta(days=self.days)

    @property
    def title(self) -> Text:
        """For people."""
        return say("Round {number}, {wave}", number=self.round_number, wave=_WAVE_TITLES[self.name])


class Record:
    """The record of one wave; ``step`` runs a step unless it was done for the same inputs."""

    def __init__(self, workspace: Workspace, wave: Wave, progress: Progress, *, frozen: bool = False) -> None:
        self._workspace = workspace
        self._wave = wave
        self._progress = progress
        self._fresh = False
        self._frozen = frozen or is_launched(workspace, wave.plan_id)
        self.results: dict[StepName, dict[str, Any]] = {}

    def step(self, name: StepName, run: Callable[[], StepResult]) -> dict[str, Any]:
        """The result of step ``name``; once one step had to run, all that follow run too."""
        fingerprint = self._fingerprint()
        known = None if self._fresh else self._load(name)
        if known is not None and self._holds(name, known, fingerprint):
            self.results[name] = known
            return known
        self._fresh = True
        self._progress(say("{wave} · {step} …", wave=self._wave.title, step=STEP_TITLES[name]))
        result = _try_step(name, run).to_dict() | {"fingerprint": self._fingerprint()}
        self._save(name, result)
        self.results[name] = result
        return result

    def _holds(self, name: StepName, known: dict[str, Any], fingerprint: str) -> bool:
        if name in ("deployment", "evaluation"):
            return bool(known["status"] == "done")
        # What was launched stays as it was launched: a new plan would send other messages beside it. The same
        # holds for what was shown and is now to be sent.
        return self._frozen or known["fingerprint"] == fingerprint

    def _fingerprint(self) -> str:
        latest = sa.func.max(TABLE_VERSIONS.c.version)
        query = (
            sa.select(TABLE_VERSIONS.c.table_name, latest)
            .where(TABLE_VERSIONS.c.table_name.in_(_INPUT_TABLES))
            .group_by(TABLE_VERSIONS.c.table_name)
            .order_by(TABLE_VERSIONS.c.table_name)
        )
        with self._workspace.store.begin() as connection:
            versions = [list(row) for row in connection.execute(query)]
        settings = self._workspace.settings.model_dump_json(exclude={"smtp", "smtp_password"})
        parts = [versions, self._wave.as_of.isoformat(), self._wave.days, str(self._wave.budget), settings]
        if self._wave.design is not None:
            parts.append([self._wave.design, self._workspace.store.load_definition(KIND, self._wave.design)])
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _load(self, name: StepName) -> dict[str, Any] | None:
        return load_results(self._workspace, self._wave.round_number, self._wave.name).get(name)

    def _save(self, name: StepName, result: dict[str, Any]) -> None:
        key = {"round_number": self._wave.round_number, "wave": self._wave.name, "step": name}
        with self._workspace.store.begin() as connection:
            # What follows this step was found for other inputs: it is no longer this wave's result.
            stale = STEPS[STEPS.index(name) :]
            connection.execute(
                sa.delete(ROUND_STEPS).where(
                    ROUND_STEPS.c.round_number == self._wave.round_number,
                    ROUND_STEPS.c.wave == self._wave.name,
                    ROUND_STEPS.c.step.in_(stale),
                )
            )
            connection.execute(
                sa.insert(ROUND_STEPS).values(**key, as_of=self._wave.as_of, result=result, finished_at=now())
            )


def _try_step(name: StepName, run: Callable[[], StepResult]) -> StepResult:
    """What a step is not ready for is what the round lacks: the other steps go on."""
    try:
        return run()
    except NotReady as error:
        reasons = (error.message,) if error.remedy is None else (error.message, error.remedy)
        return StepResult(name, "skipped", {}, reasons)


def is_launched(workspace: Workspace, plan_id: str) -> bool:
    """Whether the ledger holds deliveries of the plan."""
    query = sa.select(DELIVERIES.c.delivery_id).where(DELIVERIES.c.plan_id == plan_id).limit(1)
    with workspace.store.begin() as connection:
        return connection.execute(query).first() is not None


def is_stopped(workspace: Workspace, plan_id: str) -> bool:
    """Whether somebody stopped the plan before anything of it was sent: then the round is over."""
    query = sa.select(CAMPAIGNS.c.control).where(CAMPAIGNS.c.plan_id == plan_id)
    with workspace.store.begin() as connection:
        control = connection.execute(query).scalar()
    return control == "stopped" and not is_launched(workspace, plan_id)


def load_results(workspace: Workspace, round_number: int, wave: WaveName) -> dict[str, dict[str, Any]]:
    """The recorded results of one wave, by step."""
    query = sa.select(ROUND_STEPS.c.step, ROUND_STEPS.c.result).where(
        ROUND_STEPS.c.round_number == round_number, ROUND_STEPS.c.wave == wave
    )
    with workspace.store.begin() as connection:
        return {row.step: row.result for row in connection.execute(query)}


def list_waves(workspace: Workspace) -> list[Wave]:
    """The waves that were begun, in their order, each with the design that its plan was tested by."""
    query = (
        sa.select(
            ROUND_STEPS.c.round_number, ROUND_STEPS.c.wave, sa.func.min(ROUND_STEPS.c.as_of).label("as_of")
        )
        .group_by(ROUND_STEPS.c.round_number, ROUND_STEPS.c.wave)
        .order_by(ROUND_STEPS.c.round_number, ROUND_STEPS.c.wave)
    )
    with workspace.store.begin() as connection:
        rows = connection.execute(query).all()
    return [_recall(workspace, Wave(row.round_number, row.wave, row.as_of)) for row in rows]


def _recall(workspace: Workspace, wave: Wave) -> Wave:
    strategy = load_results(workspace, wave.round_number, wave.name).get("strategy", {})
    design = strategy.get("summary", {}).get("design")
    return wave if design is None else replace(wave, days=design["days"], design=design["name"])
