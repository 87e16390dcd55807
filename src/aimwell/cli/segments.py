"""``aimwell analysis segment``: try out a rule, keep it, build segments, see when windows expire, export members."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.help import App
from aimwell.cli.naming import name_channel, read_titles
from aimwell.cli.output import add_row, emit, in_language, make_table, read_day, state
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

if TYPE_CHECKING:
    from aimwell.analysis.drafts import Draft
    from aimwell.engine.workspace import Reader, Workspace

app = App(help="Try out, build, keep and export segments.  分群：预览、生成、保存、导出")

_MOST_DRAWN = 50

RuleOption = Annotated[
    str,
    typer.Option(
        "--rule",
        help="Such as: recency_days > 30 and did 'Product Viewed' 3 times in 30 days.  "
        "分群规则，如 recency_days > 30 and did 'Product Viewed' 3 times in 30 days",
    ),
]


@app.command("preview")
def preview_segment(context: typer.Context, rule: RuleOption) -> None:
    """Show whom a rule would hold, without keeping it.  预览规则包含哪些客户，不保存"""
    from aimwell.analysis.catalogue import describe_tag_rule
    from aimwell.analysis.preview import preview_rule
    from aimwell.analysis.rule_text import parse_rule
    from aimwell.analysis.segments import check_rule, list_rules, load_segments, read_as_of
    from aimwell.engine.rule_types import read_rule_types

    parsed, workspace = parse_rule(rule), state(context).workspace
    with workspace.read() as reader:
        as_of = read_as_of(reader)
        rules = list_rules(load_segments(workspace.store, read_rule_types(reader))[0])
        types = check_rule(reader, parsed, rules)
        found = preview_rule(reader, parsed, types, as_of=as_of, segments=rules)
        titles = read_titles(reader)
    words = describe_tag_rule(parsed)
    payload = {"rule_text": words.both(), "as_of": as_of.isoformat(), **found}
    emit(context, payload, lambda console: _draw_preview(console, words, found, titles))


@app.command("save")
def save_segment_command(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and _.  代码：小写字母、数字与 _")],
    rule: RuleOption,
    title: Annotated[str | None, typer.Option(help="The name for people.  分群名称")] = None,
) -> None:
    """Keep a rule as a segment; the next run of the analysis fills it.  将规则保存为分群；下次分析时计算成员"""
    from aimwell.analysis.rule_text import parse_rule
    from aimwell.analysis.segments import (
        check_rule,
        list_rules,
        load_segments,
        read_as_of,
        save_segment,
    )
    from aimwell.engine.rule_types import read_rule_types

    parsed, workspace = parse_rule(rule), state(context).workspace
    with workspace.read() as reader:
        read_as_of(reader)
        rules = list_rules(load_segments(workspace.store, read_rule_types(reader))[0])
        check_rule(reader, parsed, rules, name=name)
    version = save_segment(workspace.store, name, parsed, title=title)
    message = say(
        "The segment {name} is kept (version {version}). Next: aimwell analysis run",
        name=name,
        version=version,
    )
    payload = {"segment": name, "version": version, "message": message.both()}
    emit(context, payload, lambda console: console.print(str(message), highlight=False))


@app.command("build")
def build_segments(
    context: typer.Context,
    by: Annotated[
        str,
        typer.Option(
            "--by",
            help="An attribute or tag such as region; tree; clusters.  "
            "分群方式：属性或标签（如 region）、tree 响应树、clusters 聚类",
        ),
    ],
    tags: Annotated[
        str | None, typer.Option(help="For clusters: tags, with commas.  聚类所用标签，以逗号分隔")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=2, max=20, help="For clusters: how many.  聚类个数")
    ] = None,
    outcome: Annotated[
        str | None,
        typer.Option(
            help="For a tree: the rule of a response; with --experiment: contribution, revenue or orders.  "
            "响应树：何为响应（规则）；配合 --experiment：contribution 贡献、revenue 收入或 orders 订单"
        ),
    ] = None,
    experiment: Annotated[
        str | None,
        typer.Option(
            help="For a tree: the plan whose treatment and control are compared.  "
            "响应树：按该投放计划实验组与对照组之差划分"
        ),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=365, help="For a tree: days of its window.  响应树：响应窗口天数")
    ] = 28,
    keep: Annotated[bool, typer.Option("--keep", help="Keep them as segments.  保存为分群")] = False,
) -> None:
    """Propose segments: one per value, the leaves of a response tree, or clusters.

    生成分群建议：按取值、响应树的叶或聚类
    """
    from aimwell.analysis.drafts import save_drafts

    _check_experiment(by, experiment)
    workspace = state(context).workspace
    with workspace.read() as reader:
        if by == "clusters":
            drafts, notes = _build_clusters(reader, workspace.settings.seed, tags, count)
        elif by == "tree" and experiment is not None:
            drafts, notes = _build_effects(reader, workspace, experiment, outcome)
        elif by == "tree":
            drafts, notes = _build_tree(reader, outcome or _choose_outcome(reader, days), days)
        else:
            drafts, notes = _build_traditional(reader, by)
    versions = save_drafts(workspace.store, drafts) if keep else {}
    rows = [_show_draft(draft) for draft in drafts]
    payload = {"by": by, "segments": rows, "kept": versions, "notes": [note.both() for note in notes]}
    emit(context, payload, lambda console: _draw_drafts(console, rows, notes, kept=bool(versions)))


@app.command("schedule")
def show_schedule(context: typer.Context) -> None:
    """Show on which days windows of segments expire.  分群到期安排：哪些天有窗口到期"""
    from aimwell.analysis.schedule import list_schedule

    workspace = state(context).workspace
    rows = list_schedule(workspace)
    with workspace.read() as reader:
        titles = read_titles(reader)

    def draw(console: Console) -> None:
        if not rows:
            console.print(str(say("No window of a segment will expire.")))
            return
        table = make_table(str(say("Day")), str(say("Segment")), str(say("Customers to look at again")))
        for row in rows[:_MOST_DRAWN]:
            name = str(row["segment"])
            add_row(table, str(row["due_on"]), titles.get(name, name), f"{row['customers']:,}")
        console.print(table)
        if len(rows) > _MOST_DRAWN:
            text = say("… and {count} later ones (--json shows them).", count=len(rows) - _MOST_DRAWN)
            console.print(str(text), style="dim", highlight=False)

    emit(context, {"schedule": rows}, draw)


@app.command("refresh")
def refresh_segments(
    context: typer.Context,
    as_of: Annotated[
        str | None,
        typer.Option(
            help="Up to this business day, YYYY-MM-DD; today when left out.  截至的业务日，默认今天"
        ),
    ] = None,
) -> None:
    """Decide again the customers whose windows have expired by now.  重新判定窗口已到期的客户"""
    from aimwell.analysis.data_end import tell_old_data
    from aimwell.analysis.schedule import find_day_start, refresh_due

    workspace, day = state(context).workspace, read_day(as_of)
    done = refresh_due(workspace, find_day_start(day, workspace.settings.business.zone) if day else None)
    old = None if day else tell_old_data(workspace)
    if done is None:
        message = say("No window has expired since segments were last decided.")
        payload: dict[str, Any] = {"as_of": None, "looked_at": 0, "entered": 0, "left": 0}
    else:
        message = say(
            "As of {day}: {looked} customers looked at, {entered} entered a segment, {left} left one.",
            day=done.as_of.isoformat(),
            looked=done.looked_at,
            entered=done.entered,
            left=done.left,
        )
        payload = {
            "as_of": done.as_of.isoformat(),
            "looked_at": done.looked_at,
            "entered": done.entered,
            "left": done.left,
        }
    payload |= {"message": message.both(), "warning": old}
    emit(context, payload, lambda console: _draw_message(console, message, old))


@app.command("export")
def export_members(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="The segment.  分群代码")],
    channel: Annotated[str, typer.Option(help="email, sms, call or mail.  渠道：email、sms、call 或 mail")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.  输出的 CSV 文件")],
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="Members by now, as the worker follows events, not those of the last analysis.  "
            "按后台整理跟踪到的当前成员导出，而非上次分析的成员",
        ),
    ] = False,
) -> None:
    """Write the members who may be contacted through a channel to a CSV file.  将可经某渠道联系的成员导出为 CSV"""
    from aimwell.analysis.data_end import tell_old_data
    from aimwell.analysis.segment_export import export_segment

    workspace = state(context).workspace
    done = export_segment(workspace, name, channel, out, live=live)
    old = tell_old_data(workspace) if live else None
    message = say(
        "{written} customers in {file}. Left out: {suppressed} suppressed, {refused} without consent, "
        "{unknown} without an address.",
        written=done.written,
        file=done.path,
        suppressed=done.suppressed,
        refused=done.without_consent,
        unknown=done.without_address,
    )
    payload = {
        "file": done.path,
        "segment": name,
        "channel": channel,
        "written": done.written,
        "left_out": {
            "suppressed": done.suppressed,
            "without_consent": done.without_consent,
            "without_address": done.without_address,
        },
        "message": message.both(),
        "warning": old,
    }
    emit(context, payload, lambda console: _draw_message(console, message, old))


def _draw_message(console: Console, message: Text, warning: Text | None) -> None:
    console.print(str(message), highlight=False, markup=False)
    if warning is not None:
        console.print(f"• {warning}", style="yellow", highlight=False, markup=False)


def _build_traditional(reader: Reader, by: str) -> tuple[tuple[Draft, ...], list[Text]]:
    from aimwell.analysis.segments import read_as_of
    from aimwell.analysis.traditional import build_traditional
    from aimwell.engine.rule_types import read_rule_types

    read_as_of(reader)
    return build_traditional(reader, by, read_rule_types(reader)), []


def _build_clusters(
    reader: Reader, seed: int, tags: str | None, count: int | None
) -> tuple[tuple[Draft, ...], list[Text]]:
    from aimwell.analysis.clusters import TAGS, build_clusters
    from aimwell.analysis.segments import read_as_of
    from aimwell.engine.rule_types import read_rule_types

    read_as_of(reader)
    chosen = tuple(name.strip() for name in tags.split(",")) if tags else TAGS
    found = build_clusters(reader, read_rule_types(reader), seed=seed, tags=chosen, count=count)
    notes = [
        say(
            "{count} clusters: silhouette {silhouette}, stability {stability}",
            count=one.count,
            silhouette=f"{one.silhouette:.3f}",
            stability=f"{one.stability:.3f}",
        )
        for one in found.tried
    ]
    if found.left_out:
        notes.append(say("{n} customers lack one of the tags and are in no cluster.", n=found.left_out))
    return found.drafts, notes


def _build_tree(reader: Reader, outcome: str, days: int) -> tuple[tuple[Draft, ...], list[Text]]:
    from aimwell.analysis.response_tree import build_response_tree
    from aimwell.analysis.rule_text import parse_rule
    from aimwell.analysis.segments import check_rule, read_as_of
    from aimwell.engine.compile_due import list_boundaries

    as_of, parsed = read_as_of(reader), parse_rule(outcome)
    types = check_rule(reader, parsed, {})
    reach = max((one.offset for one in list_boundaries(parsed)), default=0)
    if not 1 < reach <= days + 1:
        raise BadInput(
            "analysis.outcome_beyond_window",
            say(
                "The outcome must be something that was done within the {days} days of the window.", days=days
            ),
            remedy=say(
                "An example: --days {days} --outcome \"did 'Coupon Redeemed' in {days} days\"", days=days
            ),
            where={"value": outcome[:200]},
        )
    found = build_response_tree(reader, types, parsed, as_of=as_of, days=days)
    note = say(
        "Grown on {grown} customers, checked on {checked} in the later window: {rate} responded, area under the "
        "curve {area}.",
        grown=found.grown_on,
        checked=found.checked_on,
        rate=f"{found.rate:.1%}",
        area=f"{found.area:.3f}",
    )
    return found.drafts, [note]


def _choose_outcome(reader: Reader, days: int) -> str:
    """To buy; NotReady where there are no orders: which event is a response only a person knows."""
    from aimwell.analysis.activity import find_activity

    if find_activity(reader) == "orders":
        return f"bought in {days} days"
    names = (
        reader.query("SELECT name FROM events GROUP BY name ORDER BY COUNT(*), name")
        .column("name")
        .to_pylist()
    )
    example = "Order Completed" if "Order Completed" in names else next(iter(names), None)
    if example is None:
        remedy = say("Add orders or events: aimwell data add FILE")
    else:
        remedy = say(
            "Name the event that is the response: --days {days} --outcome \"did '{event}' in {days} days\"",
            days=days,
            event=example,
        )
    raise NotReady(
        "cli.outcome_needs_orders",
        say("There are no orders, so that nobody can respond by buying."),
        remedy=remedy,
    )


def _check_experiment(by: str, experiment: str | None) -> None:
    if experiment is not None and by != "tree":
        raise BadInput(
            "cli.experiment_without_tree",
            say("--experiment is for --by tree only."),
            remedy=say("Leave it out, or add --by tree."),
            where={"value": by},
        )


def _build_effects(
    reader: Reader, workspace: Workspace, plan_id: str, outcome: str | None
) -> tuple[tuple[Draft, ...], list[Text]]:
    from aimwell.analysis.effect_tree import OUTCOMES, build_effect_tree, show_effect
    from aimwell.engine.rule_types import read_rule_types

    outcome, currency = outcome or OUTCOMES[0], workspace.settings.business.currency
    found = build_effect_tree(
        reader,
        read_rule_types(reader),
        plan_id,
        outcome=outcome,
        currency=currency,
        seed=workspace.settings.seed,
    )
    notes = [
        say(
            "Rules found on {grown} customers, effects measured on {measured} others; "
            "over all, effect on {outcome}: {effect} [{lower}, {upper}] per customer.",
            grown=found.grown_on,
            measured=found.measured_on,
            **show_effect(found.overall, outcome, currency),
        ),
        say(
            "Were all effects one, such differences would be seen with probability {p}.",
            p=f"{found.p_differ:.2g}",
        ),
    ]
    if not all(draft.figures["proven"] for draft in found.drafts):
        notes.append(say("Not proven: the 95 % interval includes zero. Test again before acting on it."))
    if found.simulated:
        notes.append(
            say(
                "The customers' answers to this plan were simulated: these effects are no measurement of real people."
            )
        )
    return found.drafts, notes


def _show_draft(draft: Draft) -> dict[str, Any]:
    from aimwell.analysis.catalogue import describe_tag_rule
    from aimwell.analysis.rule_writing import write_rule

    return {
        "name": draft.name,
        "title": draft.title.both(),
        "rule": write_rule(draft.rule),
        "rule_text": describe_tag_rule(draft.rule).both(),
        "size": draft.size,
        "figures": dict(draft.figures),
    }


def _draw_drafts(console: Console, rows: list[dict[str, Any]], notes: list[Text], *, kept: bool) -> None:
    table = make_table(str(say("Segment")), str(say("Name")), str(say("Customers")))
    for row in rows:
        add_row(table, row["name"], in_language(row["title"]), f"{row['size']:,}")
    console.print(table)
    for note in notes:
        console.print(f"• {note}", highlight=False, markup=False)
    closing = say("Kept. Next: aimwell analysis run") if kept else say("Nothing is kept yet: add --keep.")
    console.print(str(closing), highlight=False)


def _draw_preview(
    console: Console, words: Text, found: dict[str, Any], segment_titles: dict[str, str]
) -> None:
    console.print(str(words), style="bold", highlight=False, markup=False)
    console.print(
        str(say("{size} of {customers} customers", size=found["size"], customers=found["customers"]))
    )
    if found["revenue_share"] is not None:
        console.print(str(say("{share} of the revenue", share=f"{found['revenue_share']:.1%}")))
    titles = {
        "lifecycle_stage": say("Lifecycle stage"),
        "value_tier": say("Value tier"),
        "region": say("Region"),
    }
    for name, rows in found["breakdown"].items():
        listed = join_list(
            f"{in_language(row['title'])} {row['size']:,} ({row['share']:.0%})" for row in rows
        )
        line = say("{what}: {values}", what=titles[name], values=listed or "–")
        console.print(str(line), highlight=False, markup=False)
    if found["channels"]:
        parts = join_list(
            f"{name_channel(channel)} {count:,}" for channel, count in found["channels"].items()
        )
        console.print(str(say("Can be reached by: {channels}", channels=parts)), highlight=False)
    if found["overlap"]:
        parts = join_list(
            f"{segment_titles.get(row['segment'], row['segment'])} {row['share']:.0%}"
            for row in found["overlap"][:8]
        )
        console.print(str(say("Also in: {segments}", segments=parts)), highlight=False, markup=False)
    if found["examples"]:
        console.print(str(say("For example: {ids}", ids=join_list(found["examples"]))), markup=False)
