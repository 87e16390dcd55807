"""Hand over everything that is due, of all sources: campaigns, journeys, live decisions.

One thread per channel, so that a slow provider slows no other; a provider that cannot be reached is left alone for a
growing while. The store's ``deliveries`` say what is due; the messages are made by the composer of the source, found
by the beginning of its name (``journey:``; none: campaigns').
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from queue import SimpleQueue
from threading import Event, Thread

from aimwell.deployment.calendar import place_evenly
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.channels.sms_reports import settle_doubts
from aimwell.deployment.channels.smtp import SmtpChannel
from aimwell.deployment.due import find_due_channels
from aimwell.deployment.ledger import Terms
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import SourceComposer, Worked, work
from aimwell.deployment.sources import SPECIAL_SOURCES
from aimwell.deployment.unsubscribe import require_address
from aimwell.deployment.waves import CampaignComposer
from aimwell.deployment.ways import build_channels, open_ledger
from aimwell.engine.workspace import Workspace

_FIRST_WAIT, _LONGEST_WAIT = 1.0, 600.0


@dataclass(frozen=True)
class Circuit:
    """Of a provider: how often in a row it could not be reached, and until when (s) it is left alone."""

    failures: int = 0
    until: float = 0.0

    def note(self, name: str, worked: Worked, now: float) -> Circuit:
        """After a turn: it answered, or is left alone for twice as long as before."""
        if not worked.unreachable:
            return replace(self, failures=0, until=0.0) if worked.handed else self
        wait = min(_FIRST_WAIT * 2**self.failures, _LONGEST_WAIT)
        jitter = 0.2 * place_evenly(f"{name}:{self.failures}")
        return Circuit(min(self.failures + 1, 30), now + wait * (1 + jitter))


class Dispatcher:
    """Hands over what is due, again and again; remembers providers out of reach, and composers for a while.

    ``channels`` replaces or adds ways out by name. ``composers``: beginning of a source's name (``journey:``) → what
    makes the messages; sources that no beginning fits are campaigns.
    """

    def __init__(
        self,
        workspace: Workspace,
        channels: Mapping[str, Channel] | None = None,
        composers: Mapping[str, SourceComposer] | None = None,
        *,
        terms: Terms | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._workspace = workspace
        self.channels = build_channels(workspace) | dict(channels or {})
        self._composers = dict(composers or {})
        self._campaigns = CampaignComposer(workspace)
        self._clock = clock
        # A source that is no campaign is left alone where no composer is given for it.
        without = [beginning for beginning in SPECIAL_SOURCES if beginning not in self._composers]
        self._without = tuple(without)
        self._ledger = open_ledger(workspace, terms=terms, without=without, clock=clock)
        self._circuits: dict[str, Circuit] = {}
        self._threads: dict[str, Thread] = {}
        self._ended: SimpleQueue[Worked | BaseException] = SimpleQueue()
        self._stop = Event()

    def dispatch(self) -> int:
        """Hand over all that is due now, and wait for it; returns how many handovers were tried."""
        self._start()
        return self.finish()

    def turn(self) -> int:
        """Begin what is due on channels that are not at work; how many handovers ended since the last turn.

        Nobody waits here: a long queue of one channel keeps no other, and no later turn.
        """
        self._start()
        return self._collect()

    def finish(self) -> int:
        """Wait for what is under way; how many handovers ended since the last turn."""
        for thread in list(self._threads.values()):
            thread.join()
        return self._collect()

    def stop(self) -> None:
        """Begin nothing more, and wait for what is in flight."""
        self._stop.set()
        for thread in list(self._threads.values()):
            thread.join()

    def find_due(self) -> datetime | None:
        """When something is due on a provider that is not left alone or at work; None when nothing waits."""
        if not self._ended.empty():
            return datetime.fromtimestamp(0, UTC)
        first = min((at for name, at in self._list_due().items() if not self._is_at_work(name)), default=None)
        return None if first is None else datetime.fromtimestamp(first, UTC)

    def _start(self) -> None:
        due = {name for name, at in self._list_due().items() if at <= self._clock()}
        for name in sorted(due - set(self.channels)):
            self._ledger.skip_channel(name)
        for name in sorted(due & set(self.channels)):
            if not self._is_at_work(name) and not self._stop.is_set():
                self._threads[name] = Thread(target=self._serve_apart, args=(name,), name=f"dispatch-{name}")
                self._threads[name].start()

    def _is_at_work(self, name: str) -> bool:
        thread = self._threads.get(name)
        return thread is not None and thread.is_alive()

    def _collect(self) -> int:
        """What ended meanwhile; the first failure is raised, once all were looked at."""
        handed, failure = 0, None
        while not self._ended.empty():
            one = self._ended.get()
            if isinstance(one, Worked):
                handed += one.handed
            else:
                failure = failure or one
        if failure is not None:
            raise failure
        return handed

    def _serve_apart(self, name: str) -> None:
        try:
            self._ended.put(self._serve(name))
        except BaseException as error:
            # The other channels go on; this one is left alone for a while, and the worker learns why at its next turn.
            self._note(name, Worked(unreachable=True))
            self._ended.put(error)

    def _note(self, name: str, worked: Worked) -> None:
        self._circuits[name] = self._circuits.get(name, Circuit()).note(name, worked, self._clock())

    def _list_due(self) -> dict[str, float]:
        with self._workspace.store.snapshot() as connection:
            now_ms = int(self._clock() * 1000)
            found = find_due_channels(connection, now_ms, without=self._without)
        return {name: max(at / 1000, self._circuits.get(name, Circuit()).until) for name, at in found.items()}

    def _serve(self, name: str) -> Worked:
        way = self.channels[name]
        if isinstance(way, SmtpChannel):
            # A mail whose unsubscribe link leads nowhere must not leave this machine.
            require_address(way.server.host)
        worked = work(
            self._ledger,
            plan_id=None,
            channel_name=name,
            channel=way,
            compose=lambda candidate: self._find_composer(candidate.plan_id).compose(candidate),
            prepare=self._prepare,
            wait=False,
            stop=self._stop,
        )
        self._note(name, worked)
        if name == "sms" and self._workspace.settings.sms.way == "smpp":
            with self._workspace.store.begin() as connection:
                settle_doubts(connection, int(self._clock() * 1000))
        return worked

    def _prepare(self, candidates: Sequence[Candidate]) -> None:
        composers = {id(one): one for one in (self._find_composer(row.plan_id) for row in candidates)}
        for composer in composers.values():
            composer.prepare([row for row in candidates if self._find_composer(row.plan_id) is composer])

    def _find_composer(self, source: str) -> SourceComposer:
        found = (one for beginning, one in self._composers.items() if source.startswith(beginning))
        return next(found, self._campaigns)


def dispatch(
    workspace: Workspace,
    channels: Mapping[str, Channel] | None = None,
    composers: Mapping[str, SourceComposer] | None = None,
    *,
    terms: Terms | None = None,
    clock: Callable[[], float] = time.time,
) -> int:
    """Hand over all that is due now, once (``Dispatcher``); returns how many handovers were tried."""
    return Dispatcher(workspace, channels, composers, terms=terms, clock=clock).dispatch()


def find_due(workspace: Workspace) -> datetime | None:
    """When the next delivery is due, or a dead worker's lease runs out; None when nothing waits."""
    with workspace.store.snapshot() as connection:
        found = find_due_channels(connection, int(time.time() * 1000))
    return datetime.fromtimestamp(min(found.values()) / 1000, UTC) if found else None
