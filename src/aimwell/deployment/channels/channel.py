"""The one protocol of all channels: hand a message over, and say honestly what is known afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol


class Promise(StrEnum):
    """What the provider can promise after a crash between the handover and its answer."""

    REJECTS_REPEATS = "A"
    """It knows the delivery id: handing over again has no second effect."""
    CAN_BE_ASKED = "B"
    """It can say whether it has the delivery: ask, then send or settle."""
    BLIND = "C"
    """Nobody can know: the delivery is in doubt and is never repeated."""


class Outcome(StrEnum):
    """How a handover ended."""

    SENT = "sent"
    TEMPORARY = "temporary"
    """Surely not taken; may be tried again."""
    PERMANENT = "permanent"
    """Surely not taken; trying again is pointless."""
    UNKNOWN = "unknown"
    """Perhaps taken: the answer was lost."""


@dataclass(frozen=True)
class Receipt:
    """What is known after a handover. ``code`` is a reason of ``policy.REASONS`` or the provider's own.

    ``retry_after``: the provider (or our own pacing of it) asks not to be tried again for so many seconds. With the
    code ``rate_limited`` nothing was said to the provider at all, so it was no attempt.
    """

    outcome: Outcome
    code: str | None = None
    provider_id: str | None = None
    retry_after: float | None = None


@dataclass(frozen=True)
class Message:
    """One message, ready to go. ``details`` are further named values that a channel may write (best hour, offer).

    ``headers`` are added to a mail; a header that the mail has anyway stays as it is. ``link_base`` is where links
    that are made for this message lead.
    """

    delivery_id: str
    plan_id: str
    customer_id: str
    recipient: str
    text: str
    language: str = "en"
    subject: str = ""
    html: str = ""
    name: str = ""
    unsubscribe_url: str = ""
    details: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    link_base: str = ""


class Channel(Protocol):
    """A way out. Implement ``deliver``; the rest has defaults when you inherit from this class."""

    promise: Promise
    window: int = 1
    """How many deliveries may be in flight at once, and so be in doubt after a crash of a blind channel."""

    def deliver(self, message: Message) -> Receipt:
        """Hand ``message`` over. Problems of the provider come back in the receipt, they are not raised."""
        ...

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Hand up to ``window`` messages over; receipts in the order of the messages."""
        return [self.deliver(message) for message in messages]

    def find(self, delivery_id: str) -> Receipt | None:
        """For ``CAN_BE_ASKED``: the receipt if the provider has the delivery, None if it surely has not."""
        return None

    def finish(self) -> None:
        """All messages of a wave were handed over: close connections, write what people will open."""
        return None
