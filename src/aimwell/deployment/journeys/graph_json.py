"""Journeys as plain, readable JSON and back. Reads and writes no table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, cast

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.deployment.journeys.graph import (
    Action,
    BestAction,
    Branch,
    Case,
    DateEntry,
    Entry,
    EventEntry,
    EventIs,
    Exit,
    ExitRule,
    Goal,
    Journey,
    MessageCap,
    Node,
    PropertyIs,
    Reentry,
    ScheduleEntry,
    SegmentEntry,
    Span,
    Split,
    Wait,
    WaitDate,
    WaitEvent,
    WaitUntil,
    Way,
)
from aimwell.engine.rule_json import rule_from_json, rule_to_json
from aimwell.engine.specification import OPERATORS

ENTRIES: dict[str, type[Entry]] = {
    "event": EventEntry,
    "segment": SegmentEntry,
    "schedule": ScheduleEntry,
    "date": DateEntry,
}
NODES: dict[str, type[Node]] = {
    "wait": Wait,
    "wait_until": WaitUntil,
    "wait_date": WaitDate,
    "wait_event": WaitEvent,
    "branch": Branch,
    "split": Split,
    "best_action": BestAction,
    "action": Action,
    "goal": Goal,
    "exit": Exit,
}
_KINDS = {made: kind for kind, made in {**ENTRIES, **NODES}.items()}
_MOST_NODES = 500


def journey_to_json(journey: Journey) -> dict[str, Any]:
    """``journey`` as it is kept in definitions and files."""
    body: dict[str, Any] = {"name": journey.name, "title": journey.title}
    body["entries"] = [_write(entry, "on") for entry in journey.entries]
    body["nodes"] = {name: _write(node, "kind") for name, node in journey.nodes}
    for name in ("goal", "exits", "reentry", "holdout", "cap", "moves"):
        value = getattr(journey, name)
        if value not in (None, (), 0.0, Reentry()):
            body[name] = _pack(value)
    if journey.moves:
        body["moves"] = dict(journey.moves)
    return body


def journey_from_json(body: object) -> Journey:
    """Read back what ``journey_to_json`` wrote; BadInput names the place that cannot be read."""
    given = _take_object(body, "journey", set(Journey.__dataclass_fields__))
    nodes = _take_object(given.get("nodes", {}), "nodes", None)
    entries = _take_list(given.get("entries", []), "entries")
    if len(nodes) > _MOST_NODES or len(entries) > _MOST_NODES:
        raise _unreadable("nodes", f"> {_MOST_NODES}")
    moves = _take_object(given.get("moves", {}), "moves", None)
    return Journey(
        name=_take_text(given.get("name"), "name"),
        title=_take_text(given.get("title", given.get("name")), "title"),
        entries=tuple(_read_kind(one, "on", ENTRIES, f"entries[{n}]") for n, one in enumerate(entries, 1)),
        nodes=tuple((name, _read_kind(one, "kind", NODES, name)) for name, one in nodes.items()),
        goal=None if given.get("goal") is None else _read_event(given["goal"], "goal"),
        exits=tuple(
            _read_fields(ExitRule, one, f"exits[{n}]")
            for n, one in enumerate(_take_list(given.get("exits", []), "exits"), 1)
        ),
        reentry=_read_fields(Reentry, given.get("reentry", {}), "reentry"),
        holdout=_take_number(given.get("holdout", 0.0), "holdout"),
        cap=None if given.get("cap") is None else _read_fields(MessageCap, given["cap"], "cap"),
        moves=tuple((old, _take_text(new, "moves")) for old, new in moves.items()),
    )


# ------------------------------------------------------------ writing


def _write(part: Entry | Node, word: str) -> dict[str, Any]:
    return {word: _KINDS[type(part)], **_pack(part)}


def _pack(value: Any) -> Any:
    match value:
        case PropertyIs(name=name, operator=operator, value=against):
            return {"property": name, "is": operator, "value": against}
        case EventIs(event=event, where=where):
            return {"event": event, **({"where": [_pack(one) for one in where]} if where else {})}
        case BestAction(choices=choices, otherwise=otherwise):
            return {"choices": dict(choices), "otherwise": otherwise}
        case tuple():
            return [_pack(one) for one in value]
        case None | str() | int() | float():
            return value
    if type(value).__module__.endswith("engine.rule"):
        return rule_to_json(value)
    packed: dict[str, Any] = {}
    for field in fields(value):
        one = getattr(value, field.name)
        if isinstance(one, EventIs) or (isinstance(one, Span) and field.name == "span"):
            packed |= _pack(one)
        elif one not in (None, ()) and not (isinstance(value, Span) and one == 0):
            packed[field.name] = _pack(one)
    return packed


# ------------------------------------------------------------ reading


def _read_kind(body: object, word: str, kinds: Mapping[str, type[Any]], place: str) -> Any:
    given = _take_object(body, place, None)
    kind = given.get(word)
    if kind not in kinds:
        raise BadInput(
            "deployment.journey_kind",
            say("In '{place}' there is nothing of the kind '{kind}'.", place=place, kind=str(kind)[:50]),
            remedy=say("'{word}' is one of: {kinds}.", word=word, kinds=join_list(kinds)),
            where={"value": place},
        )
    rest = {name: value for name, value in given.items() if name != word}
    return _read_fields(kinds[cast(str, kind)], rest, place)


def _read_fields(made: type[Any], body: object, place: str) -> Any:
    """The dataclass ``made`` from an object; event and span of a part stand beside its other fields."""
    declared = {field.name: field for field in fields(made)}
    known = set(declared) - {"span", "event"}
    known |= {"event", "where"} if "event" in declared else set()
    known |= {"days", "hours", "minutes"} if "span" in declared else set()
    given = _take_object(body, place, known)
    values: dict[str, Any] = {}
    if "event" in declared and (made is not ExitRule or "event" in given):
        values["event"] = _read_event({k: given[k] for k in ("event", "where") if k in given}, place)
    if "span" in declared:
        values["span"] = _read_span({k: given[k] for k in ("days", "hours", "minutes") if k in given}, place)
    for name in declared:
        if name in given and name not in ("event", "span"):
            values[name] = _READ.get(name, _read_plain)(given[name], f"{place}.{name}")
    try:
        return made(**values)
    except TypeError as error:
        missing = [name for name in declared if name not in values and _is_needed(declared[name])]
        raise _unreadable(place, ", ".join(missing)) from error


def _is_needed(field: Any) -> bool:
    return "MISSING" in repr(field.default)


def _read_plain(value: object, place: str) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    raise _unreadable(place, repr(value))


def _read_event(body: object, place: str) -> EventIs:
    given = _take_object(body, place, {"event", "where"})
    return EventIs(_take_text(given.get("event"), place), _read_where(given.get("where", []), place))


def _read_where(body: object, place: str) -> tuple[PropertyIs, ...]:
    found = []
    for one in _take_list(body, place):
        given = _take_object(one, place, {"property", "is", "value"})
        operator, value = given.get("is", "="), given.get("value")
        if operator not in OPERATORS or not isinstance(value, str | int | float):
            raise _unreadable(place, str(given))
        found.append(PropertyIs(_take_text(given.get("property"), place), operator, value))
    return tuple(found)


def _read_span(body: object, place: str) -> Span:
    given = _take_object(body, place, {"days", "hours", "minutes"})
    return Span(**{name: _take_whole(value, place) for name, value in given.items()})


def _read_cases(body: object, place: str) -> tuple[Case, ...]:
    return tuple(_read_fields(Case, one, place) for one in _take_list(body, place))


def _read_ways(body: object, place: str) -> tuple[Way, ...]:
    ways = [_take_object(one, place, {"to", "share"}) for one in _take_list(body, place)]
    return tuple(
        Way(_take_target(one.get("to"), place), _take_number(one.get("share"), place)) for one in ways
    )


def _read_choices(body: object, place: str) -> tuple[tuple[str, str | None], ...]:
    given = _take_object(body, place, None)
    return tuple((name, _take_target(target, place)) for name, target in given.items())


def _read_names(body: object, place: str) -> tuple[str, ...]:
    return tuple(_take_text(one, place) for one in _take_list(body, place))


def _read_weekdays(body: object, place: str) -> tuple[int, ...]:
    return tuple(_take_whole(one, place) for one in _take_list(body, place))


def _take_object(body: object, place: str, known: set[str] | None) -> dict[str, Any]:
    if not isinstance(body, dict) or not all(isinstance(name, str) for name in body):
        raise _unreadable(place, repr(body))
    unknown = sorted(set(body) - known) if known is not None else []
    if unknown:
        raise BadInput(
            "deployment.journey_field",
            say("In '{place}' there is no field '{name}'.", place=place, name=unknown[0]),
            remedy=say("The fields are: {names}.", names=join_list(sorted(known or ()))),
            where={"value": place, "column": unknown[0]},
        )
    return body


def _take_list(body: object, place: str) -> Sequence[Any]:
    if isinstance(body, list | tuple):
        return body
    raise _unreadable(place, repr(body))


def _take_text(value: object, place: str) -> str:
    if isinstance(value, str) and value:
        return value
    raise _unreadable(place, repr(value))


def _take_target(value: object, place: str) -> str | None:
    return None if value is None else _take_text(value, place)


def _take_whole(value: object, place: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 1_000_000:
        return value
    raise _unreadable(place, repr(value))


def _take_number(value: object, place: str) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise _unreadable(place, repr(value))


_READ: dict[str, Callable[[object, str], Any]] = {
    "to": _take_target,
    "next": _take_target,
    "then": _take_target,
    "timeout": _take_target,
    "otherwise": _take_target,
    "rule": lambda body, place: None if body is None else rule_from_json(body),
    "where": _read_where,
    "cases": _read_cases,
    "ways": _read_ways,
    "choices": _read_choices,
    "fallback": _read_names,
    "weekdays": _read_weekdays,
    "expires": lambda body, place: None if body is None else _read_span(body, place),
    **dict.fromkeys(
        ("days", "messages", "at_once", "within_hours", "grace_days", "priority_cents"), _take_whole
    ),
}


def _unreadable(place: str, problem: str) -> BadInput:
    return BadInput(
        "deployment.journey_unreadable",
        say("The journey cannot be read at '{place}': {problem}.", place=place, problem=problem[:100]),
        remedy=say("Compare it with a journey that aimwell journey export writes."),
        where={"value": place},
    )
