"""Rounds are summed by their waves, and each interval is held against the truth."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.core.estimate import Estimate
from aimwell.core.time import now
from aimwell.engine.store_tables import ROUND_STEPS
from aimwell.engine.workspace import Workspace
from aimwell.loop.payload import compile_payload, sum_estimates


def record(workspace: Workspace, number: int, wave: str, step: str, summary: dict[str, Any]) -> None:
    result = {"step": step, "status": "done", "summary": summary, "lacks": []}
    with workspace.store.begin() as connection:
        connection.execute(
            sa.insert(ROUND_STEPS).values(
                round_number=number,
                wave=wave,
                step=step,
                as_of=date(2026, 1, number),
                result=result,
                finished_at=now(),
            )
        )


def profit(estimate: float, half: float) -> dict[str, Any]:
    return dict(Estimate(estimate, estimate - half, estimate + half, 10, "test").to_dict())


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "shop")
    for number, wave, estimate in ((1, "pilot", 10.0), (1, "rollout", 30.0), (2, "pilot", 50.0)):
        evaluation = {"incremental_profit": profit(estimate, 4.0), "cost": 5.0}
        record(made, number, wave, "evaluation", evaluation)
        record(made, number, wave, "strategy", {"gap": 0.0})
        truth = {"incremental_profit": estimate + 3, "incremental_orders": 1.0, "incremental_revenue": 1.0}
        made.store.save_definition("truth", f"round-{number}-{wave}", truth)
    return made


def test_a_round_is_the_sum_of_its_waves(workspace: Workspace) -> None:
    first = compile_payload(workspace)["rounds"][0]
    assert first["incremental_profit"]["estimate"] == 40.0
    assert first["incremental_profit"]["upper"] == pytest.approx(40 + 32**0.5)
    assert first["cost"] == 10.0
    assert first["roi"]["estimate"] == 4.0
    assert first["true_incremental_profit"] == 46.0


def test_the_newest_wave_is_shown_and_held_against_the_truth(workspace: Workspace) -> None:
    payload = compile_payload(workspace)
    assert payload["evaluation"]["incremental_profit"]["estimate"] == 50.0
    assert payload["truth"]["covered"] is True
    assert payload["truth"]["n_checked"] == 3
    assert payload["simulated"] is True


def test_a_truth_outside_its_interval_is_said(workspace: Workspace) -> None:
    workspace.store.save_definition("truth", "round-2-pilot", {"incremental_profit": 99.0})
    truth = compile_payload(workspace)["truth"]
    assert truth["covered"] is False
    assert truth["covered_share"] == pytest.approx(2 / 3)


def test_without_a_round_every_section_is_there_and_empty(tmp_path: Path) -> None:
    payload = compile_payload(Workspace.create(tmp_path / "shop"))
    assert payload["rounds"] == []
    assert payload["truth"] == {}
    assert payload["strategy"] == {"status": "skipped", "lacks": []}


def test_errors_of_separate_experiments_add_in_squares() -> None:
    total = sum_estimates([Estimate(1, -2, 4, 5, "a").to_dict(), Estimate(2, -2, 6, 7, "b").to_dict()])
    assert (total.estimate, total.lower, total.upper, total.n) == (3, -2, 8, 12)
