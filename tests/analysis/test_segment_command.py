"""``aimwell analysis segment``: preview, save, build, schedule, refresh and export, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from aimwell.analysis.step import describe
from aimwell.cli.output import State
from aimwell.cli.segments import app
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import set_language
from tests.analysis.shop import AS_OF, load_shop, make_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("segments")
    workspace = make_workspace(root)
    load_shop(workspace)
    describe(workspace, as_of=AS_OF)
    workspace.close()
    return root / "shop"


def call(folder: Path, *words: str, as_json: bool = False) -> Result:
    state = State(folder, as_json)
    result = CliRunner().invoke(app, list(words), obj=state)
    state.close()
    return result


def read(folder: Path, *words: str) -> dict[str, Any]:
    result = call(folder, *words, as_json=True)
    assert result.exit_code == 0, result.output
    return dict(json.loads(result.stdout))


def test_a_preview_shows_who_can_be_reached_and_who_is_elsewhere(folder: Path) -> None:
    rule = "did 'Coupon Redeemed' 2 times in 90 days and customers.household_size >= 2"
    found = read(folder, "preview", "--rule", rule)
    assert (found["size"], found["customers"], found["examples"]) == (1, 3, ["ann"])
    assert found["channels"]["email"] == 1
    for language, word in (("en", "Can be reached by"), ("zh", "可触达")):
        set_language(language)  # type: ignore[arg-type]
        assert word in call(folder, "preview", "--rule", rule).output


def test_a_rule_may_name_a_segment_and_not_itself(folder: Path) -> None:
    assert read(folder, "save", "late", "--rule", "recency_days > 30")["version"] == 1
    assert read(folder, "preview", "--rule", "in segment late")["examples"] == ["ben"]
    assert read(folder, "save", "not_late", "--rule", "not in segment late")["version"] == 1
    result = call(folder, "save", "late", "--rule", "not in segment not_late")
    assert isinstance(result.exception, BadInput)
    assert result.exception.code == "engine.segment_circle"


def test_segments_are_built_and_kept(folder: Path) -> None:
    found = read(folder, "build", "--by", "lifecycle_stage")
    assert sum(row["size"] for row in found["segments"]) == 3
    assert found["kept"] == {}
    assert set(read(folder, "build", "--by", "lifecycle_stage", "--keep")["kept"]) == {
        row["name"] for row in found["segments"]
    }
    assert "--keep" in call(folder, "build", "--by", "value_tier").output


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("build", "--by", "clusters"), NotReady),
        (("build", "--by", "tree"), NotReady),
        (("build", "--by", "tree", "--outcome", "bought"), BadInput),
        (("build", "--by", "tree", "--outcome", "bought in 90 days"), BadInput),
        (("build", "--by", "nothing_like_it"), BadInput),
        (("preview", "--rule", "did 'Coupn Redeemed'"), BadInput),
    ],
)
def test_what_cannot_be_done_is_said(folder: Path, words: tuple[str, ...], kind: type[Exception]) -> None:
    assert isinstance(call(folder, *words).exception, kind)


def test_windows_that_expire_are_listed_and_followed(folder: Path) -> None:
    rows = read(folder, "schedule")["schedule"]
    assert rows
    assert {"segment", "due_on", "due_at", "customers"} == set(rows[0])
    assert call(folder, "schedule").exit_code == 0
    first, second = read(folder, "refresh"), read(folder, "refresh")
    assert first["looked_at"] > 0
    assert second["looked_at"] == 0


def test_members_are_exported_for_a_channel(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "mail.csv"
    found = read(folder, "export", "best_customers", "--channel", "email", "--out", str(out))
    assert found["written"] + sum(found["left_out"].values()) >= 1
    assert out.exists()


def test_an_experiment_without_a_tree_or_a_plan_is_told(folder: Path) -> None:
    for by, code in (("region", "cli.experiment_without_tree"), ("tree", "analysis.unknown_plan")):
        caught = call(folder, "build", "--by", by, "--experiment", "p9").exception
        assert isinstance(caught, BadInput)
        assert caught.code == code
