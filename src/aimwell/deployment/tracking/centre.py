"""What a recipient's forms do: unsubscribe, subscribe again, save preferences, stop everything.

A form carries a ticket, sealed: whom it was shown to, when, and what it showed. Only what differs from what was shown
is changed, so that two open pages do not undo each other; and a permission needs a ticket of the last day, so that
nobody's consent rests on a link alone. Works inside the caller's transaction; see ``preferences`` for the tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.text import Language, Text, say
from aimwell.deployment.tracking.answers import LANGUAGE_CHOICES, Form, read_field, read_fields
from aimwell.deployment.tracking.keys import Keyring
from aimwell.deployment.tracking.pages import name_channel, say_agreement
from aimwell.deployment.tracking.preferences import (
    CAPS,
    Act,
    OwnCap,
    Standing,
    allow,
    choose_cap,
    choose_language,
    choose_topic,
    withdraw,
)
from aimwell.deployment.tracking.tokens import refuse_token, seal, unseal

TICKET_MS = 86_400_000
"""A page that is open for longer must be loaded again before it can give a consent."""


@dataclass(frozen=True)
class Ticket:
    """What a page showed: to whom, when, in which language, and what stood in it."""

    customer_id: str
    shown_ms: int
    language: Language
    channels: Mapping[str, bool] = field(default_factory=dict)
    refused_topics: frozenset[tuple[str, str]] = frozenset()
    cap: OwnCap | None = None
    message_language: str = ""

    def seal(self, keys: Keyring) -> str:
        """As the hidden field of a form."""
        cap = self.cap and [self.cap.cap, self.cap.days]
        topics = sorted(self.refused_topics)
        values = [self.customer_id, self.shown_ms, self.language, dict(self.channels), topics, cap]
        return seal(keys, "form", [*values, self.message_language])


def read_ticket(keys: Keyring, text: str, *, customer_id: str, now_ms: int) -> Ticket:
    """The ticket of a form; BadInput when it is not ours, not this customer's, or too old."""
    customer, shown, language, channels, topics, cap, message_language = unseal(keys, "form", text)
    if customer != customer_id:
        raise refuse_token()
    if now_ms - shown > TICKET_MS:
        raise BadInput(
            "deployment.page_too_old",
            say("This page was open for too long."),
            remedy=say("Load it again, then choose once more."),
        )
    refused = frozenset((channel, topic) for channel, topic in topics)
    return Ticket(customer, shown, language, channels, refused, cap and OwnCap(*cap), message_language)


def show_to(customer_id: str, standing: Standing, language: Language, now_ms: int) -> Ticket:
    """The ticket of a page that shows ``standing``."""
    # A refusal may be dated after now, by another machine's clock: what is shown is newer than that.
    shown = max([now_ms, *(standing.since_ms or {}).values()])
    return Ticket(
        customer_id,
        shown,
        language,
        {name: on for name, on in standing.channels.items() if name not in standing.blocked},
        standing.refused_topics,
        standing.cap,
        standing.language or language,
    )


def subscribe(
    connection: sa.Connection, act: Act, ticket: Ticket, channels: Sequence[str], business: str
) -> list[str]:
    """Give the consents whose words the page showed."""
    words = {name: say_agreement(business, name).render(ticket.language) for name in channels}
    return allow(connection, _date(act, ticket), words, shown_ms=ticket.shown_ms)


def save(
    connection: sa.Connection,
    act: Act,
    ticket: Ticket,
    form: Form,
    *,
    business: str,
    topics: Mapping[str, Text],
) -> list[Text]:
    """Bring about what differs from what was shown; what was done, in words."""
    act = _date(act, ticket)
    chosen = set(read_fields(form, "channel"))
    ended = [name for name, was in ticket.channels.items() if was and name not in chosen]
    begun = [name for name, was in ticket.channels.items() if not was and name in chosen]
    done = [say_channel(name, on=False) for name in withdraw(connection, act, ended)] if ended else []
    if begun:
        done += [say_channel(name, on=True) for name in subscribe(connection, act, ticket, begun, business)]
    done += _save_topics(connection, act, ticket, form, topics)
    cap = _read_cap(form, ticket.cap)
    if cap != ticket.cap and choose_cap(connection, act, cap):
        done.append(_say_cap(cap))
    language = LANGUAGE_CHOICES.get(read_field(form, "language"))
    if language and language != ticket.message_language and choose_language(connection, act, language):
        done.append(say("Language of our messages: changed"))
    return done


def say_channel(channel: str, *, on: bool) -> Text:
    """What became of a channel."""
    named = name_channel(channel)
    if on:
        return say("Marketing by {channel}: on", channel=named)
    return say("Marketing by {channel}: off", channel=named)


def _save_topics(
    connection: sa.Connection, act: Act, ticket: Ticket, form: Form, topics: Mapping[str, Text]
) -> list[Text]:
    chosen = set(read_fields(form, "topic"))
    done = []
    for channel in (name for name, was in ticket.channels.items() if was):
        for topic, title in topics.items():
            wanted = f"{channel}:{topic}" in chosen
            was = (channel, topic) not in ticket.refused_topics
            if wanted is not was and choose_topic(connection, act, channel, topic, allowed=wanted):
                done.append(_say_topic(channel, title, on=wanted))
    return done


def _say_topic(channel: str, title: Text, *, on: bool) -> Text:
    named = name_channel(channel)
    if on:
        return say("{topic} by {channel}: on", topic=title, channel=named)
    return say("{topic} by {channel}: off", topic=title, channel=named)


def _read_cap(form: Form, shown: OwnCap | None) -> OwnCap | None:
    """One of the limits that were offered; anything else changes nothing."""
    offered = {f"{most}/{days}": OwnCap(most, days) for most, days in CAPS}
    if "frequency" not in form:
        return shown
    value = read_field(form, "frequency")
    return None if value == "" else offered.get(value, shown)


def _say_cap(cap: OwnCap | None) -> Text:
    if cap is None:
        return say("How often: no limit of your own")
    return say("How often: at most {most} in {days} days", most=cap.cap, days=cap.days)


def _date(act: Act, ticket: Ticket) -> Act:
    proof: dict[str, Any] = {**act.proof, "shown_at_ms": ticket.shown_ms, "language": ticket.language}
    return Act(act.customer_id, act.source, act.at_ms, proof)
