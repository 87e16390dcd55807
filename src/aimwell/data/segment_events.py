"""What a message of the Segment vocabulary means: identify, track, page, screen, group and alias.

Pure translation of one message (a JSON object as Segment's specification has it) into a row of ``events`` and what
else it says: lines of an order, attributes of the customer, identifiers of one person. Nothing is read or written.

A client's clock cannot be trusted, but its clock when it sent and when the thing happened is the same one:
``timestamp = receivedAt − (sentAt − originalTimestamp)``, as Segment corrects it. Somebody who is known only by an
``anonymousId`` is the customer ``anon:<anonymousId>`` until identity joins the two.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from aimwell.core.errors import BadInput
from aimwell.core.ids import fold_id
from aimwell.core.text import say
from aimwell.data.segment_orders import read_order_lines

ANONYMOUS = "anon:"
MOST_BYTES = 65_536
"""Size of one message; Segment itself takes 32 KB."""
AHEAD = timedelta(minutes=5)
"""A server's clock may be so far ahead of ours."""
_FIRST = datetime(1990, 1, 1, tzinfo=UTC)
_LONGEST = timedelta(days=36_525)
"""Under way for longer than that, it is refused as too old whenever it comes."""
_NAMES = {
    "identify": "User Identified",
    "page": "Page Viewed",
    "screen": "Screen Viewed",
    "group": "Group Joined",
    "alias": "User Aliased",
}
_ENCODE = json.JSONEncoder(
    # An object that holds itself ends in a RecursionError all the same.
    ensure_ascii=False,
    separators=(",", ":"),
    allow_nan=False,
    check_circular=False,
).encode
_ENCODE_JSON = msgspec.json.Encoder().encode


class JsonObject(dict[str, Any]):
    """A message that ``msgspec`` read out of at most ``MOST_BYTES`` of JSON: nothing is left to check of its text."""


@dataclass(frozen=True)
class Terms:
    """How messages are read: the business's zone and currency, the source, and when they reached us.

    ``is_live``: they come as they are sent. What a file holds may have been sent long before it is read.
    """

    source: str
    zone: ZoneInfo
    currency: str
    received_at: datetime
    is_live: bool = True


@dataclass
class Message:
    """One message, read: ``event`` in the order of the columns of ``events``."""

    id: str
    customer_id: str
    occurred_at: datetime
    occurred_on: date
    event: tuple[Any, ...]
    traits: dict[str, str] = field(default_factory=dict)
    identifiers: list[tuple[str, str]] = field(default_factory=list)
    """(record, anonymous id) pairs: records that share one are one person."""
    lines: list[dict[str, Any]] = field(default_factory=list)
    lines_id: str = ""
    """Under which its lines are known: an order that is told twice has its lines once."""
    problem: BadInput | None = None
    """Why the lines of its order could not be taken, although the event was."""
    is_dated: bool = True
    """Whether it tells its day itself; else it happened whenever it is taken in, each time on another day."""


def read_message(message: object, terms: Terms) -> Message:
    """Read one message; BadInput says why it cannot be taken in."""
    if not isinstance(message, dict):
        raise _refuse_shape(message)
    is_checked = isinstance(message, JsonObject)
    if not is_checked:
        _check_text(message)
    kind = message.get("type")
    name = _read_name(message, kind)
    user, anonymous = _read_person(message, "userId"), _read_person(message, "anonymousId")
    customer = user or (ANONYMOUS + anonymous if anonymous else None)
    if customer is None:
        raise BadInput(
            "data.event_without_person",
            say("The event has neither userId nor anonymousId."),
            remedy=say("Send one of them with every event."),
            where={"column": "userId"},
        )
    received = _read_received(message, terms)
    # How long it was under way is known only where the instant of its arrival is.
    is_timed = terms.is_live or message.get("receivedAt") is not None
    occurred = _find_instant(message, received, is_timed=is_timed)
    properties = _read_object(message, "properties")
    context = _read_object(message, "context")
    # Without an id of its own a message is known by what it says; when it was sent again is not part of that.
    identity = _read_id(message, "messageId") or _name_by_content(message)
    read = Message(identity, customer, occurred, occurred.astimezone(terms.zone).date(), ())
    read.is_dated = _is_dated(message, terms)
    read.event = (
        identity,
        customer,
        name,
        occurred,
        read.occurred_on,
        _first_text(properties.get("product_id"), properties.get("productId"), properties.get("sku")),
        _first_text(properties.get("campaign_id"), _read_object(context, "campaign").get("name")),
        _first_text(properties.get("channel"), message.get("channel")),
        _show_rest(message, properties, context, is_checked=is_checked),
        received,
        terms.source,
        False,
    )
    _add_person(read, message, kind, user, anonymous)
    if kind == "track" and name in ("Order Completed", "Order Refunded"):
        _add_lines(read, name, properties, terms)
    return read


