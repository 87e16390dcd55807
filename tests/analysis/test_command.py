"""The commands: people's words and JSON, without a traceback."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from aimwell.analysis.step import describe
from aimwell.cli.analysis import app
from aimwell.cli.customer import show_customer
from aimwell.cli.output import State
from aimwell.core.errors import BadInput, NotReady
from aimwell.engine.workspace import Reader, Workspace
from tests.analysis.shop import AS_OF, load_shop, make_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("command")
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


def test_tags_and_segments_are_listed(folder: Path) -> None:
    assert read(folder, "tags")["count"] > 48
    assert {row["name"] for row in read(folder, "segments")["segments"]} >= {
        "best_customers",
        "new_customers",
    }
    for words in (["tags"], ["segments"]):
        assert call(folder, *words).exit_code == 0


def test_a_rule_is_tried_out_and_kept(folder: Path) -> None:
    rule = "recency_days > 30 and (orders_90d >= 1 or is_best_20)"
    found = read(folder, "segment", "preview", "--rule", rule)
    assert (found["size"], found["examples"]) == (1, ["ben"])
    assert "ben" in call(folder, "segment", "preview", "--rule", rule).output
    assert read(folder, "segment", "save", "late_ones", "--rule", rule, "--title", "迟到")["version"] == 1
    summary = read(folder, "run", "--as-of", AS_OF.isoformat())["summary"]
    assert {row["name"]: row["size"] for row in summary["segments"]}["late_ones"] == 1


def test_the_whole_is_drawn_for_people(folder: Path) -> None:
    result = call(folder, "run", "--as-of", AS_OF.isoformat())
    assert result.exit_code == 0
    assert "3" in result.output


@pytest.mark.parametrize(
    ("rule", "code"),
    [("recency_dayz > 3", "engine.unknown_tag"), ("recency_days >", "analysis.rule_unreadable")],
)
def test_a_rule_that_cannot_be_is_refused(folder: Path, rule: str, code: str) -> None:
    for words in (["segment", "preview", "--rule", rule], ["segment", "save", "x", "--rule", rule]):
        result = call(folder, *words)
        assert isinstance(result.exception, BadInput)
        assert result.exception.code == code


def test_before_the_first_run_the_remedy_is_named(tmp_path: Path) -> None:
    make_workspace(tmp_path).close()
    for words in (["tags"], ["segments"], ["segment", "preview", "--rule", "everybody"]):
        result = call(tmp_path / "shop", *words)
        assert isinstance(result.exception, NotReady)


def test_one_customer_is_shown(folder: Path) -> None:
    probe = typer.Typer()

    @probe.command()
    def customer(context: typer.Context, customer_id: str) -> None:
        show_customer(context, customer_id)

    for as_json in (False, True):
        state = State(folder, as_json)
        result = CliRunner().invoke(probe, ["ann"], obj=state)
        state.close()
        assert result.exit_code == 0, result.output
        assert "ann" in result.stdout
    assert json.loads(result.stdout)["customer_id"] == "ann"


UNTIL = ("--until", AS_OF.isoformat())
COMMANDS = (
    ("segments",),
    ("events", *UNTIL),
    ("funnel", "--step", "Coupon Redeemed", "--step", "orders", *UNTIL),
    ("cohort", "--period", "month", *UNTIL),
    ("trend", "orders", "--figure", "sum:revenue", *UNTIL),
)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_the_engine_of_the_analysis_answers(
    folder: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``[engine] name`` decides about these commands, too."""
    asked: list[str | None] = []
    read_plainly = Workspace.read

    def read_watched(self: Workspace, step: str | None = None) -> AbstractContextManager[Reader]:
        asked.append(step)
        return read_plainly(self, step)

    monkeypatch.setattr(Workspace, "read", read_watched)
    result = call(folder, *words)
    assert result.exit_code == 0, result.output
    assert asked == ["analysis"]


def test_a_figure_is_shown_by_period(folder: Path) -> None:
    words = ("trend", "order_lines", "--figure", "sum:revenue", *UNTIL)
    found = read(folder, *words)
    assert (found["period"], found["function"], len(found["periods"])) == ("month", "sum", 12)
    assert sum(row["rows"] for row in found["periods"]) > 0
    assert "█" in call(folder, *words).output
    assert isinstance(call(folder, "trend", "order_lines", "--period", "year").exception, BadInput)


def test_a_form_may_be_a_file(folder: Path, tmp_path: Path) -> None:
    form = tmp_path / "form.json"
    form.write_text('{"measure": {"table": "orders", "function": "count"}}', "utf-8")
    assert call(folder, "tag", "add", "orders_by_form", "--form", str(form)).exit_code == 0
    with pytest.raises(BadInput, match="cannot be read"):
        raise (
            call(folder, "tag", "add", "nothing", "--form", str(tmp_path / "none.json")).exception or OSError
        )
