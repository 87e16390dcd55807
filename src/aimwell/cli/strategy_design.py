"""``aimwell strategy design`` and ``markets``: a test before launch, and what it can see."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from aimwell.cli.output import add_row, emit, in_language, make_table, read_day, state
from aimwell.core.errors import BadInput
from aimwell.core.text import say

if TYPE_CHECKING:
    from aimwell.stats.sequential import Shape
    from aimwell.strategy.experiment.question import Question

MARKETS_KIND = "market_test"

Metric = Annotated[str | None, typer.Option(help="The KPI; see: goals metrics.  指标；见 goals metrics")]
Outcome = Annotated[
    str | None, typer.Option(help="A column of customers in place of a KPI.  以客户表的列代替指标")
]
Covariate = Annotated[
    str | None, typer.Option(help="A column known before, for CUPED.  试验前已知的列，用于 CUPED 调整")
]
Days = Annotated[int, typer.Option(help="Length of the window.  窗口天数")]
Target = Annotated[float, typer.Option(help="Relative change wanted.  期望的相对变化")]
Control = Annotated[float | None, typer.Option(help="Share in control.  对照组占比")]
Treatments = Annotated[int, typer.Option(help="How many treatments.  实验组数量")]
Segment = Annotated[str | None, typer.Option(help="Only this segment.  仅限该分群")]
Strata = Annotated[str | None, typer.Option(help="Tag or column to stratify by.  分层所用的标签或列")]
Cluster = Annotated[
    str | None, typer.Option(help="Draw whole clusters: store, or a column.  整群随机：store 或某列")
]
Looks = Annotated[int, typer.Option(help="How often it is looked at.  查看次数")]
Rule = Annotated[str, typer.Option(help="obrien_fleming or pocock.  停止规则：obrien_fleming 或 pocock")]
Guard = Annotated[
    list[str] | None, typer.Option(help="A KPI or column not to be harmed.  不可受损的护栏指标或列")
]
GuardLimit = Annotated[float, typer.Option(help="Harm to be noticed.  须察觉的损害幅度")]
PerDay = Annotated[float, typer.Option(help="Customers joining each day.  每日新增客户数")]
Windows = Annotated[int, typer.Option(help="Horizon, in windows.  期限（窗口数）")]
Value = Annotated[float | None, typer.Option(help="Profit of one unit.  一单位结果的利润")]
Cost = Annotated[float, typer.Option(help="Cost per treated customer.  每位实验组客户的成本")]
Expected = Annotated[float | None, typer.Option(help="Relative effect expected.  预期的相对效果")]
Doubt = Annotated[float | None, typer.Option(help="Its standard deviation.  预期效果的标准差")]
Arms = Annotated[
    Path | None,
    typer.Option(help="CSV file of the arms; extended if it exists.  分组 CSV 文件；已存在则扩充"),
]
Save = Annotated[str | None, typer.Option(help="Keep the design by this name.  以此名称保存设计")]
AsOf = Annotated[str | None, typer.Option(help="First business day, YYYY-MM-DD.  首个业务日，YYYY-MM-DD")]


def design(
    context: typer.Context,
    metric: Metric = None,
    outcome: Outcome = None,
    covariate: Covariate = None,
    days: Days = 28,
    target: Target = 0.05,
    control: Control = None,
    treatments: Treatments = 1,
    segment: Segment = None,
    strata: Strata = None,
    cluster: Cluster = None,
    looks: Looks = 4,
    rule: Rule = "obrien_fleming",
    guard: Guard = None,
    guard_limit: GuardLimit = 0.05,
    per_day: PerDay = 0.0,
    windows: Windows = 12,
    value: Value = None,
    cost: Cost = 0.0,
    expected: Expected = None,
    doubt: Doubt = None,
    arms: Arms = None,
    save: Save = None,
    as_of: AsOf = None,
) -> None:
    """Design a test: arms, what it can see, how long it takes, when to stop, whom to hold out.

    试验设计：分组、可见效果、时长、停止规则与留出比例
    """
    from aimwell.strategy.experiment.question import Question

    control_share = state(context).workspace.settings.contact.control_share if control is None else control
    question = Question(
        name=save or "test",
        metric=metric,
        outcome=outcome,
        covariate=covariate,
        days=days,
        control_share=control_share,
        treatments=treatments,
        target=target,
        segment=segment,
        strata=strata,
        cluster=cluster,
        looks=looks,
        shape=_check_rule(rule),
        guards=tuple(guard or ()),
        guard_limit=guard_limit,
        per_day=per_day,
        windows=windows,
        value=value,
        cost=cost,
        expected=expected,
        doubt=doubt,
    )
    payload = _make_design(context, question, as_of=as_of, arms=arms, save=save)
    emit(context, payload, lambda console: draw_design(console, payload))


def _make_design(
    context: typer.Context, question: Question, *, as_of: str | None, arms: Path | None, save: str | None
) -> dict[str, Any]:
    from aimwell.loop.clock import find_as_of
    from aimwell.strategy.experiment.arms_file import read_arms, write_arms
    from aimwell.strategy.experiment.plan import design_test
    from aimwell.strategy.experiment.saved import save_design
    from aimwell.strategy.experiment.words import to_payload

    workspace = state(context).workspace
    day = read_day(as_of) or find_as_of(workspace)
    earlier = read_arms(arms) if arms else {}
    with workspace.read() as reader:
        found = design_test(reader, workspace.settings, question, as_of=day, earlier=earlier)
    payload = {**to_payload(found, workspace.settings.business.currency), "as_of": day.isoformat()}
    version = None if save is None else save_design(workspace, save, payload)
    if arms is not None:
        write_arms(arms, found)
    return {**payload, "version": version}


def markets(
    context: typer.Context,
    by: Annotated[str, typer.Option(help="store, or a column of customers.  store 或客户表的列")] = "store",
    days: Days = 28,
    history: Annotated[int, typer.Option(help="Days of the past to use.  使用的历史天数")] = 364,
    pairs: Annotated[int | None, typer.Option(help="Only the best pairs.  仅取最匹配的若干对")] = None,
    target: Target = 0.05,
    save: Save = None,
    as_of: AsOf = None,
) -> None:
    """Design a test of markets: matched pairs, who is treated, power by placebo in the past.

    市场测试：按历史配对、抽取实验市场、以历史安慰剂检验功效
    """
    from aimwell.core.seeds import generator
    from aimwell.loop.clock import find_as_of
    from aimwell.strategy.experiment.markets import design_markets, read_panel
    from aimwell.strategy.experiment.words import summarise_markets

    workspace = state(context).workspace
    if days < 1 or history < 1:
        raise BadInput(
            "cli.bad_days",
            say("Days must be at least 1."),
            remedy=say("Give a whole number from 1."),
            where={"days": days, "history": history},
        )
    day = read_day(as_of) or find_as_of(workspace)
    salt = f"{workspace.settings.seed}:{save or 'markets'}"
    with workspace.read() as reader:
        panel = read_panel(reader, by, as_of=day, days=history)
    random = generator(workspace.settings.seed, "strategy.markets")
    found = design_markets(panel, window=days, salt=salt, generator=random, most_pairs=pairs)
    payload = {**summarise_markets(found, by=by, salt=salt, target=target), "as_of": day.isoformat()}
    payload["version"] = (
        None if save is None else workspace.store.save_definition(MARKETS_KIND, save, payload)
    )
    emit(context, payload, lambda console: draw_markets(console, payload))


def draw_design(console: Console, payload: dict[str, Any]) -> None:
    """The arms as a table, then one sentence a line, feasibility first."""
    table = make_table(str(say("Arm")), str(say("Share")), str(say("Customers")))
    for name, count in payload["arms"].items():
        add_row(table, name, f"{payload['shares'][name]:.1%}", f"{count:,}")
    _draw_sentences(console, payload)
    console.print(table)


def draw_markets(console: Console, payload: dict[str, Any]) -> None:
    """What the test can see, then its pairs."""
    table = make_table(str(say("Treatment")), str(say("Control")))
    for pair in payload["pairs"]:
        add_row(table, pair["treatment"], pair["control"])
    _draw_sentences(console, payload)
    console.print(table)


def _draw_sentences(console: Console, payload: dict[str, Any]) -> None:
    for number, sentence in enumerate(payload["sentences"]):
        console.print(
            in_language(sentence), style="bold" if number == 0 else None, highlight=False, markup=False
        )


def _check_rule(name: str) -> Shape:
    if name == "obrien_fleming":
        return "obrien_fleming"
    if name == "pocock":
        return "pocock"
    raise BadInput(
        "cli.unknown_rule",
        say("The stopping rule '{rule}' is not known.", rule=name),
        remedy=say("Use obrien_fleming or pocock."),
        where={"value": name},
    )