def name_by_content(message: object) -> str:
    """An id made of what a message says, for messages without one of their own, and for those refused."""
    return _name_by_content(message if isinstance(message, dict) else {"": repr(message)})


def _add_person(
    read: Message, message: Mapping[str, Any], kind: object, user: str | None, anonymous: str | None
) -> None:
    if kind == "identify":
        read.traits = _read_traits(_read_object(message, "traits"), "")
    elif kind == "group":
        read.traits = _read_traits(_read_object(message, "traits"), "group_")
        group = _read_id(message, "groupId")
        if group:
            read.traits["group_id"] = group
    previous = _read_person(message, "previousId") if kind == "alias" else None
    if user and anonymous:
        read.identifiers += [(user, anonymous), (ANONYMOUS + anonymous, anonymous)]
    if previous:
        # Whether the earlier id was an anonymous one or a user's, the message does not say.
        read.identifiers += [(name, previous) for name in (read.customer_id, ANONYMOUS + previous, previous)]


def _add_lines(read: Message, name: str, properties: Mapping[str, Any], terms: Terms) -> None:
    try:
        read.lines_id, lines = read_order_lines(
            properties,
            refund=name == "Order Refunded",
            message_id=read.id,
            terms=(terms.source, terms.currency),
        )
    except BadInput as error:
        read.problem = error
        return
    local = read.occurred_at.astimezone(terms.zone)
    fixed = {
        "customer_id": read.customer_id,
        "ordered_at": read.occurred_at,
        "ordered_on": read.occurred_on,
        "ordered_hour": local.hour,
        "source": terms.source,
        "simulated": False,
    }
    read.lines = [{**line, **fixed} for line in lines]


def _check_text(message: Mapping[str, Any]) -> None:
    try:
        size = len(_ENCODE(message).encode())
    except (ValueError, TypeError, RecursionError) as error:
        raise BadInput(
            "data.event_not_text",
            say("The event holds characters or numbers that JSON cannot carry."),
            remedy=say("Send valid UTF-8 and finite numbers."),
        ) from error
    if size > MOST_BYTES:
        raise BadInput(
            "data.event_too_large",
            say("The event has {size} bytes; at most {most} are taken.", size=size, most=MOST_BYTES),
            remedy=say("Send large texts elsewhere and their address here."),
        )


def _read_name(message: Mapping[str, Any], kind: object) -> str:
    if kind == "track":
        name = message.get("event")
        if not isinstance(name, str) or not name.strip():
            raise BadInput(
                "data.event_without_name",
                say("The event has no name."),
                remedy=say("Send the name in the field event, such as Product Viewed."),
                where={"column": "event"},
            )
        return name.strip()
    if not isinstance(kind, str) or kind not in _NAMES:
        raise BadInput(
            "data.event_of_unknown_type",
            say("An event of the type '{type}' is not known.", type=str(kind)[:100]),
            remedy=say("Use identify, track, page, screen, group or alias."),
            where={"column": "type", "value": str(kind)[:100]},
        )
    return _NAMES[kind]


def _read_id(message: Mapping[str, Any], name: str) -> str | None:
    """An identifier as text; whole numbers keep their digits, anything else is refused."""
    value = message.get(name)
    if value is None:
        return None
    if isinstance(value, str):
        value = value.strip()
    elif isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str) or len(value) > 255 or "\x00" in value:
        raise BadInput(
            "data.event_bad_id",
            say("The field {field} holds no identifier.", field=name),
            remedy=say("Send a text of at most 255 characters."),
            where={"column": name, "value": str(value)[:100]},
        )
    return value or None


def _read_person(message: Mapping[str, Any], name: str) -> str | None:
    """An identifier of somebody, in the one form of customer numbers; as in files, or they would be two people."""
    value = _read_id(message, name)
    return value if value is None or value.isascii() else fold_id(value) or None


