"""One customer's consents and the suppression list: what holds, where it comes from, how it is changed.

The history stays whole: a change adds a row, and the latest counts (``engine.consent``). A change of a marketing
consent reaches the ledger's own copy in the same breath, so that deliveries that wait see it.
Reads ``consents``, ``customers`` and ``identities``; writes ``consents`` and the store's ``consent_states`` and
``suppressions``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aimwell.core.columns import CHANNELS
from aimwell.core.errors import BadInput
from aimwell.core.ids import fold_id, list_forms
from aimwell.core.lists import join_list
from aimwell.core.tables import CONSENTS
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now
from aimwell.data.findings import ask
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.erased import load_erased
from aimwell.engine.permissions import (
    ALL_CHANNELS,
    ConsentState,
    Suppression,
    count_suppressions,
    list_suppressions,
    remember_consents,
    remove_suppression,
    suppress_customers,
    take_turn,
)
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace

PURPOSES = ("marketing", "service")
CHANNEL_TITLES: dict[str, Text] = {
    "email": say("E-mail"),
    "sms": say("SMS"),
    "push": say("App message"),
    "wechat": say("WeChat"),
    "call": say("Phone call"),
    "mail": say("Post"),
    "web": say("Website"),
    "ad": say("Advertisement"),
}
PURPOSE_TITLES: dict[str, Text] = {"marketing": say("Marketing"), "service": say("Service")}
# The address that a channel needs; the others need none that a customer file could hold.
_ADDRESSES = {"email": "email", "sms": "phone", "call": "phone", "mail": "address"}
_LANGUAGES = ("language", "lang", "locale", "preferred_language", "语言", "首选语言")


@dataclass(frozen=True)
class Answer:
    """What a customer said: ``allowed`` or not, for one channel and purpose, since when, until when, where said."""

    channel: str
    allowed: bool
    purpose: str = "marketing"
    source: str = "cli"
    since: datetime | None = None
    until: datetime | None = None
    at: datetime = field(default_factory=now)


def show_consents(workspace: Workspace, customer_id: str, *, at: datetime | None = None) -> dict[str, Any]:
    """The state per channel × purpose at an instant (default: now), the history, and the suppressions.

    BadInput when nobody is known under this number.
    """
    with workspace.read() as reader:
        person = find_person(reader, customer_id)
        states = _read_states(reader, person, at or now())
        history = ask(
            reader,
            """
            SELECT channel, purpose, allowed, since, until, source FROM consents WHERE customer_id = $customer
            ORDER BY since DESC, channel, purpose, allowed
            """,
            {"customer": person},
        )
    suppressed = _list_suppressed(workspace, {person, customer_id})
    for state in states:
        state["effective"] = state["allowed"] and not _covers(suppressed, state["channel"])
        state["expired"] = state["answered"] and not state["allowed"]
    return {"customer_id": person, "suppressed": suppressed, "states": states, "history": history}


def describe_preferences(workspace: Workspace, customer_id: str) -> dict[str, Any]:
    """What a preference centre shows: every channel × purpose with its answer, the last change, the language.

    ``reachable`` is None where a channel needs no address; ``allowed`` is None where nothing was ever said.
    """
    with workspace.read() as reader:
        person = find_person(reader, customer_id)
        found = ask(reader, "SELECT * FROM customers WHERE customer_id = $customer", {"customer": person})
        states = _read_states(reader, person, now())
    row = found[0] if found else {}
    known = {(state["channel"], state["purpose"]): state for state in states}
    suppressed = _list_suppressed(workspace, {person, customer_id})
    return {
        "customer_id": person,
        "language": _find_language(row),
        "suppressed": _covers(suppressed, ALL_CHANNELS),
        "changed_at": max((state["since"] for state in states), default=None),
        "channels": [
            {
                "channel": channel,
                "title": CHANNEL_TITLES[channel].both(),
                "reachable": bool(row.get(_ADDRESSES[channel])) if channel in _ADDRESSES else None,
                "suppressed": _covers(suppressed, channel),
                "purposes": [
                    _describe_answer(purpose, known.get((channel, purpose))) for purpose in PURPOSES
                ],
            }
            for channel in CHANNELS
        ],
    }


def set_consent(workspace: Workspace, customer_id: str, answer: Answer) -> dict[str, Any]:
    """Record what a customer said, and return what holds then (as ``show_consents``).

    BadInput for an unknown customer, channel or purpose, an answer from the future, or one that ends before it begins.
    A refusal reaches the waiting deliveries first, a permission last: a crash between never allows too much.
    """
    since = _check_answer(answer)
    day = business_day(answer.at, workspace.settings.business.zone) + timedelta(days=1)
    with workspace.run(
        "data", as_of=day, parameters={"consent": answer.channel, "source": answer.source}
    ) as run:
        person = find_person(run, customer_id)
        if not answer.allowed:
            _tell_ledger(workspace, person, answer, since)
        row = {
            "customer_id": person,
            "channel": answer.channel,
            "purpose": answer.purpose,
            "allowed": answer.allowed,
            "since": _find_free_instant(run, person, answer, since),
            "until": answer.until,
            "source": answer.source,
        }
        run.append("consents", CONSENTS.build([row]))
    if answer.allowed:
        _tell_ledger(workspace, person, answer, since)
    detail = {"allowed": answer.allowed, "source": answer.source}
    workspace.store.audit("consent.set", f"{answer.channel}/{answer.purpose}", detail)
    return show_consents(workspace, person)


def suppress(
    workspace: Workspace, customer_id: str, *, channel: str = ALL_CHANNELS, source: str = "cli"
) -> bool:
    """Never contact the customer again, on one channel or on all; False when that stood already.

    All records of a joined person are suppressed. Who is not known yet can be, too: the list outlives customer files.
    Who was erased is not written down again: nobody can be contacted under that number.
    """
    _check_channel(channel, (*CHANNELS, ALL_CHANNELS))
    erased = load_erased(workspace, anew=True)
    records = [one for one in _find_records(workspace, customer_id) if not erased.tell(one, "record")]
    return suppress_customers(workspace.store, records, channel=channel, source=source)


def unsuppress(workspace: Workspace, customer_id: str, *, channel: str | None = None) -> int:
    """Take the customer off the suppression list, one channel's line or all; how many lines went.

    Consents stay what they are: whoever refused is still not contacted.
    """
    if channel is not None:
        _check_channel(channel, (*CHANNELS, ALL_CHANNELS))
    records = _find_records(workspace, customer_id)
    with workspace.store.begin() as connection:
        removed = sum(remove_suppression(connection, record, channel) for record in records)
    if removed:
        workspace.store.audit("customer.unsuppressed", channel or ALL_CHANNELS, {"lines": removed})
    return removed


def read_suppressions(workspace: Workspace, *, limit: int = 100) -> dict[str, Any]:
    """The newest ``limit`` lines of the suppression list, and how many it has."""
    with workspace.store.begin() as connection:
        total = count_suppressions(connection)
        entries = list_suppressions(connection, limit=limit)
    return {"total": total, "suppressions": [_show_suppression(entry) for entry in entries]}


def must_not_be_contacted(workspace: Workspace, records: Iterable[str]) -> bool:
    """Whether one of the records is suppressed, or its latest word on marketing by any channel is no."""
    listed = list(records)
    if _list_suppressed(workspace, set(listed)):
        return True
    with workspace.read() as reader:
        return any(
            not state["answered"] and state["purpose"] == "marketing"
            for record in listed
            for state in _read_states(reader, record, now())
        )


def find_person(reader: Queryable, customer_id: str) -> str:
    """The customer to whom a record belongs; BadInput when neither customer nor record is known."""
    for form in list_forms(customer_id):
        found = _find_exactly(reader, form)
        if found is not None:
            return found
    raise BadInput(
        "data.unknown_customer",
        say("There is no customer '{customer}'.", customer=customer_id),
        remedy=say("Check the number; leading zeros and letters count."),
        where={"value": customer_id},
    )


def _find_exactly(reader: Queryable, customer_id: str) -> str | None:
    joined = ask(
        reader, "SELECT customer_id FROM identities WHERE record_id = $record", {"record": customer_id}
    )
    if joined:
        return str(joined[0]["customer_id"])
    known = ask(
        reader,
        """
        SELECT 1 AS found WHERE EXISTS (SELECT 1 FROM customers WHERE customer_id = $customer)
            OR EXISTS (SELECT 1 FROM consents WHERE customer_id = $customer)
        """,
        {"customer": customer_id},
    )
    return customer_id if known else None


def _find_records(workspace: Workspace, customer_id: str) -> list[str]:
    """The number itself, the customer whom it belongs to, and the other records of that customer."""
    forms = {"customer": customer_id, "folded": fold_id(customer_id)}
    with workspace.read() as reader:
        rows = ask(
            reader,
            """
            SELECT record_id, customer_id FROM identities WHERE customer_id IN ($customer, $folded)
                OR customer_id IN (
                    SELECT customer_id FROM identities WHERE record_id IN ($customer, $folded)
                )
            """,
            forms,
        )
    found = {*forms.values(), *(row["record_id"] for row in rows), *(row["customer_id"] for row in rows)}
    return sorted(found)


def _read_states(reader: Queryable, customer_id: str, at: datetime) -> list[dict[str, Any]]:
    latest = select_consents(where="customer_id = $customer")
    return ask(
        reader,
        f"""
        SELECT channel, purpose, allowed, answered, since, until, source FROM (
        {latest}
        ) AS latest ORDER BY channel, purpose
        """,
        {"customer": customer_id, **bind_instant(at)},
    )


def _check_answer(answer: Answer) -> datetime:
    """Since when the answer holds."""
    _check_channel(answer.channel, CHANNELS)
    if answer.purpose not in PURPOSES:
        raise BadInput(
            "data.unknown_purpose",
            say("The purpose '{purpose}' is not known.", purpose=answer.purpose),
            remedy=say("Use one of {purposes}.", purposes=join_list(PURPOSES)),
            where={"value": answer.purpose},
        )
    since = answer.since or answer.at
    if since > answer.at:
        raise BadInput(
            "data.consent_from_future",
            say("The answer is dated {since}, which lies in the future.", since=since.isoformat()),
            remedy=say("Record it when it was given."),
            where={"value": since.isoformat()},
        )
    if answer.until is not None and answer.until <= since:
        raise BadInput(
            "data.consent_ends_first",
            say("The answer would end at {until}, before it begins.", until=answer.until.isoformat()),
            remedy=say("Give an end after its beginning, or none."),
            where={"value": answer.until.isoformat()},
        )
    return since


def _check_channel(channel: str, known: Iterable[str]) -> None:
    names = list(known)
    if channel not in names:
        raise BadInput(
            "data.unknown_channel",
            say("The channel '{channel}' is not known.", channel=channel),
            remedy=say("Use one of {channels}.", channels=join_list(names)),
            where={"value": channel},
        )


def _find_free_instant(reader: Queryable, customer_id: str, answer: Answer, since: datetime) -> datetime:
    """There is one row for each instant: a second answer of the same instant stands a microsecond later."""
    taken = {
        row["since"]
        for row in ask(
            reader,
            """
            SELECT since FROM consents
            WHERE customer_id = $customer AND channel = $channel AND purpose = $purpose AND since >= $since
            """,
            {"customer": customer_id, "channel": answer.channel, "purpose": answer.purpose, "since": since},
        )
    }
    while since in taken:
        since += timedelta(microseconds=1)
    return since


def _tell_ledger(workspace: Workspace, customer_id: str, answer: Answer, since: datetime) -> None:
    if answer.purpose != "marketing":
        return
    until = None if answer.until is None else int(answer.until.timestamp() * 1000)
    state = ConsentState(customer_id, answer.channel, answer.allowed, int(since.timestamp() * 1000), until)
    with workspace.store.begin() as connection:
        take_turn(connection)
        remember_consents(connection, [state])


def _describe_answer(purpose: str, state: dict[str, Any] | None) -> dict[str, Any]:
    known = state or dict.fromkeys(("allowed", "since", "until", "source"))
    return {
        "purpose": purpose,
        "title": PURPOSE_TITLES[purpose].both(),
        "allowed": known["allowed"],
        "changed_at": known["since"],
        "until": known["until"],
        "source": known["source"],
    }


def _list_suppressed(workspace: Workspace, customers: set[str]) -> list[dict[str, Any]]:
    with workspace.store.begin() as connection:
        return [_show_suppression(entry) for entry in list_suppressions(connection, customers)]


def _show_suppression(entry: Suppression) -> dict[str, Any]:
    since = datetime.fromtimestamp(entry.since_ms / 1000, now().tzinfo)
    return {**vars(entry), "since": since}


def _covers(suppressed: list[dict[str, Any]], channel: str) -> bool:
    return any(entry["channel"] in (channel, ALL_CHANNELS) for entry in suppressed)


def _find_language(row: dict[str, Any]) -> str | None:
    named = {name.casefold(): value for name, value in row.items()}
    value = next((str(named[name]) for name in _LANGUAGES if named.get(name)), "").casefold()
    if value.startswith(("zh", "中", "chinese")):
        return "zh"
    return "en" if value.startswith(("en", "英")) else value or None
