"""The round on a terminal: what each step found, and what is lacking."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from aimwell.core.money import show_money
from aimwell.core.text import Text, current_language, say
from aimwell.loop.record import STEP_TITLES

_STATUS: dict[str, Text] = {
    "done": say("done"),
    "partial": say("in part"),
    "skipped": say("not possible yet"),
}
_COLOURS = {"done": "green", "partial": "yellow", "skipped": "bright_black"}


def show_round(console: Console, results: dict[str, Any]) -> None:
    """One line a step, then what is lacking with the remedy."""
    table = Table(expand=True)
    for heading in (say("Step"), say("Status"), say("What is lacking")):
        table.add_column(str(heading), overflow="fold")
    for step, title in STEP_TITLES.items():
        result = results.get(step)
        if result is not None:
            status = result["status"]
            lacks = "\n".join(text[current_language()] for text in result["lacks"])
            table.add_row(str(title), f"[{_COLOURS[status]}]{_STATUS[status]}[/]", escape(lacks))
    console.print(table)


def show_demo(console: Console, payload: dict[str, Any], out: Path) -> None:
    """The rounds beside each other, the truth, and where the report is."""
    currency = payload["business"]["currency"]
    console.print(str(say("Complete Journey: customers' answers are simulated")), style="bold")
    table = Table(box=SIMPLE, padding=(0, 1))
    table.add_column(str(say("Wave")))
    for heading in (
        say("Sent"),
        say("Plan gap"),
        say("Promised"),
        say("Measured"),
        say("95 % interval"),
        say("Truth"),
    ):
        table.add_column(str(heading), justify="right")
    for round_ in payload["rounds"]:
        for wave in round_["waves"]:
            table.add_row(*_describe_wave(wave, currency))
    console.print(table)
    for round_ in payload["rounds"]:
        console.print(str(_describe_round(round_, currency)), highlight=False)
    console.print(str(_describe_experiment(payload["real_experiment"])), highlight=False)
    console.print(str(say("The report is in {file}.", file=str(out / "report.html"))))


def _describe_wave(wave: dict[str, Any], currency: str) -> list[str]:
    strategy, evaluation, truth = wave["strategy"], wave["evaluation"], wave.get("truth", {})
    gap, promised, profit = (
        strategy.get("gap"),
        evaluation.get("promised"),
        evaluation.get("incremental_profit"),
    )
    covered = {True: " ✓", False: " ✗"}.get(truth.get("covered"), "")
    return [
        wave["title"][current_language()],
        f"{wave['deployment'].get('states', {}).get('sent', 0):,}",
        "–" if gap is None else f"{gap:.3%}",
        "–" if not promised else _money(promised["estimate"], currency),
        "–" if not profit else _money(profit["estimate"], currency),
        "–" if not profit else f"{_money(profit['lower'], currency)} … {_money(profit['upper'], currency)}",
        _money(truth.get("incremental_profit"), currency) + covered,
    ]


def _describe_round(round_: dict[str, Any], currency: str) -> Text:
    return say(
        "Round {number}: incremental profit {profit}, true (simulated) {truth}, cost {cost}",
        number=round_["round"],
        profit=_interval(round_.get("incremental_profit"), currency),
        truth=_money(round_.get("true_incremental_profit"), currency),
        cost=_money(round_["cost"], currency),
    )


def _describe_experiment(found: dict[str, Any]) -> Text:
    effect, clustered = found["default"], found["default_clustered"]
    return say(
        "Real experiment (Cai 2015, n = {n}): default enrolment {effect} pp [{lower}, {upper}]; clustered by village "
        "[{clustered_lower}, {clustered_upper}]",
        n=f"{effect['n']:,}",
        effect=f"{100 * effect['estimate']:+.1f}",
        lower=f"{100 * effect['lower']:.1f}",
        upper=f"{100 * effect['upper']:.1f}",
        clustered_lower=f"{100 * clustered['lower']:.1f}",
        clustered_upper=f"{100 * clustered['upper']:.1f}",
    )


def _money(value: float | None, currency: str) -> str:
    return "–" if value is None else show_money(value, currency, current_language())


def _interval(found: dict[str, Any] | None, currency: str) -> str:
    if not found:
        return "–"
    lower, upper = _money(found["lower"], currency), _money(found["upper"], currency)
    shown = f"{_money(found['estimate'], currency)} [{lower}, {upper}]"
    return shown if found.get("proven") else f"{shown} {say('not proven')}"
