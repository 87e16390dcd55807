"""Who may be contacted now: suppression, consent by purpose, address, contact caps, the hour, and whose turn it is.

``judge`` runs in the very transaction that reserves deliveries, so that a withdrawal or another source's contact
is seen before, never after. Contacts by live decisions count like those of campaigns and journeys. Marketing needs
consent and keeps to the caps; service messages do not, but nobody on the suppression list of all channels gets any,
and both keep quiet hours. Reads the store's ``suppressions``, ``consent_states``, ``deliveries`` and ``live_turns``;
writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from aimwell.core.text import Text, say
from aimwell.deployment.pressure import (
    Candidate,
    Cap,
    ContactRules,
    LiveMemory,
    Pressure,
    Purpose,
    list_customers,
    read_pressure,
)
from aimwell.deployment.tracking.preferences import read_refused_topics
from aimwell.engine.ledger_tables import CONSENT_STATES
from aimwell.engine.permissions import ALL_CHANNELS, ConsentState, list_suppressions

__all__ = [
    "GRANTED",
    "REASONS",
    "Candidate",
    "Cap",
    "ContactRules",
    "LiveMemory",
    "Purpose",
    "Verdict",
    "judge",
    "title_reason",
]

REASONS: dict[str, Text] = {
    "suppressed": say("The customer is on the suppression list"),
    "no_consent": say("No marketing consent for this channel is known"),
    "consent_withdrawn": say("Marketing consent for this channel was withdrawn"),
    "consent_expired": say("Marketing consent for this channel has ended"),
    "topic_refused": say("The customer wants no messages on this topic"),
    "erased": say("The person was erased."),
    "no_address": say("No usable address for this channel"),
    "no_channel": say("This channel is not connected"),
    "contact_cap": say("The contact cap is reached"),
    "stopped": say("The campaign was stopped"),
    "expired": say("It was too late for this message"),
    "quiet_hours": say("Waits for the end of quiet hours or holidays"),
    "outranked": say("Waits: a more valuable contact is queued for the customer"),
    "merged": say("The customer was in it as another record, too"),
    "requeued": say("Queued again by hand"),
    "not_arrived": say("Settled by hand: it did not arrive"),
    "rejected": say("The provider rejected the message"),
    "bad_recipient": say("The provider does not know the recipient"),
    "bounced": say("The mail came back: the address does not exist"),
    "bounced_soft": say("The mail came back for now"),
    "address_refused": say("The receiver's address is internal or not encrypted"),
    "redirected": say("The receiver answered with a redirect, which is not followed"),
    "rate_limited": say("The provider takes only so many messages at a time"),
    "temporary_rejection": say("The provider asked to try again later"),
    "gave_up": say("Tried as often as allowed without success"),
    "connection_failed": say("The provider could not be reached"),
    "connection_lost": say("The connection broke before the provider answered"),
    "worker_lost": say("The sending process ended before the provider's answer was recorded"),
    "content_error": say("The message could not be written for this customer"),
    "throttled": say("The provider takes no more for now"),
    "no_balance": say("The account at the provider has no balance left"),
    "frequency_limit": say("The provider allows no more messages to this number for now"),
    "template_mismatch": say("The text matches no template that the provider reviewed"),
    "provider_blocklist": say("The customer has opted out at the provider"),
    "partly_taken": say("Only parts of the message were taken"),
    "not_reached": say("Nobody answered the call"),
    "no_coupon": say("No coupon is left for this customer"),
}


@dataclass(frozen=True)
class Verdict:
    """``reason`` empty: it may go out now. With ``until_ms`` it waits until then, else it is skipped for good."""

    reason: str | None = None
    until_ms: int | None = None

    @property
    def granted(self) -> bool:
        """Whether it may go out now."""
        return self.reason is None

    @property
    def waits(self) -> bool:
        """Whether it is looked at again later."""
        return self.until_ms is not None


GRANTED = Verdict()


def title_reason(code: str) -> Text:
    """The reason ``code`` for people; an unknown code (a provider's own) is shown as it is."""
    return REASONS.get(code) or say("Provider's code {code}", code=code)


def judge(
    connection: sa.Connection,
    candidates: Sequence[Candidate],
    rules: ContactRules,
    now_ms: int,
    *,
    live: LiveMemory | None = None,
    held: Collection[str] = (),
) -> dict[str, Verdict]:
    """The verdict on each delivery id: may it go out at ``now_ms``? The most valuable are looked at first.

    ``held``: sources that reserve nothing for now; what they have queued keeps no place free.
    """
    if not candidates:
        return {}
    marketing = [candidate for candidate in candidates if candidate.purpose == "marketing"]
    facts = _Facts(
        suppressed=_find_suppressed(connection, candidates),
        consents=_find_consents(connection, marketing),
        refused=_find_refused(connection, marketing),
        pressure=read_pressure(connection, marketing, rules, now_ms, held=held, live=live),
    )
    verdicts = {}
    for candidate in sorted(candidates, key=lambda row: (-row.priority, row.delivery_id)):
        verdict = _judge_one(candidate, rules, facts, now_ms)
        facts.pressure.note(candidate, verdict.reason, waits=verdict.waits)
        verdicts[candidate.delivery_id] = verdict
    return verdicts


@dataclass(frozen=True)
class _Facts:
    suppressed: set[tuple[str, str]]
    consents: dict[tuple[str, str], ConsentState]
    refused: Collection[tuple[str, str, str]]
    pressure: Pressure


def _judge_one(candidate: Candidate, rules: ContactRules, facts: _Facts, now_ms: int) -> Verdict:
    expires = candidate.expires_ms
    if expires is not None and expires <= now_ms:
        return Verdict("expired")
    reason = _find_objection(candidate, facts, now_ms)
    if reason is not None:
        return Verdict(reason)
    marketing = candidate.purpose == "marketing"
    if marketing and facts.pressure.is_full(candidate):
        return Verdict("contact_cap")
    release = None if candidate.purpose == "test" else _find_release(candidate, rules, now_ms)
    if release is not None:
        late = expires is not None and expires <= release
        return Verdict("expired") if late else Verdict("quiet_hours", release)
    if marketing and (until := facts.pressure.find_claim(candidate, now_ms)) is not None:
        return Verdict("outranked", until)
    return GRANTED


def _find_release(candidate: Candidate, rules: ContactRules, now_ms: int) -> int | None:
    """Until when it waits: it must be right now, and still be so when it goes out."""
    if rules.calendar is None:
        return None
    service = candidate.purpose == "service"
    slot = (candidate.detail or {}).get("slot")
    for at in sorted({now_ms, now_ms + rules.lead_ms}):
        release = rules.calendar.find_release(
            candidate.channel, candidate.zone, at, key=candidate.delivery_id, every_day=service, slot=slot
        )
        if release is not None:
            return release
    return None


def _find_objection(candidate: Candidate, facts: _Facts, now_ms: int) -> str | None:
    if candidate.purpose == "test":
        return None if candidate.reachable else "no_address"
    customer, channel = candidate.customer_id, candidate.channel
    if (customer, ALL_CHANNELS) in facts.suppressed:
        return "suppressed"
    if candidate.purpose == "marketing":
        if (customer, channel) in facts.suppressed:
            return "suppressed"
        refusal = _find_refusal(facts.consents.get((customer, channel)), now_ms)
        if refusal is not None:
            return refusal
        topic = (candidate.detail or {}).get("topic")
        if topic is not None and (customer, channel, topic) in facts.refused:
            return "topic_refused"
    return None if candidate.reachable else "no_address"


def _find_refusal(consent: ConsentState | None, now_ms: int) -> str | None:
    if consent is None:
        return "no_consent"
    if not consent.allowed:
        return "consent_withdrawn"
    if consent.until_ms is not None and consent.until_ms <= now_ms:
        return "consent_expired"
    return None


def _find_suppressed(connection: sa.Connection, candidates: Sequence[Candidate]) -> set[tuple[str, str]]:
    found = list_suppressions(connection, list_customers(candidates))
    return {(entry.customer_id, entry.channel) for entry in found}


def _find_refused(
    connection: sa.Connection, candidates: Sequence[Candidate]
) -> Collection[tuple[str, str, str]]:
    if not any((candidate.detail or {}).get("topic") for candidate in candidates):
        return ()
    return read_refused_topics(connection, list_customers(candidates))


def _find_consents(
    connection: sa.Connection, candidates: Sequence[Candidate]
) -> dict[tuple[str, str], ConsentState]:
    if not candidates:
        return {}
    columns = [CONSENT_STATES.c[name] for name in ConsentState._fields]
    query = sa.select(*columns).where(CONSENT_STATES.c.customer_id.in_(list_customers(candidates)))
    return {(row.customer_id, row.channel): ConsentState(*row) for row in connection.execute(query)}
