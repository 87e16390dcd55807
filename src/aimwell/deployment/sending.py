"""The worker: takes reservations from the ledger, makes messages and hands them to a channel.

One transaction a window: it records the receipts of the window before and commits the intents of the next, so
that every intent is on disk before its handover, and at most one window can be in doubt after a crash. Several
workers, in one process or many, may work on the same plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.policy import Candidate

Compose = Callable[[Candidate], Message]
_RESERVED_WINDOWS = 25


@dataclass
class Worked:
    """What one worker did on one channel. ``held``: the campaign was paused or stopped meanwhile."""

    sent: int = 0
    others: int = 0
    unreachable: bool = False
    held: str | None = None

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
    plan_id: str,
    channel_name: str,
    channel: Channel,
    compose: Compose,
    report: Callable[[int], None] | None = None,
) -> Worked:
    """Work until nothing of the plan is due on this channel and nobody holds a lease on it.

    Leases of other workers are waited for: what they finish is theirs, what they lose is taken up. ``compose``
    makes the message of a delivery; LookupError and ValueError close that delivery as failed (content_error).
    ``report`` gets the number of handovers so far. Ends early when the campaign is held or the provider is
    out of reach; the rest then stays queued.
    """
    worked = Worked()
    try:
        while worked.held is None and not worked.unreachable:
            _recover(ledger, plan_id, channel_name, channel)
            taken = ledger.reserve(plan_id, channel_name, limit=max(100, channel.window * _RESERVED_WINDOWS))
            worked.held = taken.held
            if taken.rows:
                _hand_over_all(ledger, taken.fence, taken.rows, channel, compose, worked, report)
            elif taken.examined == 0:
                expiry = ledger.find_next_expiry(plan_id, channel_name)
                if expiry is None:
                    break
                time.sleep(min(max(expiry, 0.02), 0.5))
    finally:
        channel.finish()
    return worked


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
    tried = 0
    try:
        for start in range(0, len(rows), channel.window):
            messages, broken = _compose_window(rows[start : start + channel.window], compose)
            ledger.fail(fence, broken, "content_error")
            window = [message.delivery_id for message in messages]
            waiting = ids[start + channel.window :]
            began = ledger.now_ms()
            held = ledger.advance(
                fence, settled=settled, intended=window, waiting=waiting, promise=channel.promise
            )
            tried, settled = start + channel.window, []
            held_messages = [message for message in messages if message.delivery_id in held]
            # A process that was suspended here for longer than its lease must not speak any more.
            alive = ledger.now_ms() - began < ledger.terms.lease * 1000
            settled = _deliver(held_messages, channel) if alive else _renounce(held_messages)
            worked.count(settled)
            if report is not None:
                report(worked.sent + worked.others)
            if worked.unreachable:
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


def _recover(ledger: Ledger, plan_id: str, channel_name: str, channel: Channel) -> None:
    taken = ledger.recover(plan_id, channel_name, promise=channel.promise)
    # Asking happens outside the transaction: a provider may be slow, and the ledger must not wait for it.
    answers = [(row.delivery_id, _ask(channel, row.delivery_id)) for row in taken.rows]
    if answers:
        # The answer is certain: sent, or surely not. So it is recorded as a class-A retry would be.
        ledger.advance(taken.fence, settled=answers, promise=Promise.REJECTS_REPEATS)


def _ask(channel: Channel, delivery_id: str) -> Receipt:
    return channel.find(delivery_id) or Receipt(Outcome.TEMPORARY, "connection_lost")
