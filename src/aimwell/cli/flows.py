"""``aimwell analysis rfm``, ``flows``, ``referrals`` and ``network``.  RFM、流转、转介绍、网络"""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.funnels import Until, find_end
from aimwell.cli.output import add_row, emit, in_language, make_table, read_day, state
from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say

PropertyOption = Annotated[
    str,
    typer.Option(
        "--property", help="The event's property that names the other customer.  事件中指明对方客户的字段"
    ),
]
_FEW_DAYS = 90


def register(app: typer.Typer) -> None:
    """Add the commands of this module to ``aimwell analysis``."""
    app.command("rfm")(show_rfm)
    app.command("flows")(show_flows)
    app.command("referrals")(show_referrals)
    app.command("network")(show_network)


def show_rfm(context: typer.Context) -> None:
    """Show the map of recency and frequency, with revenue (or activity) and advice.

    RFM 地图：近度与频度，附消费（没有订单时为活跃度）与建议
    """
    from aimwell.analysis.activity import map_customers
    from aimwell.analysis.segments import read_as_of

    with state(context).workspace.read("analysis") as reader:
        found = map_customers(reader, as_of=read_as_of(reader))
    emit(context, found, lambda console: _draw_rfm(console, found))


def show_flows(
    context: typer.Context,
    since: Annotated[
        str | None, typer.Option("--from", help="The earlier day, YYYY-MM-DD.  起始日，YYYY-MM-DD")
    ] = None,
    until: Until = None,
    movers: Annotated[
        str | None,
        typer.Option(help="List who moved, such as active:declining.  列出流转客户，如 active:declining"),
    ] = None,
) -> None:
    """Show who moved from one lifecycle stage to another between two days.

    生命周期流转：两日之间谁从哪一阶段到了哪一阶段
    """
    from aimwell.analysis.flows import measure_flows

    end = find_end(context, until)
    start = read_day(since) or end - timedelta(days=30)
    pair = _read_pair(movers)
    with state(context).workspace.read("analysis") as reader:
        found = measure_flows(reader, start=start, end=end, movers=pair)
    emit(context, found, lambda console: _draw_flows(console, found))


def show_referrals(
    context: typer.Context,
    attribute: Annotated[
        str | None,
        typer.Option(
            help="Attribute that names the inviter, such as invited_by.  指明邀请人的属性，如 invited_by"
        ),
    ] = None,
    event: Annotated[
        str | None, typer.Option(help="Event of the inviter, such as Referral.  邀请人的事件，如 Referral")
    ] = None,
    other: PropertyOption = "invited",
    invitation: Annotated[
        str | None,
        typer.Option(help="Event of an invitation sent, for the k-factor.  发出邀请的事件，用于计算 k 因子"),
    ] = None,
    until: Until = None,
) -> None:
    """Show who brings whom, and whether growth feeds itself.  转介绍：谁带来谁，增长能否自我维持"""
    from aimwell.analysis import referrals
    from aimwell.core.time import zone

    workspace, end = state(context).workspace, find_end(context, until)
    midnight = datetime.combine(end, time(), zone(workspace.settings.business.zone))
    with workspace.read("analysis") as reader:
        if attribute is not None:
            ties = referrals.read_by_attribute(reader, attribute, end=end, until=midnight)
        elif event is not None:
            ties = referrals.read_by_event(reader, event, other, end=end, until=midnight)
        else:
            raise BadInput(
                "cli.no_ties_named",
                say("It is not said where it stands who brought whom."),
                remedy=say("Name the attribute with --attribute, or the event with --event and --property."),
            )
        found = referrals.measure_referrals(ties)
        found["influencers"] = referrals.list_influencers(reader, ties)
        if invitation is not None:
            found["invitations"] = referrals.measure_invitations(
                reader, invitation, found["referred"], found["customers"], end=end
            )
    emit(context, found, lambda console: _draw_referrals(console, found))


