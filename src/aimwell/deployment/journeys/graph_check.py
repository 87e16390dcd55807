"""Checks a journey before it may run: every error names the node and the remedy. Reads and writes no table."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date

from aimwell.core.columns import CHANNELS
from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.lists import join_list
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.deployment.journeys.graph import (
    EVENT,
    WAITS,
    Action,
    BestAction,
    Branch,
    DateEntry,
    Entry,
    EventEntry,
    Journey,
    Node,
    PropertyIs,
    ScheduleEntry,
    SegmentEntry,
    Span,
    Split,
    Wait,
    WaitDate,
    WaitEvent,
    WaitUntil,
    list_events,
    list_targets,
)
from aimwell.deployment.journeys.local_time import read_clock
from aimwell.engine.rule import ATTRIBUTE, Rule
from aimwell.engine.rule_check import validate_rule

_NAME = re.compile(r"[A-Za-z0-9_\-\u4e00-\u9fff]{1,64}")
_LONGEST_DAYS = 3_660


@dataclass(frozen=True)
class Known:
    """What names must be known to a journey; None: that is not checked."""

    channels: Collection[str] = CHANNELS
    contents: Collection[str] | None = None
    types: Mapping[str, Type] | None = None
    segments: Mapping[str, Rule] | None = None


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a journey, and at which node (empty: the whole)."""

    code: str
    place: str
    message: Text
    remedy: Text


def check_journey(journey: Journey, known: Known | None = None) -> None:
    """BadInput with the first error, if there is one."""
    for finding in find_errors(journey, known or Known()):
        raise BadInput(
            f"deployment.journey_{finding.code}",
            finding.message,
            remedy=finding.remedy,
            where={"value": finding.place},
        )


def find_errors(journey: Journey, known: Known) -> Iterator[Finding]:
    """Everything that is wrong, the whole first, then node by node."""
    yield from _check_whole(journey)
    yield from _check_targets(journey)
    yield from _check_reached(journey)
    yield from _check_cycles(journey)
    yield from _check_decided(journey)
    for number, entry in enumerate(journey.entries, 1):
        yield from _check_entry(entry, f"entries[{number}]", known)
    for name, node in journey.nodes:
        yield from _check_node(node, name, known)
    for place, rule in _list_rules(journey):
        yield from _check_rule(rule, place, known)


def _check_whole(journey: Journey) -> Iterator[Finding]:
    if not _NAME.fullmatch(journey.name):
        yield Finding(
            "name",
            "",
            say("'{name}' cannot be the name of a journey.", name=journey.name[:80]),
            say("Use up to 64 letters, digits, - and _."),
        )
    if not journey.entries:
        yield Finding(
            "no_entry",
            "",
            say("The journey {name} has no entry: nobody would ever be in it.", name=journey.name),
            say("Add an entry: an event, a segment, a schedule or a date."),
        )
    if not 0 <= journey.holdout < 1:
        yield _bad_value("holdout", str(journey.holdout), say("Use a share from 0 up to, not including, 1."))
    again = journey.reentry
    if again.at_once < 1 or again.days < 0 or again.again not in ("never", "after", "always"):
        yield _bad_value(
            "reentry",
            str(again.again),
            say("again is never, after (with days) or always; at_once is 1 or more."),
        )
    if journey.cap is not None and (journey.cap.messages < 1 or journey.cap.days < 1):
        yield _bad_value("cap", str(journey.cap.messages), say("Use whole numbers of at least 1."))
    for event in list_events(journey):
        if not event.event.strip():
            yield _bad_value("event", event.event, say("Name the event."))
    for number, one in enumerate(journey.exits, 1):
        if not (one.event or one.left_segment or one.rule):
            yield _bad_value(f"exits[{number}]", "", say("Give an event, left_segment or a rule."))


def _check_targets(journey: Journey) -> Iterator[Finding]:
    names = {name for name, _ in journey.nodes}
    places = [(f"entries[{n}]", entry.to) for n, entry in enumerate(journey.entries, 1)]
    places += [(name, target) for name, node in journey.nodes for _, target in list_targets(node) if target]
    places += [("moves", new) for _, new in journey.moves]
    for place, target in places:
        if target not in names:
            yield Finding(
                "no_target",
                place,
                say("'{place}' leads to '{target}', and there is no such node.", place=place, target=target),
                say("The nodes are: {names}.", names=join_list(sorted(names)) or "–"),
            )
    for name in names:
        if not _NAME.fullmatch(name):
            yield _bad_value(name[:80], name[:80], say("Use up to 64 letters, digits, - and _."))


