"""Messages of journeys: the content of an action, filled with what is known of the customer when it is sent.

Reads ``customers`` and the store's ``journey_enrolments`` (what events brought); writes only what ``following`` does.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from threading import Lock
from typing import Any

import pyarrow as pa

from aimwell.core.text import Language
from aimwell.deployment.audience import find_name
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.composing import MessageMaker, Person
from aimwell.deployment.journeys.addresses import find_address
from aimwell.deployment.journeys.enrolments import read_contexts
from aimwell.deployment.journeys.following import RecordFollower
from aimwell.deployment.journeys.local_time import read_date
from aimwell.deployment.policy import Candidate
from aimwell.deployment.tracking.message import Tracker
from aimwell.deployment.unsubscribe import ADDRESS_VARIABLE
from aimwell.engine.workspace import Workspace

_LANGUAGES = ("language", "lang", "locale", "语言")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RESERVED = ("business", "customer_name", "unsubscribe_url", "preferences_url", "coupon_code", "enrolment")
"""What no event may say in a message."""
_MOST_KEPT = 100_000

_Known = tuple[dict[str, Any], dict[str, Any]]


class JourneyComposers:
    """Makes the messages of all journeys of a workspace; one object serves the threads of all channels."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = Lock()
        self._known: dict[str, _Known | None] = {}
        self._follower = RecordFollower(workspace)
        track = Tracker.open(workspace).track if os.environ.get(ADDRESS_VARIABLE) else None
        self._maker = MessageMaker(workspace, track=track)

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        """Read the customers of these as they are now, and what events brought them.

        What was queued under a record that is another customer's by now is queued again as that customer's.
        """
        moved = self._follower.follow(candidates)
        candidates = [row for row in candidates if row.delivery_id not in moved]
        self._maker.prepare(candidates)
        customers = _read_customers(self._workspace, [row.customer_id for row in candidates])
        numbers = [number for number in map(_find_enrolment, candidates) if number is not None]
        with self._workspace.store.snapshot() as connection:
            contexts = read_contexts(connection, numbers)
        with self._lock:
            if len(self._known) > _MOST_KEPT:
                # Of deliveries that were reserved and given back, again and again.
                self._known.clear()
            self._known |= dict.fromkeys(moved)
            for row in candidates:
                context = contexts.get(_find_enrolment(row) or 0) or {}
                self._known[row.delivery_id] = (customers.get(row.customer_id, {}), context)

    def compose(self, candidate: Candidate) -> Message:
        """The message of a reserved delivery; LookupError or ValueError when it cannot be made."""
        if candidate.delivery_id not in self._known:
            self.prepare([candidate])
        with self._lock:
            known = self._known.pop(candidate.delivery_id, ({}, {}))
        if known is None:
            raise LookupError("it is another customer's by now")
        customer, context = known
        person = Person(
            candidate.customer_id,
            find_address(candidate.channel, candidate.customer_id, customer),
            find_name(customer),
            read_language(customer),
        )
        language = person.language or self._maker.language
        details = {"node": str((candidate.detail or {}).get("node", ""))}
        return self._maker.make(candidate, person, fill(context, language), details=details)


def fill(context: Mapping[str, Any], language: Language) -> dict[str, Any]:
    """What events brought, as templates see it: dates as people write them."""
    return {
        name: _show(value, language)
        for name, value in context.items()
        if _NAME.fullmatch(name) and name not in _RESERVED and value is not None
    }


def read_language(customer: Mapping[str, Any]) -> Language | None:
    """The language that the customer's attributes name; None when they name none that we speak."""
    named = next((str(customer[name]).strip().lower() for name in _LANGUAGES if customer.get(name)), "")
    return "zh" if named.startswith(("zh", "中")) else "en" if named.startswith("en") else None


def _show(value: Any, language: Language) -> Any:
    day = read_date(value) if isinstance(value, str) and "-" in value else None
    if day is None:
        return value
    return f"{day.year}年{day.month}月{day.day}日" if language == "zh" else f"{day.day} {day:%B %Y}"


def _find_enrolment(candidate: Candidate) -> int | None:
    found = (candidate.detail or {}).get("enrolment")
    return found if isinstance(found, int) else None


def _read_customers(workspace: Workspace, customers: Sequence[str]) -> dict[str, dict[str, Any]]:
    sql = "SELECT c.* FROM customers AS c JOIN asked ON asked.customer_id = c.customer_id"
    with workspace.read() as reader:
        reader.register("asked", pa.table({"customer_id": pa.array(sorted(set(customers)), pa.string())}))
        return {row["customer_id"]: row for row in reader.query(sql).to_pylist()}
