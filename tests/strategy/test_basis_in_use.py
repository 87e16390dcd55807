"""The basis in a workspace: one for all commands, kept with the plan, and said on every screen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.core.steps import StepResult
from aimwell.core.tables import TABLES
from aimwell.core.text import Text
from aimwell.engine.workspace import Workspace
from aimwell.strategy.step import plan
from tests.strategy.test_step import DAY, fill, learn, read


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "shop", name="shop", zone="UTC", currency="USD")
    fill(opened)
    make(opened, "pilot")
    learn(opened)
    yield opened
    opened.close()


def make(workspace: Workspace, wave: Any = "rollout") -> StepResult:
    return plan(workspace, as_of=DAY, wave=wave, goal="profit", round_number=1)


def replace_effects(workspace: Workspace, *, measured: bool, card: dict[str, Any] | None = None) -> None:
    """The same effects again, said to be as measured, or with what their model says of them."""
    with workspace.run("models", as_of=DAY) as run:
        rows = run.query("SELECT * FROM effects ORDER BY customer_id, action_id").to_pylist()
        fresh = [{**row, "measured": measured or None, "run_id": run.id} for row in rows]
        run.replace("effects", TABLES["effects"].build(fresh))
        if card is not None:
            told = {"model": "effects", "card": json.dumps({"evidence": card}), "run_id": run.id}
            run.replace("model_cards", TABLES["model_cards"].build([told]))


def ask(workspace: Workspace, *words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["-w", str(workspace.path), "--json", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_plan_frontier_and_comparison_rest_on_the_same(workspace: Workspace) -> None:
    with workspace.run("evaluation", as_of=DAY) as run:
        lesson = {"plan_id": "earlier", "promised": 900.0, "realised": 300.0, "standard_error": 60.0}
        more = {"n_treatment": 100, "n_control": 50, "lesson": Text("x").to_json(), "simulated": False}
        run.replace("lessons", TABLES["lessons"].build([{**lesson, **more, "run_id": run.id}]))
    summary = make(workspace).summary
    basis = summary["basis"]
    assert basis["kept_share"] == pytest.approx(summary["kept_share"])
    assert basis["kept_share"] < 0.6
    assert basis["caution"] == 1.0
    assert basis["personalising_proven"] is None
    frontier = ask(workspace, "strategy", "frontier", "--as-of", DAY.isoformat())
    today = next(point for point in frontier["frontier"] if point["today"])
    compared = ask(workspace, "strategy", "compare", "--as-of", DAY.isoformat())["scenarios"][0]
    assert today["profit"] == pytest.approx(summary["objective"], rel=1e-9)
    assert compared["expected_profit"]["estimate"] == pytest.approx(summary["objective"], rel=1e-9)
    assert frontier["basis"]["careful"]
    kept = ask(workspace, "strategy", "show", summary["plan_id"])
    assert kept["basis"]["sentences"] == basis["sentences"]


def test_measured_effects_become_beliefs_and_the_models_card_counts_for_its_own_run_only(
    workspace: Workspace,
) -> None:
    plain = make(workspace).summary
    assert plain["basis"]["promised_share"] is None
    replace_effects(workspace, measured=True)
    believed = make(workspace).summary
    assert believed["basis"]["promised_share"] > 0
    assert believed["objective"] < plain["objective"]
    actions = [
        row["action_id"] for row in read(workspace, "SELECT action_id FROM actions ORDER BY action_id")
    ]
    errors = {
        "actions": actions,
        "edges": [[0.0]] * len(actions),
        "loading": [[[0.6], [0.8]]] * len(actions),
    }
    verdict = {"source": "plans", "proven": True, "n": 400, "p_value": 0.001, "slope": 0.9}
    replace_effects(workspace, measured=False, card={"errors": errors, "personalising": verdict})
    own = make(workspace).summary["basis"]
    assert own["personalising_proven"] is True
    assert own["joint_errors"] is True
    assert own["kept_share"] == pytest.approx(0.85)
    # Effects that another run wrote are not what the card is about.
    replace_effects(workspace, measured=False)
    stale = make(workspace).summary["basis"]
    assert stale["personalising_proven"] is None
    assert stale["joint_errors"] is False


def test_the_settings_say_how_to_explore(workspace: Workspace) -> None:
    chosen = workspace.settings.strategy.model_copy(update={"exploration": "thompson"})
    workspace.settings = workspace.settings.model_copy(update={"strategy": chosen})
    basis = make(workspace).summary["basis"]
    assert basis["exploring"] == "thompson"
    assert any("(Thompson)" in sentence["en"] for sentence in basis["sentences"])
    rows = read(workspace, "SELECT probability FROM plan_items")
    assert all(0 < row["probability"] <= 1 for row in rows)
