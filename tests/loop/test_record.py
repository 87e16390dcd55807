"""An interrupted wave goes on at the step that was interrupted; changed inputs make it new; what was launched stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.steps import STEPS, StepName, StepResult
from aimwell.core.tables import CUSTOMERS
from aimwell.core.text import Text, say
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.workspace import Workspace
from aimwell.loop.record import Record, Wave, list_waves, load_results

WAVE = Wave(1, "pilot", date(2026, 3, 2), 28, Decimal(100))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "shop")


class Steps:
    """Runs all steps of a wave and remembers which were really run."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.ran: list[str] = []

    def run(self, wave: Wave = WAVE, stop_at: StepName | None = None) -> dict[StepName, object]:
        self.ran = []
        record = Record(self.workspace, wave, ignore)
        for name in STEPS:
            record.step(name, self._make_step(name, stop_at))
        return dict(record.results)

    def _make_step(self, name: StepName, stop_at: StepName | None) -> Callable[[], StepResult]:
        def run() -> StepResult:
            if name == stop_at:
                raise KeyboardInterrupt
            self.ran.append(name)
            return StepResult(name, "done", {"name": name})

        return run


def ignore(_: Text) -> None:
    pass


def add_customer(workspace: Workspace) -> None:
    with workspace.run("data", as_of=WAVE.as_of) as run:
        run.append(
            "customers", CUSTOMERS.build([{"customer_id": datetime.now(UTC).isoformat(), "source": "t"}])
        )


def add_delivery(workspace: Workspace) -> None:
    with workspace.store.begin() as connection:
        connection.execute(
            sa.insert(DELIVERIES).values(
                delivery_id="d",
                plan_id=WAVE.plan_id,
                customer_id="c",
                action_id="a:email",
                channel="email",
                contact_on=WAVE.as_of,
                state="sent",
                reachable=True,
                unit_cost_cents=1,
            )
        )


def test_what_was_done_is_read_back(workspace: Workspace) -> None:
    steps = Steps(workspace)
    first = steps.run()
    assert steps.ran == list(STEPS)
    assert steps.run() == first
    assert steps.ran == []


@pytest.mark.parametrize("stop_at", STEPS)
def test_an_interrupted_wave_goes_on_where_it_stopped(workspace: Workspace, stop_at: StepName) -> None:
    steps = Steps(workspace)
    with pytest.raises(KeyboardInterrupt):
        steps.run(stop_at=stop_at)
    steps.run()
    assert steps.ran == list(STEPS[STEPS.index(stop_at) :])


def test_new_data_make_the_wave_new(workspace: Workspace) -> None:
    steps = Steps(workspace)
    with pytest.raises(KeyboardInterrupt):
        steps.run(stop_at="strategy")
    add_customer(workspace)
    steps.run()
    assert steps.ran == list(STEPS)


def test_another_budget_makes_the_wave_new(workspace: Workspace) -> None:
    steps = Steps(workspace)
    with pytest.raises(KeyboardInterrupt):
        steps.run(stop_at="deployment")
    steps.run(Wave(1, "pilot", WAVE.as_of, 28, Decimal(99)))
    assert steps.ran == list(STEPS)


def test_what_was_launched_stays_as_it_was_launched(workspace: Workspace) -> None:
    steps = Steps(workspace)
    with pytest.raises(KeyboardInterrupt):
        steps.run(stop_at="evaluation")
    add_delivery(workspace)
    add_customer(workspace)
    steps.run()
    assert steps.ran == ["evaluation"]


def test_a_crash_inside_the_launch_launches_the_same_plan_again(workspace: Workspace) -> None:
    steps = Steps(workspace)
    with pytest.raises(KeyboardInterrupt):
        steps.run(stop_at="deployment")
    add_delivery(workspace)
    add_customer(workspace)
    steps.run()
    assert steps.ran == ["deployment", "evaluation"]


def test_what_waits_for_a_word_or_for_time_is_tried_again(workspace: Workspace) -> None:
    record = Record(workspace, WAVE, ignore)
    record.step("goals", lambda: StepResult("goals", "partial"))
    record.step("deployment", lambda: StepResult("deployment", "partial", {}, (say("Step"),)))
    again = Record(workspace, WAVE, ignore)
    assert again.step("goals", lambda: StepResult("goals", "done"))["status"] == "partial"
    assert again.step("deployment", lambda: StepResult("deployment", "done"))["status"] == "done"


def test_waves_are_listed_in_their_order(workspace: Workspace) -> None:
    for wave in (WAVE, Wave(1, "rollout", date(2026, 3, 30)), Wave(2, "pilot", date(2026, 4, 27))):
        Steps(workspace).run(wave)
    assert [wave.plan_id for wave in list_waves(workspace)] == [
        "round-1-pilot",
        "round-1-rollout",
        "round-2-pilot",
    ]
    assert set(load_results(workspace, 1, "rollout")) == set(STEPS)
