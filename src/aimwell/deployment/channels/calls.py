"""Calls as tasks of the desk: a delivery becomes a task that an agent takes.

A channel of class A: a task is known by its delivery id, so that handing over again adds nothing. Writes the store's
``call_tasks``.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.event_outbox import TransactionSource
from aimwell.deployment.desk.tasks import NewTask, add_tasks

_HOUR = re.compile(r"\s*([0-9]{1,2})(?::[0-9]{2})?\b.*", re.DOTALL)
_DAY_MS = 86_400_000
_SHOWN = ("reason", "offer", "products")


class CallDesk(Channel):
    """Puts calls on the desk's list. ``minutes`` is what a call is planned to take; tasks expire after ``days``.

    The message's details may say: best_hour, reason, offer, products, priority (cents), expires_at_ms. ``clock`` gives
    seconds since 1970.
    """

    promise = Promise.REJECTS_REPEATS
    window = 200

    def __init__(
        self,
        store: TransactionSource,
        *,
        minutes: float = 4.0,
        days: int = 28,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._seconds = round(minutes * 60)
        self._days = days
        self._clock = clock

    def deliver(self, message: Message) -> Receipt:
        """Put one call on the list."""
        return self.deliver_batch([message])[0]

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Put all on the list, in one transaction."""
        now = int(self._clock() * 1000)
        with self._store.begin() as connection:
            add_tasks(connection, [self._build(message, now) for message in messages], now)
        return [Receipt(Outcome.SENT, provider_id="desk") for _ in messages]

    def _build(self, message: Message, now: int) -> NewTask:
        details = message.details
        card = {"name": message.name, "phone": message.recipient, "script": message.text}
        until = _read_number(details.get("expires_at_ms", ""))
        return NewTask(
            task_id=message.delivery_id,
            customer_id=message.customer_id,
            kind="call",
            plan_id=message.plan_id,
            card=card | {name: details[name] for name in _SHOWN if details.get(name)},
            due_ms=now,
            priority=_read_number(details.get("priority", "")) or 0,
            planned_seconds=self._seconds,
            best_hour=read_hour(details.get("best_hour", "")),
            expires_ms=until or now + self._days * _DAY_MS,
        )


def read_hour(text: str) -> int | None:
    """The hour that a text such as 18:00–19:00 begins with; None when it begins with none.

    >>> read_hour("18:00–19:00"), read_hour("soon")
    (18, None)
    """
    found = _HOUR.fullmatch(text)
    hour = int(found[1]) if found else 24
    return hour if hour < 24 else None


def _read_number(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) <= 15 else None
