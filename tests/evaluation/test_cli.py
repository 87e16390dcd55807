"""The commands: readable for people, one JSON object for programs, no traceback for mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aimwell.cli.app import app
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import set_language
from tests.evaluation.world import World, make_workspace


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "shop"
    workspace, _ = make_workspace(folder, World(customers=120))
    workspace.close()
    return folder


def call(*words: str) -> Result:
    set_language("en")
    return CliRunner().invoke(app, list(words))


def call_json(*words: str) -> dict[str, Any]:
    result = call("--json", *words)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_plan_is_evaluated_shown_and_learnt_from(shop: Path) -> None:
    with pytest.raises(NotReady) as early:
        raise call("-w", str(shop), "evaluation", "lessons").exception or AssertionError
    assert early.value.code == "evaluation.no_lessons"
    done = call_json("-w", str(shop), "evaluation", "run")
    assert done["summary"]["plan_id"] == "plan_a"
    results = call_json("-w", str(shop), "evaluation", "show")["results"]
    assert {"incremental_profit", "roi"} <= {row["metric"] for row in results}
    lessons = call_json("-w", str(shop), "evaluation", "lessons")["lessons"]
    assert lessons[0]["lesson"]["zh"] and lessons[0]["simulated"]
    for command in ("run", "show", "lessons"):
        shown = call("-w", str(shop), "evaluation", command)
        assert shown.exit_code == 0 and shown.stdout.strip()


def test_an_unknown_plan_has_no_results(shop: Path) -> None:
    assert isinstance(call("-w", str(shop), "evaluation", "show", "plan_z").exception, NotReady)
    assert isinstance(call("-w", str(shop), "evaluation", "run", "plan_z").exception, BadInput)


def test_an_experiment_file_needs_no_workspace(tmp_path: Path) -> None:
    rows = ["group,bought,village"]
    rows += [f"{'test' if n % 2 else 'control'},{int(n % 3 == 0 or n % 2)},v{n % 7}" for n in range(210)]
    path = tmp_path / "mine.csv"
    path.write_text("\n".join(rows), encoding="utf-8")
    words = (
        "evaluation",
        "experiment",
        str(path),
        "--arm",
        "group",
        "--outcome",
        "bought",
        "--cluster",
        "village",
    )
    found = call_json(*words, "--share", "control=0.5", "--share", "test=0.5")
    comparison = found["comparisons"][0]
    assert comparison["decisive"]["method"] == "ols, clustered CR2"
    assert comparison["relative"] is None, "no interval that takes the customers of a village one by one"
    assert comparison["proven"] and found["sample_ratio"]["ok"]
    shown = call(*words)
    assert shown.exit_code == 0 and "test: proven." in shown.stdout
