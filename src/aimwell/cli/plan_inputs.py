"""What commands of ``aimwell strategy`` plan from: the day, and the inputs of that day."""

from __future__ import annotations

from datetime import date, datetime
from typing import TYPE_CHECKING

from aimwell.cli.output import read_day, read_money

if TYPE_CHECKING:
    from aimwell.engine.session import Queryable
    from aimwell.engine.workspace import Workspace
    from aimwell.strategy.basis import Basis
    from aimwell.strategy.inputs import PlanInputs


def read_plan_inputs(workspace: Workspace, as_of: str | None, budget: str | None) -> PlanInputs:
    """What a plan of that day would be made from."""
    return read_plan_basis(workspace, as_of, budget).inputs


def read_plan_basis(workspace: Workspace, as_of: str | None, budget: str | None) -> Basis:
    """The same, with what the promise of such a plan would rest on."""
    from aimwell.strategy.basis import read_basis
    from aimwell.strategy.step import propose_actions, read_actions, read_inputs

    day = choose_day(workspace, as_of)
    with workspace.read() as reader:
        actions = read_actions(reader) or propose_actions(reader, workspace.settings, as_of=day)
        inputs = read_inputs(
            reader, workspace.settings, actions, as_of=day, plan_id="preview", budget=read_money(budget)
        )
        return read_basis(reader, workspace.settings, inputs)


def choose_day(workspace: Workspace, given: str | None) -> date:
    """The day given, or the newest of tags and effects; BadInput for what is no day."""
    day = read_day(given)
    if day is not None:
        return day
    from aimwell.core.time import business_day, now

    with workspace.read() as reader:
        newest = _find_newest(reader)
    return newest or business_day(now(), workspace.settings.business.zone)


def _find_newest(reader: Queryable) -> date | None:
    sql = (
        "SELECT MAX(as_of) AS day FROM (SELECT as_of FROM tags UNION ALL SELECT as_of FROM effects) AS known"
    )
    day = reader.query(sql)["day"][0].as_py()
    return day.date() if isinstance(day, datetime) else day
