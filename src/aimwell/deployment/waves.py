"""A plan's wave as messages: who it goes to, the content as it stands, and the composer of its deliveries.

Reads ``plans``, ``plan_items``, ``assignments``, ``actions``, ``customers``, ``identities``, ``recommendations``,
``products``, ``tags`` and ``events``, and the contents in the store; writes only what ``following`` does.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import Language, Text
from aimwell.deployment.audience import Addressee, Plan, list_offers, read_addressees, read_plan
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.composing import Composer, MessageMaker, index_addressees
from aimwell.deployment.content import (
    DEFAULT_CONTENT,
    Content,
    Library,
    check_content,
    load_all,
    load_library,
)
from aimwell.deployment.journeys.following import RecordFollower
from aimwell.deployment.policy import Candidate
from aimwell.deployment.tracking.message import Tracker
from aimwell.deployment.unsubscribe import load_secret
from aimwell.engine.workspace import Workspace

_KEPT_SECONDS, _MOST_PLANS = 60.0, 32
"""How long addresses are taken to stand as they were read, and of how many plans they are kept."""


@dataclass(frozen=True)
class LoadedWave:
    """A plan with its content and, where they were asked for, its addressees. ``warnings``: of the content."""

    plan: Plan
    contents: Mapping[Language, Content]
    library: Library
    warnings: tuple[Text, ...]
    addressees: Sequence[Addressee] = ()

    def find_content(self, item: Addressee) -> tuple[str | None, dict[str, Any]]:
        """Which content an addressee gets (None: the default), and what its delivery must remember of it."""
        content_id = self.library.choose(item.action_id, item.offer)
        if content_id == DEFAULT_CONTENT:
            return None, {}
        return content_id, self.library.describe(content_id, item.customer_id)


def load_wave(workspace: Workspace, plan_id: str, *, people: bool = True) -> LoadedWave:
    """The plan as it stands now; NotReady when it is not there, BadInput when its content cannot be used."""
    library = load_library(workspace)
    contents = load_all(workspace.path / "templates")
    with workspace.read() as reader:
        used = {library.choose(action_id, offer) for action_id, offer in list_offers(reader, plan_id)}
        # Neither an approval nor a launch passes with a content that is broken.
        warnings = (*check_content(contents, shorten=library.shorten), *library.check(used))
        plan = read_plan(reader, plan_id, content=library.list_sources(used | {DEFAULT_CONTENT}))
        addressees = read_addressees(reader, plan_id) if people else []
    return LoadedWave(plan, contents, library, warnings, addressees)


@dataclass
class WaveComposer:
    """Makes the messages of one plan's deliveries, whichever channel they have come to; threads may share it."""

    composer: Composer
    maker: MessageMaker = field(repr=False)
    follower: RecordFollower = field(repr=False)
    read_people: Callable[[], Sequence[Addressee]] = field(repr=False)
    _joined: int = -1
    _turn: Lock = field(default_factory=Lock, repr=False)

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        """Read coupons and attributes that the messages of these need; records that were joined since are followed.

        What is queued again by that is not this worker's any more, whatever is made of it.
        """
        self.follower.follow(candidates)
        self.prepare_followed(candidates)

    def prepare_followed(self, candidates: Sequence[Candidate]) -> None:
        """The same for those whose records were followed already."""
        self._renew(candidates)
        self.maker.prepare(candidates)

    def _renew(self, candidates: Sequence[Candidate]) -> None:
        """Addresses that were read of records that are other people's by now: read again, once for each join."""
        with self._turn:
            version, known = self.follower.version, self.composer.addressees
            found = (row for row in candidates if row.delivery_id in known)
            if version > self._joined and any(
                known[row.delivery_id].customer_id != row.customer_id for row in found
            ):
                plan_id = self.composer.plan.wave.plan_id
                people = index_addressees(plan_id, self.read_people())
                self.composer, self._joined = replace(self.composer, addressees=people), version

    def compose(self, candidate: Candidate) -> Message:
        """The message of a reserved delivery; LookupError or ValueError when it cannot be made."""
        return _follow_channel(self.composer, candidate).compose(candidate)


def build_composer(
    workspace: Workspace,
    wave: LoadedWave,
    *,
    track: Callable[[Message, str], Message] | None = None,
    further: Mapping[str, Any] | None = None,
) -> WaveComposer:
    """What makes the messages of the wave. ``track`` is given each of them; ``further``: values that it needs, too."""
    maker = MessageMaker(workspace, library=wave.library, track=track)
    composer = Composer(
        plan=wave.plan,
        business=maker.business,
        language=maker.language,
        contents=wave.contents,
        secret=load_secret(workspace.path),
        addressees=index_addressees(wave.plan.wave.plan_id, wave.addressees),
        maker=maker,
        further=further or {},
    )

    def read_people() -> list[Addressee]:
        with workspace.read() as reader:
            return read_addressees(reader, wave.plan.wave.plan_id)

    return WaveComposer(composer, maker, RecordFollower(workspace), read_people)


class CampaignComposer:
    """Makes the messages of every campaign; plans and addresses are read now and then.

    One object serves the threads of all channels.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._made: dict[str, tuple[float, WaveComposer]] = {}
        self._turn = Lock()
        self._follower = RecordFollower(workspace)

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        """Read the plans of these, where that was long ago, and what their messages need."""
        self._follower.follow(candidates)
        for source in dict.fromkeys(candidate.plan_id for candidate in candidates):
            with self._turn:
                made, composer = self._made.get(source, (-math.inf, None))
                if time.monotonic() - made > _KEPT_SECONDS:
                    composer = self._make(source)
            if composer is not None:
                composer.prepare_followed([row for row in candidates if row.plan_id == source])

    def compose(self, candidate: Candidate) -> Message:
        """The message of a reserved delivery; LookupError or ValueError when it cannot be made."""
        if candidate.plan_id not in self._made:
            # Forgotten meanwhile, for many plans are at work.
            self.prepare([candidate])
        return self._made[candidate.plan_id][1].compose(candidate)

    def _make(self, source: str) -> WaveComposer | None:
        self._made.pop(source, None)
        try:
            wave = load_wave(self._workspace, source)
        except NotReady:
            # The plan is gone: its deliveries fail one by one, with that reason.
            return None
        composer = build_composer(self._workspace, wave, track=Tracker.open(self._workspace).track)
        self._made[source] = (time.monotonic(), composer)
        for oldest in list(self._made)[:-_MOST_PLANS]:
            del self._made[oldest]
        return composer


def _follow_channel(composer: Composer, candidate: Candidate) -> Composer:
    addressee = composer.addressees[candidate.delivery_id]
    if candidate.channel == addressee.channel:
        return composer
    moved = replace(
        addressee, channel=candidate.channel, recipient=addressee.recipients.get(candidate.channel)
    )
    return replace(composer, addressees={candidate.delivery_id: moved})
