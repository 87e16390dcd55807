"""The words of what a customer did: figures over events and orders, and sequences. It reads no table."""

from __future__ import annotations

from functools import reduce

from aimwell.core.text import Text, say
from aimwell.engine.rule import Measured, Sequence, Step, bought
from aimwell.engine.rule_json import read_event_count
from aimwell.engine.specification import Aggregate, Condition, DaysSince, Operator, Value, Window

_TABLES = {
    "events": say("events"),
    "orders": say("orders"),
    "order_lines": say("order lines"),
}
_COLUMNS = {
    "revenue": say("revenue"),
    "discount": say("discount"),
    "quantity": say("quantity"),
    "units": say("quantity"),
    "order_id": say("order"),
    "product_id": say("product"),
    "department": say("department"),
    "category": say("category"),
    "brand": say("brand"),
    "store_id": say("store"),
    "channel": say("channel"),
    "campaign_id": say("campaign"),
    "is_return": say("is a return"),
}


def quote_words(words: str) -> Text:
    """Names and values of users as they are: a bare ``Text`` would be translated where a message is so called."""
    return say("{words}", words=words)


def say_comparison(name: Text, operator: Operator, value: Value, shown: Text) -> Text:
    """``name`` compares so with ``value``, which is ``shown`` so to people."""
    if isinstance(value, bool):
        holds = value is (operator == "=")
        return say("{tag}: yes", tag=name) if holds else say("{tag}: no", tag=name)
    match operator:
        case "=":
            return say("{tag} is {value}", tag=name, value=shown)
        case "!=":
            return say("{tag} is not {value}", tag=name, value=shown)
        case "<":
            return say("{tag} is less than {value}", tag=name, value=shown)
        case "<=":
            return say("{tag} is at most {value}", tag=name, value=shown)
        case ">":
            return say("{tag} is more than {value}", tag=name, value=shown)
        case ">=":
            return say("{tag} is at least {value}", tag=name, value=shown)


def describe_measured(rule: Measured) -> Text:
    """A figure compared with a value, in words."""
    counted = read_event_count(rule)
    if counted is not None:
        name, times, days, conditions = counted
        event = _say_where(say("'{event}'", event=name), conditions)
        if days is None:
            return say("{event} at least {times} × ever", event=event, times=times)
        return say("{event} at least {times} × in the last {days} days", event=event, times=times, days=days)
    purchases = _read_purchases(rule)
    if purchases is not None:
        times, days, conditions = purchases
        purchase = _say_where(say("purchase"), conditions)
        if days is None:
            return say("at least {times} × a {purchase} ever", times=times, purchase=purchase)
        return say(
            "at least {times} × a {purchase} in the last {days} days",
            times=times,
            purchase=purchase,
            days=days,
        )
    shown = quote_words(f"{rule.value:g}" if isinstance(rule.value, float) else str(rule.value))
    return say_comparison(describe_figure(rule.of), rule.operator, rule.value, shown)


def _read_purchases(rule: Measured) -> tuple[int, int | None, tuple[Condition, ...]] | None:
    """Times, days and conditions, when ``rule`` is what ``bought`` makes; else None."""
    of = rule.of
    if not isinstance(of, Aggregate) or not isinstance(rule.value, int) or isinstance(rule.value, bool):
        return None
    days = None if of.window is None else of.window.days
    found = (rule.value, days, of.conditions[1:])
    return found if bought(*found) == rule else None


def describe_figure(of: Aggregate | DaysSince) -> Text:
    """What is measured, in words."""
    rows = _describe_rows(of.table, of.conditions)
    if isinstance(of, DaysSince):
        return (
            say("days since the last of {rows}", rows=rows)
            if of.which == "last"
            else say("days since the first of {rows}", rows=rows)
        )
    column = _name_column(of.column or "")
    match of.function:
        case "count":
            figure = say("number of {rows}", rows=rows)
        case "count_distinct":
            figure = say("number of different {column} in {rows}", column=column, rows=rows)
        case "sum":
            figure = say("sum of {column} of {rows}", column=column, rows=rows)
        case "average":
            figure = say("average {column} of {rows}", column=column, rows=rows)
        case "min":
            figure = say("smallest {column} of {rows}", column=column, rows=rows)
        case "max":
            figure = say("greatest {column} of {rows}", column=column, rows=rows)
        case "deviation":
            figure = say("spread of {column} of {rows}", column=column, rows=rows)
        case "latest":
            figure = say("latest {column} of {rows}", column=column, rows=rows)
        case "earliest":
            figure = say("earliest {column} of {rows}", column=column, rows=rows)
    return _say_window(figure, of.window)


def describe_sequence(rule: Sequence) -> Text:
    """One thing after the other, in words."""
    text = _describe_step(rule.steps[0])
    for step in rule.steps[1:]:
        following = _describe_step(step)
        text = (
            say("{before}, then {step}", before=text, step=following)
            if step.within is None
            else say(
                "{before}, then {step} within {days} days", before=text, step=following, days=step.within
            )
        )
    if rule.without is not None:
        missing, days = _describe_step(rule.without), rule.without.within
        text = (
            say("{before}, and no {step} since", before=text, step=missing)
            if days is None
            else say("{before}, and no {step} within {days} days after", before=text, step=missing, days=days)
        )
    if rule.window is None:
        return text
    if rule.window.ending:
        return say(
            "{figure}, begun in the {days} days that ended {ending} days ago",
            figure=text,
            days=rule.window.days,
            ending=rule.window.ending,
        )
    return say("{figure}, begun in the last {days} days", figure=text, days=rule.window.days)


def _describe_step(step: Step) -> Text:
    names = [one for one in step.conditions if (one.column, one.operator) == ("name", "=")]
    if step.table == "events" and names:
        rest = tuple(one for one in step.conditions if one is not names[0])
        return _say_where(say("'{event}'", event=str(names[0].value)), rest)
    rest = tuple(one for one in step.conditions if (one.column, one.value) != ("is_return", False))
    return _say_where(say("purchase") if step.table == "order_lines" else quote_words(step.table), rest)


def _describe_rows(table: str, conditions: tuple[Condition, ...]) -> Text:
    return _say_where(_TABLES.get(table) or quote_words(table), conditions)


def _say_where(rows: Text, conditions: tuple[Condition, ...]) -> Text:
    if not conditions:
        return rows
    tests = [
        say_comparison(_name_column(one.column), one.operator, one.value, quote_words(str(one.value)))
        for one in conditions
    ]
    listed = reduce(lambda left, right: say("{left} and {right}", left=left, right=right), tests)
    return say("{rows} where {conditions}", rows=rows, conditions=listed)


def _say_window(figure: Text, window: Window | None) -> Text:
    if window is None:
        return figure
    if window.ending:
        return say(
            "{figure} in the {days} days that ended {ending} days ago",
            figure=figure,
            days=window.days,
            ending=window.ending,
        )
    return say("{figure} in the last {days} days", figure=figure, days=window.days)


def _name_column(column: str) -> Text:
    return _COLUMNS.get(column) or quote_words(column)
