"""What every engine is asked. To add a question: one line in ``list_questions``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from aimwell.analysis.activity import map_activity
from aimwell.analysis.flows import measure_flows
from aimwell.analysis.funnels import measure_funnel
from aimwell.analysis.networks import read_network
from aimwell.analysis.referrals import measure_referrals, read_by_attribute
from aimwell.core.tables import Type
from aimwell.core.time import Window
from aimwell.engine.compile_cohort import compile_cohort, compile_series
from aimwell.engine.compile_funnel import compile_funnel
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.funnel import Breakdown, Cohort, Funnel, Series, Step, match_event
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Measure,
    Ratio,
    TopValue,
    Trend,
)
from aimwell.engine.specification import Window as Days
from aimwell.engine.sql_text import Query
from aimwell.engine.views import RESOLVED
from aimwell.engine.workspace import Reader
from aimwell.goals.metrics import METRICS, bind_window
from tests.conformance.goals import list_goal_questions
from tests.conformance.random_paths import draw_cohort, draw_funnel, draw_rules, draw_series
from tests.conformance.random_tags import draw_tags
from tests.conformance.rules import ask_rules, list_rule_questions
from tests.conformance.world import AS_OF

DRAWN = 4
"""So many of each kind are drawn at random."""
MIDNIGHT = datetime(2024, 3, 1, tzinfo=UTC)
Question = Callable[[Reader], Any]
"""Asks one or more queries; answers a table, or a dictionary of figures."""


def ask(query: Query) -> Question:
    return lambda reader: reader.query(query.sql, query.parameters)


def list_questions() -> Iterator[tuple[str, Question]]:
    for name in RESOLVED:
        yield f"table {name}", ask(Query(f"SELECT * FROM {name}"))
        yield f"delivered {name}", ask(Query(f"SELECT * FROM delivered_{name}"))
    yield "table tags, empty", ask(Query("SELECT * FROM tags"))
    yield from list_specifications()
    yield from list_rule_questions()
    for name, metric in METRICS.items():
        for window in (Window(date(2024, 2, 1), AS_OF), Window(date(2023, 2, 28), date(2024, 2, 29))):
            sql = Query(metric.sql, bind_window(metric, window, 0.3))
            yield f"metric {name} of {window.days} days", ask(sql)
    yield from list_goal_questions()
    for name, funnel in _list_funnels().items():
        yield f"funnel {name}", ask(compile_funnel(funnel))
        yield f"figures of funnel {name}", partial(_ask_funnel, funnel)
    for period in ("day", "week", "month"):
        for attribute in (None, "city"):
            begin, activity = match_event("Product Viewed"), Step("order_lines")
            cohort = Cohort(begin, activity, period, AS_OF, attribute=attribute)
            yield f"cohort by {period} and {attribute}", ask(compile_cohort(cohort))
        series = Series(Aggregate("order_lines", "sum", "revenue"), period, date(2023, 1, 1), AS_OF)
        yield f"series by {period}", ask(compile_series(series))
    for seed in range(DRAWN):
        yield f"rules drawn with seed {seed}", ask_rules(draw_rules(seed, 12))
        yield f"funnel drawn with seed {seed}", ask(compile_funnel(draw_funnel(seed)))
        yield f"cohort drawn with seed {seed}", ask(compile_cohort(draw_cohort(seed)))
        yield f"series drawn with seed {seed}", ask(compile_series(draw_series(seed)))
    yield "lifecycle flows", lambda reader: measure_flows(reader, start=date(2023, 12, 31), end=AS_OF)
    yield "map by activity", lambda reader: map_activity(reader, as_of=AS_OF)
    yield "referrals by attribute", _ask_referrals
    yield "network of invitations", _ask_network


def _ask_funnel(funnel: Funnel, reader: Reader) -> Any:
    return measure_funnel(reader, funnel, zone_end=MIDNIGHT)


def _ask_referrals(reader: Reader) -> Any:
    return measure_referrals(read_by_attribute(reader, "referred_by", end=AS_OF, until=MIDNIGHT))


def _ask_network(reader: Reader) -> Any:
    network = read_network(reader, "Referral Made", "invited", end=AS_OF)
    return sorted(zip(network.source.tolist(), network.target.tolist(), network.weight.tolist(), strict=True))


def list_specifications() -> Iterator[tuple[str, Question]]:
    """Every form of tag specification, all windows' edges, in one query each."""
    windows = (None, Days(1), Days(28), Days(30, 30), Days(365))
    for table, columns in _COLUMNS.items():
        specs = {}
        for number, window in enumerate(windows):
            specs[f"n_{number}"] = Measure(Aggregate(table, "count", None, (), window))
            for column, functions in columns.items():
                for function in functions:
                    one = Aggregate(table, function, column, (), window)
                    specs[f"{function}_{column}_{number}"] = Measure(one)
        specs["since_first"] = DaysSince(table, "first")
        specs["since_last"] = DaysSince(table, "last")
        yield f"figures of {table}", ask(compile_tags(specs, as_of=AS_OF))
    yield "shares, trends and favourites", ask(compile_tags(_SHARES, as_of=AS_OF))
    for seed in range(3):
        yield f"tags drawn with seed {seed}", ask(compile_tags(draw_tags(seed, 10), as_of=AS_OF))


