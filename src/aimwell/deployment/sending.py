"""The worker: takes reservations from the ledger, makes messages and hands them to a channel.

One transaction a window: it records the receipts of the window before and commits the intents of the next, so
that every intent is on disk before its handover, and at most one window can be in doubt after a crash. Several
workers, in one process or many, may work on the same plan.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import Protocol

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.ledger import Ledger, Reservation
from aimwell.deployment.policy import Candidate

Compose = Callable[[Candidate], Message]


class SourceComposer(Protocol):
    """Makes the messages of one kind of source."""

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        """Read what these will need; called before their messages are made, outside of any transaction."""
        ...

    def compose(self, candidate: Candidate) -> Message:
        """The message of a reserved delivery; LookupError or ValueError where none can be made."""
        ...


_RESERVED, _RESERVED_WINDOWS = 400, 25
_SAFE_SHARE = 0.8
"""Of a lease: after so much of it nothing more is begun."""
_PATIENCE_MS = 2_000
"""Whoever waits for a campaign's rate waits so long at most; a worker comes back by itself."""


@dataclass
class Worked:
    """What one worker did on one channel. ``held``: the campaign was paused or stopped meanwhile."""

    sent: int = 0
    others: int = 0
    unreachable: bool = False
    held: str | None = None
    stop: Event = field(default_factory=Event, compare=False, repr=False)
    """Once set, nothing more is begun; what is in flight ends."""

    @property
    def handed(self) -> int:
        """How many handovers were tried."""
        return self.sent + self.others

    @property
    def may_go_on(self) -> bool:
        """Whether more could be handed over now."""
        return not self.unreachable and self.held is None and not self.stop.is_set()

    def add(self, later: Worked) -> Worked:
        """Both together; how it ended is how the later one did."""
        return Worked(
            self.sent + later.sent, self.others + later.others, later.unreachable, later.held, later.stop
        )

    def count(self, receipts: Sequence[tuple[str, Receipt]]) -> None:
        """Add the receipts of a window; notes when the provider could not be reached at all."""
        sent = sum(receipt.outcome is Outcome.SENT for _, receipt in receipts)
        self.sent += sent
        self.others += len(receipts) - sent
        self.unreachable = bool(receipts) and all(
            receipt.code == "connection_failed" for _, receipt in receipts
        )


def work(
    ledger: Ledger,
    *,
    plan_id: str | None,
    channel_name: str,
    channel: Channel,
    compose: Compose,
    report: Callable[[int], None] | None = None,
    prepare: Callable[[Sequence[Candidate]], None] | None = None,
    wait: bool = True,
    stop: Event | None = None,
) -> Worked:
    """Work until nothing of the source is due on this channel and, with ``wait``, nobody holds a lease on it.

    ``plan_id`` None: all sources, the most valuable deliveries first. Leases of other workers are waited for: what they
    finish is theirs, what they lose is taken up. ``compose`` makes the message of a delivery; LookupError and
    ValueError close that delivery as failed (content_error). ``prepare`` is shown each reservation before. ``report``
    gets the number of handovers so far. Ends early when the campaign is held, the provider is out of reach or ``stop``
    is set; the rest then stays queued.
    """
    worked = Worked(stop=stop or Event())
    try:
        recovered = -math.inf
        while worked.may_go_on:
            if time.monotonic() - recovered > ledger.terms.lease / 2:
                _recover(ledger, plan_id, channel_name, channel)
                recovered = time.monotonic()
            limit = max(_RESERVED, channel.window * _RESERVED_WINDOWS)
            taken = ledger.reserve(plan_id, channel_name, limit=limit)
            worked.held = taken.held
            if taken.rows:
                if prepare is not None:
                    prepare(taken.rows)
                _hand_over_all(ledger, taken.fence, taken.rows, channel, compose, worked, report)
            elif taken.examined == 0:
                pause = _find_pause(ledger, taken, plan_id, channel_name) if wait else None
                if pause is None:
                    break
                recovered = -math.inf
                time.sleep(min(max(pause, 0.02), 0.5))
    finally:
        channel.finish()
    return worked


