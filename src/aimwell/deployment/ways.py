"""The workspace's own ways out, and its ledger under its contact rules.

Reads the settings; writes nothing by itself. Files for providers lie under ``outbox/<source>/`` in the workspace.
"""

from __future__ import annotations

import time as clock_time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import time, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import quote

from aimwell.core.money import to_cents
from aimwell.deployment.calendar import Calendar, Quiet, check_country
from aimwell.deployment.channels.calls import CallDesk
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.connecting import connect_mail, list_others
from aimwell.deployment.channels.inbox import InboxChannel
from aimwell.deployment.channels.outbox import LAYOUTS, Layout, OutboxChannel
from aimwell.deployment.channels.sms_ways import make_sms_channel
from aimwell.deployment.channels.unready import open_channel
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import Cap, ContactRules
from aimwell.engine.settings import ContactSettings, Settings
from aimwell.engine.workspace import Workspace


class SourceFiles(Channel):
    """A file per source: whatever a message's source is, its row lands in that source's folder."""

    promise = Promise.REJECTS_REPEATS
    window = OutboxChannel.window

    def __init__(self, workspace: Workspace, layout: Layout) -> None:
        self._workspace = workspace
        self._layout = layout
        self._files: dict[str, OutboxChannel] = {}

    def deliver(self, message: Message) -> Receipt:
        """Take one message in."""
        return self.deliver_batch([message])[0]

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Take all in, durably, before the first receipt is given."""
        receipts: dict[str, Receipt] = {}
        for source in dict.fromkeys(message.plan_id for message in messages):
            own = [message for message in messages if message.plan_id == source]
            taken = self._open(source).deliver_batch(own)
            receipts |= {message.delivery_id: receipt for message, receipt in zip(own, taken, strict=True)}
        return [receipts[message.delivery_id] for message in messages]

    def finish(self) -> None:
        """Make the files that people open."""
        for file in self._files.values():
            file.finish()

    def _open(self, source: str) -> OutboxChannel:
        if source not in self._files:
            self._files[source] = OutboxChannel(locate_outbox(self._workspace, source), self._layout)
        return self._files[source]


class Both(Channel):
    """Two ways that reject repeats, one after the other: the desk's task list, and the file that people open."""

    promise = Promise.REJECTS_REPEATS

    def __init__(self, first: Channel, second: Channel) -> None:
        self._first, self._second = first, second
        self.window = min(first.window, second.window)

    def deliver(self, message: Message) -> Receipt:
        """Hand one message to both."""
        return self.deliver_batch([message])[0]

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Hand all to the first, and what it took to the second, whose receipts count."""
        receipts = self._first.deliver_batch(messages)
        taken = [number for number, receipt in enumerate(receipts) if receipt.outcome is Outcome.SENT]
        if taken:
            answers = self._second.deliver_batch([messages[number] for number in taken])
            for number, receipt in zip(taken, answers, strict=True):
                receipts[number] = receipt
        return receipts

    def finish(self) -> None:
        """Both."""
        self._first.finish()
        self._second.finish()


def build_channels(workspace: Workspace) -> dict[str, Channel]:
    """The workspace's own ways out: what its settings connect, the inbox, the call desk, and files for the rest.

    One that cannot be opened (``Unready``) keeps no other from going out.
    """
    ways: dict[str, Channel] = {name: SourceFiles(workspace, layout) for name, layout in LAYOUTS.items()}
    call = workspace.settings.channels.get("call")
    ways["call"] = Both(CallDesk(workspace.store, minutes=call.minutes if call else 0.0), ways["call"])
    ways["web"] = InboxChannel(workspace.store)
    makers: dict[str, Callable[[], Channel]] = {"email": partial(connect_mail, workspace)}
    if workspace.settings.sms.way != "file":
        makers["sms"] = partial(_connect_sms, workspace, ways["sms"])
    makers |= list_others(workspace)
    return ways | {name: open_channel(name, make) for name, make in makers.items()}


def _connect_sms(workspace: Workspace, file: Channel) -> Channel:
    return make_sms_channel(workspace) or file


def locate_outbox(workspace: Workspace, source: str) -> Path:
    """The folder of a source's files; an id that is no file name is escaped."""
    return workspace.path / "outbox" / quote(source, safe="").replace(".", "%2E")


def open_ledger(
    workspace: Workspace,
    *,
    terms: Terms | None = None,
    at_any_hour: bool = False,
    without: Iterable[str] = (),
    clock: Callable[[], float] = clock_time.time,
) -> Ledger:
    """The workspace's ledger under its contact rules.

    ``at_any_hour``: past data is replayed, the clock of today says nothing. ``without``: see ``Ledger``.
    """
    terms = terms or Terms()
    terms = terms if terms.costs else replace(terms, costs=find_costs(workspace.settings))
    rules = build_rules(workspace.settings, at_any_hour=at_any_hour, lead_ms=int(terms.lease * 1000))
    return Ledger(workspace.store, rules=rules, terms=terms, without=without, clock=clock)


def find_costs(settings: Settings) -> dict[str, int]:
    """What a message costs on each channel, in cents."""
    return {name: to_cents(channel.unit_cost) for name, channel in settings.channels.items()}


def build_rules(settings: Settings, *, at_any_hour: bool = False, lead_ms: int = 0) -> ContactRules:
    """Caps and hours as the settings say."""
    contact = settings.contact
    caps = {
        name: Cap(own.cap, own.days or contact.cap_days)
        for name, own in contact.channels.items()
        if own.cap is not None
    }
    calendar = None if at_any_hour else _build_calendar(contact, settings.business.zone)
    return ContactRules(contact.cap, contact.cap_days, caps, calendar, lead_ms)


def _build_calendar(contact: ContactSettings, zone_name: str) -> Calendar:
    return Calendar(
        zone=zone_name,
        quiet=_list_quiet(contact),
        opens=time.fromisoformat(contact.quiet_until),
        spread=timedelta(minutes=contact.quiet_spread),
        countries=tuple(check_country(country) for country in contact.holidays),
        send_on=contact.send_on,
    )


def _list_quiet(contact: ContactSettings) -> Mapping[str, Quiet]:
    found = {}
    for name in {*contact.quiet_channels, *contact.channels}:
        own = contact.channels.get(name)
        begin, end = (own.quiet_from, own.quiet_until) if own else (None, None)
        if begin or end or name in contact.quiet_channels:
            quiet = Quiet(
                time.fromisoformat(begin or contact.quiet_from),
                time.fromisoformat(end or contact.quiet_until),
            )
            found[name] = quiet
    return found