def _check_reached(journey: Journey) -> Iterator[Finding]:
    nodes = dict(journey.nodes)
    reached: set[str] = set()
    waiting = [entry.to for entry in journey.entries] + [new for _, new in journey.moves]
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in reached:
            reached.add(name)
            waiting += [target for _, target in list_targets(nodes[name]) if target]
    for name in nodes:
        if name not in reached and journey.entries:
            yield Finding(
                "unreachable",
                name,
                say("Nobody ever comes to the node '{name}'.", name=name),
                say("Lead a way to it, or remove it."),
            )


def _check_cycles(journey: Journey) -> Iterator[Finding]:
    """A circle is allowed only where people wait in it: else one step would never end."""
    nodes = dict(journey.nodes)
    done: set[str] = set()
    for start in nodes:
        path: list[str] = []
        waiting: list[tuple[str, bool]] = [(start, True)]
        while waiting:
            name, enters = waiting.pop()
            if not enters:
                done.add(path.pop())
                continue
            if name in path:
                circle = " → ".join([*path[path.index(name) :], name])
                yield Finding(
                    "endless",
                    name,
                    say("The way {circle} leads in a circle without a wait.", circle=circle),
                    say("Put a wait of a minute or more into it."),
                )
                return
            if name in done or name not in nodes or holds_time(nodes[name]):
                continue
            path.append(name)
            waiting.append((name, False))
            waiting += [(target, True) for _, target in list_targets(nodes[name]) if target]


def _check_decided(journey: Journey) -> Iterator[Finding]:
    """What a best action reserves is for a message that is sent at once."""
    nodes = dict(journey.nodes)
    for name, node in journey.nodes:
        for way, target in node.choices if isinstance(node, BestAction) else ():
            waiting, reached = [target], set[str]()
            while waiting:
                at = waiting.pop()
                if at is None or at not in nodes or at in reached or isinstance(nodes[at], Action):
                    continue
                reached.add(at)
                waiting += [further for _, further in list_targets(nodes[at])]
            if any(isinstance(nodes[at], WAITS) for at in reached):
                yield Finding(
                    "decided_early",
                    name,
                    say(
                        "The way '{way}' of '{place}' waits before it comes to a message.",
                        way=way,
                        place=name,
                    ),
                    say("Put the wait before the best action: what it reserves is not kept through a wait."),
                )


def holds_time(node: Node) -> bool:
    """Whether nobody passes ``node`` within one moment (a date may lie in the past)."""
    match node:
        case Wait(span=span):
            return _count_minutes(span) > 0
        case WaitEvent(span=span):
            return _count_minutes(span) > 0
        case WaitUntil():
            return True
        case _:
            return False


def _count_minutes(span: Span) -> int:
    return span.days * 1440 + span.hours * 60 + span.minutes


def _check_entry(entry: Entry, place: str, known: Known) -> Iterator[Finding]:
    match entry:
        case EventEntry(within_hours=hours, event=event):
            if hours < 1:
                yield _bad_value(place, str(hours), say("Use whole numbers of at least 1."))
            yield from _check_where(event.where, place)
        case SegmentEntry(segment=segment, moment=moment):
            if moment not in ("enters", "leaves"):
                yield _bad_value(place, str(moment), say("moment is enters or leaves."))
            if known.segments is not None and segment not in known.segments:
                yield Finding(
                    "no_segment",
                    place,
                    say("The segment '{name}' that '{place}' names is not known.", name=segment, place=place),
                    say("Save it first: aimwell analysis segment save, then run the analysis."),
                )
        case ScheduleEntry():
            yield from _check_schedule(entry, place)
        case DateEntry(at=at, of=of, days=days, every=every, grace_days=grace):
            yield from _check_clock(at, place)
            yield from _check_date(of, days, place, known, events=False)
            if every not in ("year", "once") or not 0 <= grace <= 60:
                yield _bad_value(place, str(every), say("every is year or once; grace_days is 0 to 60."))


def _check_schedule(entry: ScheduleEntry, place: str) -> Iterator[Finding]:
    yield from _check_clock(entry.at, place)
    most = {"week": 7, "month": 31}.get(entry.every)
    if entry.every not in ("day", "week", "month", "once"):
        yield _bad_value(place, str(entry.every), say("every is day, week, month or once."))
    elif most is not None and not 1 <= (entry.day or 0) <= most:
        yield _bad_value(
            place, str(entry.day), say("Give day: 1 (Monday) to 7 of a week, 1 to 31 of a month.")
        )
    elif entry.every == "once" and _read_day(entry.date) is None:
        yield _bad_value(place, str(entry.date), say("Give date: the day, as YYYY-MM-DD."))


def _read_day(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text or "")
    except ValueError:
        return None