def show_network(
    context: typer.Context,
    event: Annotated[str, typer.Option(help="The event that ties two customers.  联系两个客户的事件")],
    other: PropertyOption,
    communities: Annotated[
        bool,
        typer.Option(
            "--communities", help="Find communities too (slow on large networks).  同时划分社群（大网络较慢）"
        ),
    ] = False,
    until: Until = None,
) -> None:
    """Show who stands in the middle of a network of customers.  客户网络：谁处于中心"""
    from aimwell.analysis.networks import measure_network, read_network
    from aimwell.core.seeds import derive_seed

    workspace, end = state(context).workspace, find_end(context, until)
    seed = derive_seed(workspace.settings.seed, "communities") % 2**32 if communities else None
    with workspace.read("analysis") as reader:
        found = measure_network(read_network(reader, event, other, end=end), seed=seed)
    emit(context, found, lambda console: _draw_network(console, found))


def _read_pair(movers: str | None) -> tuple[str, str] | None:
    if movers is None:
        return None
    left, _, right = movers.partition(":")
    return left.strip(), right.strip()


def _draw_rfm(console: Console, found: dict[str, Any]) -> None:
    if found["by"] == "activity":
        _say_by_activity(console)
        if found["days"] < _FEW_DAYS:
            note = say(
                "There are events on {days} days only: who is at risk or gone is so in comparison with the others.",
                days=found["days"],
            )
            console.print(str(note), style="yellow", highlight=False)
    cells = {(int(cell["r"]), int(cell["f"])): cell for cell in found["cells"]}
    scores = [str(score) for score in range(1, 6)]
    grid = make_table(str(say("Recency ↓ frequency →")), *scores)
    for recency in range(5, 0, -1):
        sizes = [cells.get((recency, frequency)) for frequency in range(1, 6)]
        add_row(grid, str(recency), *(f"{cell['customers']:,}" if cell else "" for cell in sizes))
    console.print(grid)
    by_activity = found["by"] == "activity"
    breadth = say("Products each") if found.get("breadth_of") == "products" else say("Kinds of events each")
    shares = [say("Share of activity"), breadth] if by_activity else [say("Revenue share")]
    table = make_table(
        str(say("Area")),
        str(say("Customers")),
        str(say("Share")),
        *map(str, shares),
        str(say("What to do")),
    )
    for area in found["areas"]:
        if by_activity:
            values = [
                f"{area['events_share']:.1%}",
                "" if area["breadth"] is None else f"{area['breadth']:.1f}",
            ]
        else:
            values = ["" if area["revenue_share"] is None else f"{area['revenue_share']:.1%}"]
        add_row(
            table,
            in_language(area["title"]),
            f"{area['customers']:,}",
            f"{area['share']:.1%}",
            *values,
            in_language(area["advice"]),
        )
    console.print(table)


def _say_by_activity(console: Console) -> None:
    text = say("By activity, since nothing was bought here: events take the place of orders and of money.")
    console.print(str(text), style="yellow", highlight=False)


def _draw_flows(console: Console, found: dict[str, Any]) -> None:
    by_activity = found["activity"] == "events"
    if by_activity:
        _say_by_activity(console)
    text = say("From {start} (rows) to {end} (columns)", start=found["start"], end=found["end"])
    console.print(str(text), style="bold", highlight=False)
    titles = {row["stage"]: in_language(row["title"]) for row in found["stages"]}
    moves = {(row["stage_from"], row["stage_to"]): row["customers"] for row in found["moves"]}
    table = make_table("", *titles.values(), str(say("All")))
    for stage, title in titles.items():
        counts = [moves.get((stage, other), 0) for other in titles]
        add_row(
            table, title, *(f"{count:,}" if count else "" for count in counts), f"{found['from'][stage]:,}"
        )
    add_row(
        table,
        str(say("All")),
        *(f"{found['to'][stage]:,}" for stage in titles),
        f"{sum(found['to'].values()):,}",
    )
    console.print(table)
    for direction in ("worse", "better"):
        words = _say_direction(direction, found[direction], by_activity=by_activity)
        console.print(str(words), style="red" if direction == "worse" else "green", highlight=False)
    if found["movers"]:
        listed = make_table(str(say("Customer")), str(say("Events") if by_activity else say("Revenue")))
        for row in found["movers"]:
            stake = f"{row['events']:,}" if by_activity else f"{row['revenue']:,.2f}"
            add_row(listed, row["customer_id"], stake)
        console.print(listed)