_COLUMNS: dict[str, dict[str, tuple[Any, ...]]] = {
    "orders": {
        "revenue": ("sum", "average", "min", "max", "latest", "earliest"),
        "units": ("sum", "average"),
        "store_id": ("count_distinct", "latest", "earliest"),
        "weekday": ("min", "max", "average"),
        "hour": ("min", "average"),
    },
    "order_lines": {
        "revenue": ("count", "sum", "average", "min", "max"),
        "quantity": ("sum", "average", "min", "max"),
        "discount": ("sum", "count_distinct"),
        "category": ("count_distinct", "latest", "earliest"),
        "brand": ("count", "count_distinct"),
    },
    "events": {
        "name": ("count_distinct", "latest", "earliest"),
        "channel": ("count", "count_distinct", "latest", "earliest"),
    },
    "order_days": {"month": ("latest",), "gap": ("latest", "earliest")},
    "signals": {"name": ("latest", "earliest"), "score": ("latest", "earliest"), "text": ("latest",)},
}
_VIEWS = Aggregate("events", "count", None, (Condition("name", "=", "Product Viewed"),))
_MONTH = Aggregate("orders", "sum", "revenue", (), Days(30))
_SHARES = {
    "views": Measure(_VIEWS),
    "odd": Measure(Aggregate("events", "count", None, (Condition("name", "=", "新事件's"),))),
    "returns": Ratio(
        Aggregate("order_lines", "count", None, (Condition("is_return", "=", True),)),
        Aggregate("order_lines", "count", None),
    ),
    "weekend": Ratio(
        Aggregate("orders", "count", None, (Condition("weekday", ">=", 6),)),
        Aggregate("orders", "count", None),
    ),
    "trend": Trend(_MONTH, Aggregate("orders", "sum", "revenue", (), Days(30, 30))),
    **{
        f"best_{column}_{output}": TopValue("order_lines", column, "revenue", Days(365), output=output)
        for column in ("department", "category", "brand")
        for output in ("value", "share")
    },
    **{
        f"usual_{column}_{output}": TopValue("orders", column, None, None, output=output)
        for column in ("store_id", "hour", "weekday")
        for output in ("value", "share")
    },
    "busy": Expression("views > 1 AND NOT returns IS NULL", Type.BOOLEAN),
    "score": Expression(
        "ROUND(views * 0.37 + COALESCE(returns, 0), 2) + LN(views + 1) + FLOOR(views / 2)", Type.REAL
    ),
    "word": Expression(
        "CASE WHEN busy THEN 'often ''so''' WHEN best_brand_value = 'Own' THEN '少' END", Type.TEXT
    ),
    "length": Expression("LENGTH(best_brand_value)", Type.INTEGER),
    "quotient": Expression("views / odd + views % odd", Type.REAL),
    "logarithm": Expression("LN(views - 1) + SQRT(views - 2) + EXP(views * 300)", Type.REAL),
    "least": Expression("LEAST(views, 3) - GREATEST(odd, 1)", Type.INTEGER),
}


def _list_funnels() -> dict[str, Funnel]:
    viewed, bought = match_event("Product Viewed"), Step("order_lines", (Condition("is_return", "=", False),))
    steps = (viewed, match_event("Message Sent"), bought)
    barred = (match_event("Complaint Filed"),)
    return {
        "of events": Funnel((viewed, match_event("Visit")), timedelta(days=30), AS_OF),
        "into orders": Funnel(steps, timedelta(days=400), AS_OF),
        "with exclusion": Funnel(steps, timedelta(days=400), AS_OF, exclusions=barred),
        "by channel": Funnel(
            steps, timedelta(days=90), AS_OF, start=date(2023, 6, 1), breakdown=Breakdown("step", "channel")
        ),
        "by city": Funnel(steps, timedelta(days=900), AS_OF, breakdown=Breakdown("attribute", "city")),
        "by stage": Funnel(
            (
                Step("events", (Condition("properties.stage", "=", "lead"),)),
                Step("events", (Condition("properties.stage", "=", "成交"),)),
            ),
            timedelta(days=900),
            AS_OF,
        ),
    }
