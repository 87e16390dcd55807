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
from threading import Thread

from aimwell.deployment.calendar import place_evenly
from aimwell.deployment.channels.channel import Channel
from aimwell.deployment.channels.sms_reports import settle_doubts
from aimwell.deployment.channels.smtp import SmtpChannel
from aimwell.deployment.due import find_due_channels
from aimwell.deployment.ledger import Terms
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import SourceComposer, Worked, work
from aimwell.deployment.unsubscribe import require_address
from aimwell.deployment.waves import CampaignComposer
from aimwell.deployment.ways import build_channels, open_ledger
from aimwell.engine.workspace import Workspace

SPECIAL_SOURCES = ("journey:", "live:", "test:")
"""Sources that are no campaigns; one for which no composer is given is left alone."""
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
        self._channels = build_channels(workspace) | dict(channels or {})
        self._composers = dict(composers or {})
        self._campaigns = CampaignComposer(workspace)
        self._clock = clock
        without = [beginning for beginning in SPECIAL_SOURCES if beginning not in self._composers]
        self._without = tuple(without)
        self._ledger = open_ledger(workspace, terms=terms, without=without, clock=clock)
        self._circuits: dict[str, Circuit] = {}

    def dispatch(self) -> int:
        """Hand over all that is due now; returns how many handovers were tried."""
        due = {name for name, at in self._list_due().items() if at <= self._clock()}
        for name in sorted(due - set(self._channels)):
            self._ledger.skip_channel(name)
        failures: list[BaseException] = []
        worked: dict[str, Worked] = {}

        def serve(name: str) -> None:
            try:
                worked[name] = self._serve(name)
            except BaseException as error:
                # The other channels go on; then the worker learns of it.
                failures.append(error)

        threads = [Thread(target=serve, args=(name,), name=f"dispatch-{name}") for name in sorted(due)]
        threads = [thread for thread in threads if thread.name.removeprefix("dispatch-") in self._channels]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]
        if "sms" in worked and self._workspace.settings.sms.way == "smpp":
            with self._workspace.store.begin() as connection:
                settle_doubts(connection, int(self._clock() * 1000))
        return sum(turn.handed for turn in worked.values())

    def find_due(self) -> datetime | None:
        """When something is due on a provider that is not left alone; None when nothing waits."""
        first = min(self._list_due().values(), default=None)
        return None if first is None else datetime.fromtimestamp(first, UTC)

    def _list_due(self) -> dict[str, float]:
        with self._workspace.store.snapshot() as connection:
            now_ms = int(self._clock() * 1000)
            found = find_due_channels(connection, now_ms, without=self._without)
        return {name: max(at / 1000, self._circuits.get(name, Circuit()).until) for name, at in found.items()}

    def _serve(self, name: str) -> Worked:
        way = self._channels[name]
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
        )
        self._circuits[name] = self._circuits.get(name, Circuit()).note(name, worked, self._clock())
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
