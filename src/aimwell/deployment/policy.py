"""Who may be contacted: suppression, consent, a known address, the universal contact cap.

``judge`` runs in the very transaction that reserves deliveries, so that a withdrawal or another plan's contact
is seen before, never after. Contacts by live decisions count like those of campaigns. Reads the store's
``suppressions``, ``consent_states``, ``deliveries`` and ``live_turns``; writes nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import sqlalchemy as sa

from aimwell.core.text import Text, say
from aimwell.engine.ledger_tables import CONSENT_STATES, CONTACT_STATES, DELIVERIES
from aimwell.engine.live_contacts import LiveContacts
from aimwell.engine.permissions import ALL_CHANNELS, ConsentState, list_suppressions

REASONS: dict[str, Text] = {
    "suppressed": say("The customer is on the suppression list"),
    "no_consent": say("No marketing consent for this channel is known"),
    "consent_withdrawn": say("Marketing consent for this channel was withdrawn"),
    "consent_expired": say("Marketing consent for this channel has ended"),
    "erased": say("The person was erased."),
    "no_address": say("No usable address for this channel"),
    "no_channel": say("This channel is not connected"),
    "contact_cap": say("The contact cap is reached"),
    "stopped": say("The campaign was stopped"),
    "rejected": say("The provider rejected the message"),
    "bad_recipient": say("The provider does not know the recipient"),
    "temporary_rejection": say("The provider asked to try again later"),
    "gave_up": say("Tried as often as allowed without success"),
    "connection_failed": say("The provider could not be reached"),
    "connection_lost": say("The connection broke before the provider answered"),
    "worker_lost": say("The sending process ended before the provider's answer was recorded"),
    "content_error": say("The message could not be written for this customer"),
}


@dataclass(frozen=True)
class ContactRules:
    """At most ``cap`` contacts in any ``cap_days`` consecutive business days, over all plans and channels."""

    cap: int
    cap_days: int


@dataclass(frozen=True)
class Candidate:
    """A queued delivery that asks to be reserved."""

    delivery_id: str
    customer_id: str
    channel: str
    contact_on: date
    reachable: bool
    prior_contacts: int


def title_reason(code: str) -> Text:
    """The reason ``code`` for people; an unknown code (a provider's own) is shown as it is."""
    return REASONS.get(code) or say("Provider's code {code}", code=code)


class LiveMemory:
    """What a worker remembers of live contacts from one reservation to the next; without it they are read anew."""

    def __init__(self) -> None:
        self._known: LiveContacts | None = None

    def catch_up(self, connection: sa.Connection, first: date) -> LiveContacts:
        """All live contacts from ``first`` on, as they stand in this transaction, which holds the gate's turn."""
        if self._known is None or self._known.first > first:
            self._known = LiveContacts(first)
        self._known.catch_up(connection)
        return self._known


def judge(
    connection: sa.Connection,
    candidates: Sequence[Candidate],
    rules: ContactRules,
    now_ms: int,
    *,
    live: LiveMemory | None = None,
) -> dict[str, str | None]:
    """For each delivery id: None when it may go out at ``now_ms``, else the code of the first rule that forbids it."""
    if not candidates:
        return {}
    suppressed = _find_suppressed(connection, candidates)
    consents = _find_consents(connection, candidates)
    contacts = _find_contacts(connection, candidates, rules)
    first = min(candidate.contact_on for candidate in candidates) - timedelta(days=rules.cap_days)
    decided = (live or LiveMemory()).catch_up(connection, first)
    for day, customer, number in decided.count(_list_customers(candidates)):
        contacts[customer][day] += number
    verdicts: dict[str, str | None] = {}
    for candidate in candidates:
        reason = _find_objection(candidate, suppressed, consents, now_ms)
        if reason is None and _count_near(contacts, candidate, rules) >= rules.cap:
            reason = "contact_cap"
        if reason is None:
            contacts[candidate.customer_id][candidate.contact_on] += 1
        verdicts[candidate.delivery_id] = reason
    return verdicts


def _find_objection(
    candidate: Candidate,
    suppressed: set[tuple[str, str]],
    consents: dict[tuple[str, str], ConsentState],
    now_ms: int,
) -> str | None:
    customer, channel = candidate.customer_id, candidate.channel
    if (customer, ALL_CHANNELS) in suppressed or (customer, channel) in suppressed:
        return "suppressed"
    consent = consents.get((customer, channel))
    if consent is None:
        return "no_consent"
    if not consent.allowed:
        return "consent_withdrawn"
    if consent.until_ms is not None and consent.until_ms <= now_ms:
        return "consent_expired"
    return None if candidate.reachable else "no_address"


def _count_near(contacts: dict[str, Counter[date]], candidate: Candidate, rules: ContactRules) -> int:
    # Both sides: a plan for an earlier day that is launched late must not overfill a window that ends later.
    days = contacts[candidate.customer_id].items()
    near = sum(count for day, count in days if abs((day - candidate.contact_on).days) < rules.cap_days)
    return near + candidate.prior_contacts


def _find_suppressed(connection: sa.Connection, candidates: Sequence[Candidate]) -> set[tuple[str, str]]:
    found = list_suppressions(connection, _list_customers(candidates))
    return {(entry.customer_id, entry.channel) for entry in found}


def _find_consents(
    connection: sa.Connection, candidates: Sequence[Candidate]
) -> dict[tuple[str, str], ConsentState]:
    columns = [CONSENT_STATES.c[name] for name in ConsentState._fields]
    query = sa.select(*columns).where(CONSENT_STATES.c.customer_id.in_(_list_customers(candidates)))
    return {(row.customer_id, row.channel): ConsentState(*row) for row in connection.execute(query)}


def _find_contacts(
    connection: sa.Connection, candidates: Sequence[Candidate], rules: ContactRules
) -> dict[str, Counter[date]]:
    days = [candidate.contact_on for candidate in candidates]
    span = timedelta(days=rules.cap_days)
    query = (
        sa.select(DELIVERIES.c.customer_id, DELIVERIES.c.contact_on, sa.func.count().label("contacts"))
        .where(
            DELIVERIES.c.customer_id.in_(_list_customers(candidates)),
            DELIVERIES.c.contact_on > min(days) - span,
            DELIVERIES.c.contact_on < max(days) + span,
            DELIVERIES.c.state.in_(CONTACT_STATES),
        )
        .group_by(DELIVERIES.c.customer_id, DELIVERIES.c.contact_on)
    )
    contacts: dict[str, Counter[date]] = defaultdict(Counter)
    for row in connection.execute(query):
        contacts[row.customer_id][row.contact_on] += row.contacts
    return contacts


def _list_customers(candidates: Sequence[Candidate]) -> list[str]:
    return sorted({candidate.customer_id for candidate in candidates})