def _read_object(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = message.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput(
            "data.event_bad_object",
            say("The field {field} is not an object.", field=name),
            remedy=say("Send names and values in braces."),
            where={"column": name, "value": str(value)[:100]},
        )
    return value


def _read_instant(message: Mapping[str, Any], name: str) -> datetime | None:
    """ISO 8601 (UTC where it names no zone), or milliseconds since 1970."""
    value = message.get(name)
    if value is None:
        return None
    try:
        if isinstance(value, int) and not isinstance(value, bool):
            return datetime.fromtimestamp(value / 1000, UTC)
        found = datetime.fromisoformat(value)
        if found.tzinfo is UTC:
            return found
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, TypeError, OverflowError, OSError) as error:
        raise BadInput(
            "data.event_bad_instant",
            say("The field {field} holds no instant.", field=name),
            remedy=say("Write it as 2026-01-31T12:00:00Z."),
            where={"column": name, "value": str(value)[:100]},
        ) from error


def _read_received(message: Mapping[str, Any], terms: Terms) -> datetime:
    """When it reached us, or a server before us; never later than now."""
    received = _read_instant(message, "receivedAt")
    return terms.received_at if received is None else min(received, terms.received_at)


def _is_dated(message: Mapping[str, Any], terms: Terms) -> bool:
    # When it was sent says nothing of a live message: sent again, it says something else.
    return (
        message.get("timestamp") is not None
        or message.get("originalTimestamp") is not None
        or message.get("receivedAt") is not None
        or (not terms.is_live and message.get("sentAt") is not None)
    )


def _find_instant(message: Mapping[str, Any], received: datetime, *, is_timed: bool) -> datetime:
    """When it happened: on our clock where ``received`` is when it arrived (``is_timed``), else on the sender's."""
    original = _read_instant(message, "originalTimestamp") or _read_instant(message, "timestamp")
    sent = _read_instant(message, "sentAt")
    if not is_timed:
        occurred = original or sent or received
    elif original is None:
        return received
    else:
        # What was sent before it happened was stamped by two clocks: then only its arrival is known.
        under_way = timedelta() if sent is None else min(max(sent - original, timedelta()), _LONGEST)
        occurred = original if sent is None else received - under_way
    if occurred > received + AHEAD:
        raise BadInput(
            "data.event_from_future",
            say("The event happened at {at}, after it was received.", at=occurred.isoformat()),
            remedy=say("Correct the sender's clock, or send sentAt with every event."),
            where={"column": "timestamp", "value": occurred.isoformat()},
        )
    if occurred < _FIRST:
        raise BadInput(
            "data.event_from_long_ago",
            say("The event happened at {at}, before 1990.", at=occurred.isoformat()),
            remedy=say("Correct its timestamp."),
            where={"column": "timestamp", "value": occurred.isoformat()},
        )
    return min(occurred, received)


def _show_rest(
    message: Mapping[str, Any], properties: Mapping[str, Any], context: Mapping[str, Any], *, is_checked: bool
) -> str | None:
    """What no column of its own holds, as JSON: properties at the top, then traits and context."""
    rest = dict(properties)
    if isinstance(message.get("name"), str):
        rest.setdefault("name", message["name"])
    for name, value in (("traits", message.get("traits")), ("context", context)):
        if value:
            rest.setdefault(name, value)
    if not rest:
        return None
    return _ENCODE_JSON(rest).decode() if is_checked else _ENCODE(rest)


def _read_traits(traits: Mapping[str, Any], prefix: str) -> dict[str, str]:
    """Attributes by column name; an address or company given as an object is told part by part."""
    found: dict[str, str] = {}
    for name, value in traits.items():
        if isinstance(value, dict):
            found.update(_read_traits(value, f"{prefix}{name}_"))
        elif value is not None and not isinstance(value, list):
            plain = "true" if value is True else "false" if value is False else str(value).strip()
            if plain:
                found[name_column(prefix + name)] = plain[:1000]
    return found


def name_column(name: str) -> str:
    """``firstName`` and ``First name`` as ``first_name``; letters of every script stay."""
    spaced = "".join(
        f"_{c}" if c.isupper() and n and not name[n - 1].isupper() else c for n, c in enumerate(name)
    )
    words = "".join(c if c.isalnum() else " " for c in spaced.lower()).split()
    return "_".join(words)[:63] or "trait"


def _first_text(*values: object) -> str | None:
    for value in values:
        if isinstance(value, str) and value.strip():
            return value.strip()[:255]
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
    return None


def _name_by_content(message: Mapping[str, Any]) -> str:
    said = {name: value for name, value in message.items() if name not in ("sentAt", "receivedAt")}
    text = json.dumps(said, ensure_ascii=True, sort_keys=True, default=str)
    return "content:" + blake2b(text.encode(), digest_size=16).hexdigest()


def _refuse_shape(message: object) -> BadInput:
    return BadInput(
        "data.event_no_object",
        say("The event is not a JSON object."),
        remedy=say("Send one object per event, in braces."),
        where={"value": str(message)[:100]},
    )