def _check_node(node: Node, name: str, known: Known) -> Iterator[Finding]:
    match node:
        case Wait(span=span) | WaitEvent(span=span):
            if (
                not 1 <= _count_minutes(span) <= _LONGEST_DAYS * 1440
                or min(span.days, span.hours, span.minutes) < 0
            ):
                yield _bad_value(name, str(span.days), say("Wait from a minute to ten years."))
            if isinstance(node, WaitEvent):
                yield from _check_where(node.event.where, name)
        case WaitUntil(at=at, weekdays=weekdays):
            yield from _check_clock(at, name)
            if not set(weekdays) <= set(range(1, 8)):
                yield _bad_value(name, str(weekdays), say("Weekdays are numbers from 1 (Monday) to 7."))
        case WaitDate(at=at, of=of, days=days):
            yield from _check_clock(at, name)
            yield from _check_date(of, days, name, known, events=True)
        case Split(ways=ways):
            if (
                not ways
                or min(way.share for way in ways) < 0
                or abs(sum(way.share for way in ways) - 1) > 1e-9
            ):
                yield Finding(
                    "shares",
                    name,
                    say("The shares of the split '{name}' do not add up to 1.", name=name),
                    say("Give every way a share of at least 0; together they are 1."),
                )
        case Branch(cases=cases):
            for case in cases:
                yield from _check_where(case.where, name)
            if not all(case.rule or case.where for case in cases):
                yield _bad_value(
                    name, "", say("Every case has a rule or a condition; the rest goes otherwise.")
                )
        case BestAction(choices=()):
            yield _bad_value(name, "", say("Name the actions and where each leads."))
        case Action():
            yield from _check_action(node, name, known)


def _check_action(node: Action, name: str, known: Known) -> Iterator[Finding]:
    for channel in (node.channel, *node.fallback):
        if channel not in known.channels:
            yield Finding(
                "no_channel",
                name,
                say(
                    "The node '{name}' sends by '{channel}', which is no channel.", name=name, channel=channel
                ),
                say("The channels are: {names}.", names=join_list(known.channels)),
            )
    if known.contents is not None and node.content not in known.contents:
        yield Finding(
            "no_content",
            name,
            say(
                "The node '{name}' sends the content '{content}', which is not known.",
                name=name,
                content=node.content,
            ),
            say("The contents are: {names}.", names=join_list(sorted(known.contents))),
        )
    if node.purpose not in ("marketing", "service"):
        yield _bad_value(name, str(node.purpose), say("purpose is marketing or service."))
    if node.expires is not None and _count_minutes(node.expires) < 1:
        yield _bad_value(name, "expires", say("Wait from a minute to ten years."))


def _check_where(where: Iterable[PropertyIs], place: str) -> Iterator[Finding]:
    for one in where:
        if isinstance(one.value, bool) and one.operator not in ("=", "!="):
            yield _bad_value(place, one.name, say("Yes and no are compared with = and != only."))


def _check_clock(text: str, place: str) -> Iterator[Finding]:
    if read_clock(text) is None:
        yield _bad_value(place, str(text), say("Write the time as hh:mm, such as 09:00."))


def _check_date(of: str, days: int, place: str, known: Known, *, events: bool) -> Iterator[Finding]:
    if abs(days) > _LONGEST_DAYS:
        yield _bad_value(place, str(days), say("Use at most 3,660 days before or after."))
    if of.startswith(EVENT):
        if not events:
            yield _bad_value(place, of, say("An entry by date reads an attribute (customers.…) or a tag."))
    elif known.types is not None and of not in known.types:
        yield Finding(
            "no_date",
            place,
            say(
                "'{place}' reads the date '{name}', and there is no such attribute or tag.",
                place=place,
                name=of,
            ),
            say(
                "Load the column first; an attribute is written as {example}.", example=f"{ATTRIBUTE}birthday"
            ),
        )


def _list_rules(journey: Journey) -> Iterator[tuple[str, Rule]]:
    for name, node in journey.nodes:
        if isinstance(node, Branch):
            yield from ((name, case.rule) for case in node.cases if case.rule is not None)
    for number, one in enumerate(journey.exits, 1):
        if one.rule is not None:
            yield f"exits[{number}]", one.rule
    for number, entry in enumerate(journey.entries, 1):
        if isinstance(entry, ScheduleEntry):
            yield f"entries[{number}]", entry.rule


def _check_rule(rule: Rule, place: str, known: Known) -> Iterator[Finding]:
    if known.types is None:
        return
    try:
        validate_rule(rule, known.types, segments=known.segments or {})
    except AimwellError as error:
        yield Finding(
            "rule",
            place,
            say("The rule of '{place}' cannot be decided: {problem}", place=place, problem=error.message),
            error.remedy or say("Correct the rule."),
        )


def _bad_value(place: str, value: str, remedy: Text) -> Finding:
    return Finding(
        "value", place, say("'{value}' does not fit at '{place}'.", value=value[:80], place=place), remedy
    )
