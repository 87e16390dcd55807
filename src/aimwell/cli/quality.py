"""How ``aimwell data quality`` is drawn: walls per source, findings with examples and remedies, and the trend."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.console import Console
from rich.text import Text as Styled

from aimwell.cli.output import add_row, emit, emit_result, in_language, make_table, state
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

_COLOURS = {"error": "red", "warning": "yellow", "notice": "cyan", "ok": "green"}
_SEVERITIES: dict[str, Text] = {
    "error": say("error"),
    "warning": say("warning"),
    "notice": say("notice"),
    "ok": say("passed"),
}
_WALLS: dict[str, Text] = {
    "unavailable": say("Unavailable"),
    "partial": say("Partial"),
    "inaccurate": say("Inaccurate"),
    "unusable": say("Unusable"),
}
_ORDER = tuple(_SEVERITIES)


def show_quality(context: typer.Context, *, everything: bool, source: str | None, trend: bool) -> None:
    """Assess and print; with ``trend`` print the scores of the last loads instead. BadInput for an unknown source."""
    workspace = state(context).workspace
    if trend:
        from aimwell.data.quality_history import read_trend

        with workspace.read() as reader:
            rows = read_trend(reader, source=source)
        emit(context, {"trend": rows}, lambda console: _draw_trend(console, rows))
        return
    from aimwell.data.step import check

    result = check(workspace)
    summary = result.summary
    if source is not None:
        _check_source(source, summary["scores"])
        summary["quality"] = [row for row in summary["quality"] if row["source"] == source]
        summary["scores"] = {source: summary["scores"][source]}
    emit_result(context, result, lambda console: _draw_quality(console, summary, everything))


def _check_source(source: str, scores: dict[str, Any]) -> None:
    if source not in scores:
        raise BadInput(
            "data.unknown_source",
            say("There is no source '{source}'.", source=source),
            remedy=say("The sources are: {sources}.", sources=join_list(scores) or "–"),
            where={"value": source},
        )


def _draw_quality(console: Console, summary: dict[str, Any], everything: bool) -> None:
    from aimwell.data.titles import name_place

    walls = make_table(str(say("Source")))
    for title in _WALLS.values():
        walls.add_column(str(title), justify="right")
    for title in (say("Warnings"), say("Errors")):
        walls.add_column(str(title), justify="right")
    for name, scores in summary["scores"].items():
        cells = [f"{scores[wall]['score']:.2f}" if wall in scores else "–" for wall in _WALLS]
        counts = [str(sum(score[kind] for score in scores.values())) for kind in ("warnings", "errors")]
        add_row(walls, _name_source(name), *cells, *counts)
    console.print(walls)
    findings = make_table(
        str(say("Severity")), str(say("Source")), str(say("Wall")), str(say("Finding")), str(say("Remedy"))
    )
    rows = [row for row in summary["quality"] if everything or row["severity"] != "ok"]
    for row in sorted(rows, key=lambda row: (_ORDER.index(row["severity"]), row["source"], row["table"])):
        severity = Styled(str(_SEVERITIES[row["severity"]]), style=_COLOURS[row["severity"]])
        finding, remedy = in_language(row["finding"]), in_language(row["remedy"])
        place = f"{_name_source(row['source'])}\n{name_place(row['table'])}"
        add_row(findings, severity, place, str(_WALLS[row["wall"]]), finding + _show_examples(row), remedy)
    console.print(findings)


def _show_examples(row: dict[str, Any]) -> str:
    found = row.get("examples") or []
    examples = json.loads(found) if isinstance(found, str) else found
    shown = join_list(str(example) for example in examples[:3])
    return f"\n{say('such as {examples}', examples=shown)}" if shown and row["severity"] != "ok" else ""


def _draw_trend(console: Console, rows: list[dict[str, Any]]) -> None:
    table = make_table(
        str(say("Source")), str(say("Wall")), str(say("Last loads, oldest first")), str(say("Change"))
    )
    for row in rows:
        scores = " ".join(f"{score['score']:.2f}" for score in row["scores"])
        arrow = "↑" if row["change"] > 0 else "↓" if row["change"] < 0 else "→"
        change = f"{arrow} {row['change']:+.2f}" if row["change"] else arrow
        add_row(table, _name_source(row["source"]), str(_WALLS[row["wall"]]), scores, change)
    console.print(table)
    if not rows:
        console.print(str(say("Nothing was loaded yet, so there is no trend.")))


def _name_source(name: str) -> str:
    return str(say("all sources")) if name == "all" else name
