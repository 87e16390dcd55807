"""``aimwell data identity``: who is one person, why, and taking it back.  身份识别"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.output import add_row, emit, emit_result, in_language, make_table, state
from aimwell.core.errors import BadInput
from aimwell.core.ids import fold_id
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.core.steps import StepResult

app = App(help="Find which records are one person.  身份识别：哪些记录是同一人")

Record = Annotated[
    str,
    typer.Argument(
        parser=fold_id, help="A customer number as its source delivered it.  客户编号（数据源中的原始编号）"
    ),
]

Reveal = Annotated[
    bool,
    typer.Option(
        "--reveal", help="Show identifiers whole; the audit log says so.  完整显示标识（记入审计日志）"
    ),
]


@app.command()
def find(
    context: typer.Context,
    probabilistic: Annotated[
        bool,
        typer.Option(
            "--probabilistic", help="By likeness too: names, dates, places.  也按相似度识别：姓名、日期、地点"
        ),
    ] = False,
    least: Annotated[
        float, typer.Option(help="From which probability on likeness joins.  按相似度合并所需的最低概率")
    ] = 0.95,
    between: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE,SOURCE",
            help="By likeness (as --probabilistic), only between these two sources, one partner at most.  "
            "按相似度识别（同 --probabilistic），仅在这两个数据源之间，每条记录至多一个对应",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show, write nothing.  仅预览，不写入")
    ] = False,
) -> None:
    """Join the records of one person by what identifies them.  按身份标识合并同一人的记录"""
    from aimwell.data.identity.step import find_identities

    sides = _read_sides(between)
    result = find_identities(
        state(context).workspace,
        probabilistic=probabilistic or sides is not None,
        least=least,
        between=sides,
        dry_run=dry_run,
    )
    emit_result(context, result, lambda console: _draw_found(console, result))


@app.command("list")
def list_all(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many customers are shown.  显示多少个客户")] = 20,
) -> None:
    """List the customers that are made of several records.  列出由多条记录合并的客户"""
    from aimwell.data.identity.step import list_identities

    payload = list_identities(state(context).workspace, limit=limit)

    def draw(console: Console) -> None:
        table = make_table(str(say("Customer")), str(say("Records")), str(say("Source")))
        for customer in payload["customers"]:
            for place, row in enumerate(customer["records"]):
                add_row(table, "" if place else customer["customer"], row["record"], row["source"] or "")
        console.print(table)
        _print(
            console,
            say(
                "{shown} of {total} customers with several records are shown.",
                shown=len(payload["customers"]),
                total=payload["total"],
            ),
        )

    emit(context, payload, draw)


@app.command()
def explain(context: typer.Context, one: Record, other: Record, reveal: Reveal = False) -> None:
    """Say why two records are one person, or that they are not.  解释两条记录为何是（或不是）同一人"""
    from aimwell.data.identity.explain import explain as explain_records

    payload = explain_records(state(context).workspace, one, other, reveal=reveal)
    emit(context, payload, lambda console: _draw_explained(console, payload))


@app.command()
def split(context: typer.Context, one: Record, other: Record) -> None:
    """Take two records apart for good; nothing is lost.  永久拆分两条记录；不丢失任何数据"""
    from aimwell.data.identity.step import split_records

    payload = split_records(state(context).workspace, one, other)
    message = say(
        "'{one}' and '{other}' are two customers again, and no search will join them.", one=one, other=other
    )
    told = [message] if payload["stays"] is None else [message, _tell_stays(payload["stays"])]

    def draw(console: Console) -> None:
        for text in told:
            _print(console, text)

    emit(context, payload | {"message": message.both(), "told": [text.both() for text in told[1:]]}, draw)


def _tell_stays(stays: dict[str, Any]) -> Text:
    return say(
        "What they refused as one, each of them has refused. Everything else of that time stays with '{customer}', for"
        " nobody knows any more whose it was: {journeys} journeys on their way, {messages} waiting messages, and what"
        " was sent, which counts towards that customer's contact cap. Stop what should not go on.",
        customer=stays["customer"],
        journeys=stays["journeys"],
        messages=stays["messages"],
    )


@app.command()
def join(context: typer.Context, one: Record, other: Record) -> None:
    """Join two records by hand.  手动合并两条记录"""
    from aimwell.data.identity.step import join_records

    payload = join_records(state(context).workspace, one, other)
    message = say(
        "'{one}' and '{other}' are now the customer '{customer}'.",
        one=one,
        other=other,
        customer=payload["customers"][0],
    )
    emit(context, payload | {"message": message.both()}, lambda console: _print(console, message))


@app.command()
def review(context: typer.Context, reveal: Reveal = False) -> None:
    """Show contradictions and identifiers that join nobody.  待人工复核：矛盾与不用于合并的标识"""
    from aimwell.data.identity.explain import record_look
    from aimwell.data.identity.step import review as review_records

    workspace = state(context).workspace
    payload = review_records(workspace, reveal=reveal)
    if reveal:
        record_look(workspace, "review")
    emit(context, payload, lambda console: _draw_review(console, payload))


def _read_sides(between: str | None) -> tuple[str, str] | None:
    if between is None:
        return None
    sources = tuple(name.strip() for name in between.replace("，", ",").split(","))
    if len(sources) != 2 or not all(sources):
        raise BadInput(
            "cli.bad_between",
            say("--between '{value}' does not name two sources.", value=between),
            remedy=say("Write: --between SOURCE,SOURCE (see: aimwell data sources)."),
            where={"value": between},
        )
    return sources[0], sources[1]


def _draw_found(console: Console, result: StepResult) -> None:
    summary = result.summary
    table = make_table(str(say("Identity")))
    table.add_column(str(say("Count")), justify="right")
    rows = (
        (say("Records"), summary["records"]),
        (say("Identifiers"), summary["identifiers"]),
        (say("New links by identifiers"), summary["new_links"]["deterministic"]),
        (say("New links by likeness"), summary["new_links"]["probabilistic"]),
        (say("Joined records"), summary["joined_records"]),
        (say("Customers in all"), summary["customers"]),
        (say("Contradictions to review"), summary["contradictions"]),
        (say("Identifiers that join nobody"), summary["refused"]),
        (say("Pairs that were split"), summary["kept_apart"]),
    )
    for title, number in rows:
        table.add_row(str(title), f"{number:,}")
    console.print(table)
    likely = summary["probabilistic"]
    if likely and likely["expected_precision"] is not None:
        _print(
            console,
            say(
                "By likeness: {candidates} pairs compared; the model expects {precision} of its joins to be right.",
                candidates=f"{likely['candidates']:,}",
                precision=f"{likely['expected_precision']:.1%}",
            ),
        )
    if not summary["written"]:
        _print(console, say("Nothing was written: this was a trial."))
    if summary["contradictions"] or summary["refused"]:
        _print(console, say("See what needs a person's eye: aimwell data identity review"))


def _draw_explained(console: Console, payload: dict[str, Any]) -> None:
    console.print(in_language(payload["verdict"]), markup=False, highlight=False)
    for link in payload["links"]:
        console.print(f"  {link['left']} — {link['right']}", markup=False, highlight=False)
        for reason in link["reasons"]:
            console.print(f"    • {in_language(reason)}", markup=False, highlight=False)


def _draw_review(console: Console, payload: dict[str, Any]) -> None:
    from aimwell.data.identity.explain import name_kind

    if payload["contradictions"]:
        table = make_table(
            str(say("Record")), str(say("Record")), str(say("Shared")), str(say("Contradiction"))
        )
        for row in payload["contradictions"]:
            shared = str(join_list(name_kind(kind) for kind in row["kinds"]))
            add_row(table, row["left"], row["right"], shared, str(name_kind(row["differs"])))
        console.print(table)
    if payload["refused"]:
        table = make_table(str(say("Identifier")), str(say("Value")), str(say("Records")), str(say("Reason")))
        for row in payload["refused"]:
            why = (
                say("a stand-in, not a person's own") if row["blocked"] else say("too many records share it")
            )
            add_row(table, str(name_kind(row["kind"])), row["value"], f"{row['records']:,}", str(why))
        console.print(table)
    if payload["split"]:
        table = make_table(str(say("Record")), str(say("Record")))
        for row in payload["split"]:
            add_row(table, row["left"], row["right"])
        console.print(table)
    _print(
        console,
        say(
            "{contradictions} contradictions, {refused} identifiers that join nobody, {split} pairs that were split.",
            contradictions=payload["contradictions_total"],
            refused=payload["refused_total"],
            split=payload["split_total"],
        ),
    )


def _print(console: Console, text: Text) -> None:
    console.print(str(text), markup=False, highlight=False)