def _say_direction(direction: str, moved: dict[str, Any], *, by_activity: bool) -> Text:
    if by_activity:
        counts = {"customers": moved["customers"], "events": f"{moved['events']:,}"}
        if direction == "worse":
            return say(
                "Grew quieter: {customers} customers, with {events} events in the year before.", **counts
            )
        return say(
            "Became more active: {customers} customers, with {events} events in the year before.", **counts
        )
    paid = {"customers": moved["customers"], "revenue": f"{moved['revenue']:,.0f}"}
    if direction == "worse":
        return say(
            "Moved away from buying: {customers} customers, who paid {revenue} in the year before.", **paid
        )
    return say("Moved towards buying: {customers} customers, who paid {revenue} in the year before.", **paid)


def _draw_referrals(console: Console, found: dict[str, Any]) -> None:
    r = found["reproduction"]
    console.print(in_language(found["verdict"]), style="bold", highlight=False)
    text = say(
        "Each customer brings {r} others within {days} days [{lower}, {upper}]; uncorrected: {raw}.",
        r=f"{r['estimate']:.2f}",
        days=f"{found['watched_days']:.0f}",
        lower=f"{r['lower']:.2f}",
        upper=f"{r['upper']:.2f}",
        raw=f"{found['uncorrected']:.2f}",
    )
    console.print(str(text), highlight=False)
    times = found["generation_days"]
    text = say(
        "From a customer to those they bring: {p50} days in the median, {p90} for nine in ten.",
        p50=times["p50"],
        p90=times["p90"],
    )
    console.print(str(text), highlight=False)
    if found["unfinished"]:
        console.print(
            str(say("They are still bringing more at the end: the figure is at least this.")), style="yellow"
        )
    if found["multiplier"]:
        text = say(
            "One customer who is acquired comes to {count} in all.",
            count=f"{found['multiplier']['estimate']:.2f}",
        )
        console.print(str(text), highlight=False)
    if "invitations" in found:
        sent = found["invitations"]
        text = say(
            "k-factor as usually reckoned: {each} invitations × {rate} = {k}",
            each=f"{sent['per_customer']:.2f}",
            rate=f"{sent['rate']:.1%}",
            k=f"{sent['k_factor']:.2f}",
        )
        console.print(str(text), highlight=False)
    chains = found["chains"]
    text = say(
        "{chains} chains, the largest of {largest} customers, the deepest of {deepest} steps.",
        chains=chains["chains"],
        largest=chains["largest"],
        deepest=chains["deepest"],
    )
    console.print(str(text), highlight=False)
    if found["dropped"]:
        text = say(
            "{count} ties were left out: the inviter is unknown, the same person, or came later.",
            count=found["dropped"],
        )
        console.print(str(text), style="yellow", highlight=False)
    _draw_influencers(console, found["influencers"])


def _draw_influencers(console: Console, rows: list[dict[str, Any]]) -> None:
    table = make_table(
        str(say("Customer")), str(say("Brought directly")), str(say("In all")), str(say("Their revenue"))
    )
    for row in rows:
        add_row(
            table,
            row["customer_id"],
            f"{row['direct']:,}",
            f"{row['downstream']:,}",
            f"{row['downstream_revenue']:,.2f}",
        )
    console.print(table)
    console.print(str(say("This is no proof of cause: some of them would have come anyway.")), style="dim")


def _draw_network(console: Console, found: dict[str, Any]) -> None:
    text = say(
        "{customers} customers, {ties} ties, {parts} separate parts",
        customers=found["customers"],
        ties=found["ties"],
        parts=found["separate_parts"],
    )
    console.print(str(text), style="bold", highlight=False)
    table = make_table(
        str(say("Customer")), str(say("Times the average rank")), str(say("Tied from")), str(say("Tied to"))
    )
    for row in found["central"]:
        add_row(
            table,
            row["customer_id"],
            f"{row['times_average']:.1f}",
            f"{row['tied_from']:,}",
            f"{row['tied_to']:,}",
        )
    console.print(table)
    if "communities" in found:
        text = say(
            "{count} communities (modularity {modularity})",
            count=found["community_count"],
            modularity=found["modularity"],
        )
        console.print(str(text), style="bold", highlight=False)
        groups = make_table(str(say("Customers")), str(say("Share")), str(say("Examples")))
        for row in found["communities"]:
            add_row(groups, f"{row['size']:,}", f"{row['share']:.1%}", str(join_list(row["examples"])))
        console.print(groups)
    console.print(
        str(
            say("To stand in the middle is no proof of influence: test it by asking some of them at random.")
        ),
        style="dim",
    )
