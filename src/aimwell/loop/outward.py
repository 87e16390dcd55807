"""The worker's tasks that reach out: journeys, deliveries, scheduled campaigns, and what comes back from recipients.

Each remembers, for a workspace, what it needs from turn to turn. Those that can tell when there is something to do are
asked before they do anything, so that a worker with nothing to do costs next to nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from threading import Event, Thread
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from aimwell.core.logs import get_logger
from aimwell.data.event_intake import take_events
from aimwell.deployment.channels.connecting import take_bounces
from aimwell.deployment.channels.event_outbox import forward_events
from aimwell.deployment.channels.smpp import SmppChannel
from aimwell.deployment.coupon_events import redeem_loaded, redeem_new
from aimwell.deployment.dispatch import Dispatcher
from aimwell.deployment.handover import Handover
from aimwell.deployment.journeys.advance import advance
from aimwell.deployment.journeys.composing import JourneyComposers
from aimwell.deployment.reconciliation import check_sums
from aimwell.engine.workspace import Workspace
from aimwell.loop.journey_decisions import JourneyDecisions
from aimwell.loop.preferences import has_news, tell_warehouse

SOURCE = "channels"
"""The source of events that channels bring."""
T = TypeVar("T")


class PerWorkspace(Generic[T]):
    """What is made once for each workspace, and forgotten with it."""

    def __init__(self, make: Callable[[Workspace], T]) -> None:
        self._make = make
        self._made: WeakKeyDictionary[Workspace, T] = WeakKeyDictionary()

    def find(self, workspace: Workspace) -> T:
        """That of ``workspace``."""
        found = self._made.get(workspace)
        if found is None:
            found = self._made[workspace] = self._make(workspace)
        return found

    def forget(self, workspace: Workspace) -> T | None:
        """That of ``workspace``, if one was made; the next one is made anew."""
        return self._made.pop(workspace, None)


def _open_dispatcher(workspace: Workspace) -> Dispatcher:
    dispatcher = Dispatcher(workspace, composers={"journey:": JourneyComposers(workspace)})
    for channel in dispatcher.channels.values():
        if isinstance(channel, SmppChannel):
            # As long as the process lives: a daemon thread, whose connection the centre sees closed at its end.
            Thread(target=channel.listen, args=(Event(),), name="smpp-listen", daemon=True).start()
    return dispatcher


_DISPATCHERS = PerWorkspace(_open_dispatcher)
_DECISIONS = PerWorkspace(JourneyDecisions)
_HANDOVERS = PerWorkspace(Handover)


def move_journeys(workspace: Workspace) -> int:
    """Everything that journeys have to do now."""
    return advance(workspace, decisions=_DECISIONS.find(workspace))


def settle_decisions(workspace: Workspace) -> int:
    """What became of the live decisions that journeys' messages carried; how many ended."""
    return _DECISIONS.find(workspace).settle()


def find_decision(workspace: Workspace) -> datetime | None:
    """When one has ended."""
    return _DECISIONS.find(workspace).find_due()


def deliver(workspace: Workspace) -> int:
    """Begin to hand over what is due, of all sources; how many handovers ended since the last turn."""
    return _DISPATCHERS.find(workspace).turn()


def finish_deliveries(workspace: Workspace) -> int:
    """Wait for those that are under way; how many ended."""
    return _DISPATCHERS.find(workspace).finish()


def stop_deliveries(workspace: Workspace) -> None:
    """Begin none any more, and wait for those in flight."""
    dispatcher = _DISPATCHERS.forget(workspace)
    if dispatcher is not None:
        dispatcher.stop()


def find_delivery(workspace: Workspace) -> datetime | None:
    """When something is due on a provider that answers."""
    return _DISPATCHERS.find(workspace).find_due()


def hear_back(workspace: Workspace) -> int:
    """What recipients did and chose, and what channels reported, becomes events and consents; coupons are redeemed."""
    told = tell_warehouse(workspace) if has_news(workspace) else 0
    told += redeem_new(workspace.store).total() + redeem_loaded(workspace).total()
    return told + forward_events(workspace.store, lambda batch: take_events(workspace, batch, source=SOURCE))


def take_mail(workspace: Workspace) -> int:
    """Mails that came back, where they are kept in a box that we may read."""
    return sum(take_bounces(workspace).values()) if workspace.settings.mail.bounce_box else 0


def hand_over(workspace: Workspace) -> int:
    """The warehouse learns what the ledger finished."""
    return _HANDOVERS.find(workspace).step()


def check_ledger(workspace: Workspace) -> int:
    """Of every source the states add up to its audience; what does not is logged. How many do not."""
    broken = [one for one in check_sums(workspace.store) if not one.holds]
    for one in broken:
        get_logger("worker").error(
            "ledger.sum_broken", source=one.source, audience=one.audience, states=dict(one.states)
        )
    return len(broken)