def _find_pause(ledger: Ledger, taken: Reservation, plan_id: str | None, channel_name: str) -> float | None:
    """Seconds until something may be due: a lease runs out, or the campaign's rate has a place very soon."""
    pauses = [ledger.find_next_expiry(plan_id, channel_name)]
    if taken.next_ms is not None and taken.next_ms - ledger.now_ms() < _PATIENCE_MS:
        pauses.append((taken.next_ms - ledger.now_ms()) / 1000)
    return min((pause for pause in pauses if pause is not None), default=None)


def _hand_over_all(
    ledger: Ledger,
    fence: int,
    rows: Sequence[Candidate],
    channel: Channel,
    compose: Compose,
    worked: Worked,
    report: Callable[[int], None] | None,
) -> None:
    ids = [row.delivery_id for row in rows]
    settled: list[tuple[str, Receipt]] = []
    tried, taken_at = 0, ledger.now_ms()
    try:
        for start in range(0, len(rows), channel.window):
            messages, broken = _compose_window(rows[start : start + channel.window], compose)
            ledger.fail(fence, broken, "content_error")
            window = [message.delivery_id for message in messages]
            began = ledger.now_ms()
            held = ledger.advance(fence, settled=settled, intended=window, promise=channel.promise)
            tried, settled = start + channel.window, []
            held_messages = [message for message in messages if message.delivery_id in held]
            # A process that was suspended here for longer than its lease must not speak any more.
            alive = 0 <= ledger.now_ms() - began < ledger.terms.lease * 1000
            settled = _deliver(held_messages, channel) if alive else _renounce(held_messages)
            if alive:
                worked.count(settled)
            if report is not None:
                report(worked.handed)
            # What policy said holds as long as the lease: whatever is left is judged anew.
            age = ledger.now_ms() - taken_at
            if not worked.may_go_on or not 0 <= age < ledger.terms.lease * 1000 * _SAFE_SHARE:
                break
    finally:
        # On the way out of an exception too: what is known is recorded, what was not tried is given back.
        ledger.advance(fence, settled=settled, promise=channel.promise)
        ledger.release(fence, ids[tried:])


def _renounce(messages: Sequence[Message]) -> list[tuple[str, Receipt]]:
    return [(message.delivery_id, Receipt(Outcome.TEMPORARY, "connection_failed")) for message in messages]


def _deliver(messages: Sequence[Message], channel: Channel) -> list[tuple[str, Receipt]]:
    if not messages:
        return []
    receipts = channel.deliver_batch(messages)
    return [(message.delivery_id, receipt) for message, receipt in zip(messages, receipts, strict=True)]


def _compose_window(rows: Sequence[Candidate], compose: Compose) -> tuple[list[Message], list[str]]:
    messages, broken = [], []
    for row in rows:
        try:
            messages.append(compose(row))
        except (LookupError, ValueError):
            broken.append(row.delivery_id)
    return messages, broken


def _recover(ledger: Ledger, plan_id: str | None, channel_name: str, channel: Channel) -> None:
    taken = ledger.recover(plan_id, channel_name, promise=channel.promise)
    # Asking happens outside the transaction: a provider may be slow, and the ledger must not wait for it.
    answers = [(row.delivery_id, _ask(channel, row.delivery_id)) for row in taken.rows]
    if answers:
        # Sent, or surely not; a provider that cannot say it either is asked again when the lease has run out.
        ledger.advance(taken.fence, settled=answers, promise=Promise.CAN_BE_ASKED)


def _ask(channel: Channel, delivery_id: str) -> Receipt:
    return channel.find(delivery_id) or Receipt(Outcome.TEMPORARY, "connection_lost")
