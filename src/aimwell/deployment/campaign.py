"""A plan's wave as a campaign: draft → reviewed → pilot → decision → rollout → closed; paused, resumed, stopped.

A pilot wave goes draft → reviewed → pilot → decision → closed, a rollout wave draft → reviewed → rollout → closed. A
rollout may start only when the pilot of the same goal and round, if there was one, was decided with go. An approval
is bound to the plan's fingerprint: any change of items, arms, actions or content voids it.
Writes the store's ``campaigns``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import sqlalchemy as sa

from aimwell.core.errors import Conflict, NotAllowed, NotReady
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.deployment.ledger import TransactionSource
from aimwell.deployment.ramp import Pace
from aimwell.deployment.sources import JOURNEY
from aimwell.engine.ledger_tables import CAMPAIGNS
from aimwell.engine.store_tables import DEFINITIONS

State = Literal["draft", "reviewed", "pilot", "decision", "rollout", "closed"]
Control = Literal["running", "paused", "stopped"]

TRANSITIONS: dict[tuple[str, State], tuple[State, ...]] = {
    ("pilot", "draft"): ("reviewed", "closed"),
    ("pilot", "reviewed"): ("reviewed", "draft", "pilot", "closed"),
    ("pilot", "pilot"): ("decision", "closed"),
    ("pilot", "decision"): ("decision", "closed"),
    ("rollout", "draft"): ("reviewed", "closed"),
    ("rollout", "reviewed"): ("reviewed", "draft", "rollout", "closed"),
    ("rollout", "rollout"): ("closed",),
}
_LAUNCHED: tuple[State, ...] = ("pilot", "decision", "rollout", "closed")


@dataclass(frozen=True)
class Campaign:
    """One plan's wave as it stands."""

    plan_id: str
    goal: str
    round_number: int
    wave: Literal["pilot", "rollout"]
    state: State
    control: Control
    fingerprint: str | None
    approved_by: str | None
    go: bool | None
    decision: dict[str, Any] | None
    changed_at_ms: int
    launched_by: str | None = None
    launched_at_ms: int | None = None
    start_at_ms: int | None = None
    start_on: date | None = None
    pace: dict[str, Any] | None = None


@dataclass(frozen=True)
class Wave:
    """What a campaign must know of its plan. ``fingerprint``: ``audience.fingerprint_wave``."""

    plan_id: str
    goal: str
    round_number: int
    wave: Literal["pilot", "rollout"]
    fingerprint: str


class Campaigns:
    """The campaigns of one store."""

    def __init__(self, store: TransactionSource) -> None:
        self._store = store

    def find(self, plan_id: str) -> Campaign | None:
        """The campaign of a plan, or None."""
        with self._store.begin() as connection:
            return _read(connection, plan_id)

    def require(self, plan_id: str) -> Campaign:
        """The campaign of a plan; NotReady when there is none."""
        with self._store.begin() as connection:
            return _require(connection, plan_id)

    def list_all(self) -> list[Campaign]:
        """All campaigns, the newest change first."""
        query = sa.select(*_COLUMNS).order_by(CAMPAIGNS.c.changed_at_ms.desc(), CAMPAIGNS.c.plan_id)
        with self._store.begin() as connection:
            return [Campaign(*row) for row in connection.execute(query)]

    def open(self, wave: Wave) -> Campaign:
        """The campaign of ``wave``, made as a draft if it is new. An approval that no longer fits is voided."""
        with self._store.begin() as connection:
            campaign = _read(connection, wave.plan_id)
            if campaign is None:
                _insert(connection, wave)
            elif campaign.state == "reviewed" and campaign.fingerprint != wave.fingerprint:
                # ``approved_by`` stays: it tells a voided approval from a plan that nobody has seen yet.
                _move(connection, campaign, "draft", fingerprint=None)
            elif campaign.state in _LAUNCHED and campaign.fingerprint != wave.fingerprint:
                raise _changed(wave.plan_id)
            return _require(connection, wave.plan_id)

    def approve(self, wave: Wave, *, by: str) -> Campaign:
        """Approve the plan as it stands now; Conflict once it was launched."""
        self.open(wave)
        with self._store.begin() as connection:
            campaign = _require(connection, wave.plan_id)
            values = {"fingerprint": wave.fingerprint, "approved_by": by, "approved_at_ms": _now_ms()}
            return _move(connection, campaign, "reviewed", **values)

    def launch(self, wave: Wave, *, by: str | None = None, second_person: bool = False) -> Campaign:
        """Start or go on with the wave. NotReady, NotAllowed or Conflict when it may not run.

        With ``second_person`` whoever starts it cannot be who approved it.
        """
        campaign = self.open(wave)
        with self._store.begin() as connection:
            campaign = _require(connection, wave.plan_id)
            _check_may_run(campaign)
            if campaign.state == wave.wave:
                return campaign
            if campaign.state == "draft":
                raise NotReady(
                    "deployment.not_approved",
                    say("The plan {plan} is not approved as it stands now.", plan=wave.plan_id),
                    remedy=say("Approve it with: aimwell deployment approve {plan}", plan=wave.plan_id),
                )
            by = campaign.launched_by or by
            if second_person:
                _check_two_people(campaign, by)
            if wave.wave == "rollout":
                _check_pilot(connection, campaign)
            values = {"launched_by": by, "launched_at_ms": _now_ms()}
            return _move(connection, campaign, wave.wave, **values)

    def schedule(self, wave: Wave, *, at_ms: int | None, on: date | None, by: str) -> Campaign:
        """Let the worker launch it at ``at_ms`` for contacts on ``on``; None takes that back."""
        campaign = self.open(wave)
        if campaign.state in _LAUNCHED:
            raise Conflict(
                "deployment.launched",
                say("The campaign of plan {plan} was launched already.", plan=wave.plan_id),
                remedy=say("See where it stands with: aimwell deployment status {plan}", plan=wave.plan_id),
            )
        with self._store.begin() as connection:
            starter = None if at_ms is None else by
            _update(connection, wave.plan_id, start_at_ms=at_ms, start_on=on, launched_by=starter)
            return _require(connection, wave.plan_id)

    def forget_start(self, plan_id: str) -> None:
        """Its start is no longer ordered: it went out, or may not."""
        with self._store.begin() as connection:
            _update(connection, plan_id, start_at_ms=None)

    def set_pace(self, wave: Wave, pace: Pace) -> Campaign:
        """How fast it goes out; while it runs, too."""
        self.open(wave)
        with self._store.begin() as connection:
            _update(connection, wave.plan_id, pace=pace.to_json(), minute_ms=0, hour_ms=0)
            return _require(connection, wave.plan_id)

    def note_audience(self, plan_id: str, audience: int) -> None:
        """How many deliveries are wanted; what an erasure took away since stays counted."""
        more = CAMPAIGNS.c.audience.is_(None) | (CAMPAIGNS.c.audience < audience)
        with self._store.begin() as connection:
            connection.execute(
                sa.update(CAMPAIGNS).where(CAMPAIGNS.c.plan_id == plan_id, more).values(audience=audience)
            )

    def list_due(self, now_ms: int) -> list[Campaign]:
        """Campaigns whose start was ordered for ``now_ms`` or before, the earliest first."""
        query = sa.select(*_COLUMNS).where(CAMPAIGNS.c.start_at_ms <= now_ms, _STARTABLE)
        with self._store.begin() as connection:
            return [Campaign(*row) for row in connection.execute(query.order_by(CAMPAIGNS.c.start_at_ms))]

    def find_next_start(self) -> int | None:
        """When the next ordered start is due (ms)."""
        query = sa.select(sa.func.min(CAMPAIGNS.c.start_at_ms)).where(_STARTABLE)
        with self._store.snapshot() as connection:
            found: int | None = connection.execute(query).scalar()
        return found

    def decide(self, plan_id: str, *, go: bool, decision: Mapping[str, Any]) -> Campaign:
        """Record go or no-go on a launched wave. A pilot waits for its rollout, a rollout is closed."""
        with self._store.begin() as connection:
            campaign = _require(connection, plan_id)
            target: State = "decision" if campaign.wave == "pilot" else "closed"
            # Stopped waves too: what they had sent until then is evaluated like any other.
            if campaign.state == "closed":
                _update(connection, plan_id, go=go, decision=dict(decision))
                return _require(connection, plan_id)
            return _move(connection, campaign, target, go=go, decision=dict(decision))

    def pause(self, plan_id: str) -> Campaign:
        """Reserve nothing more until ``resume``; what is under way ends."""
        return self._control(plan_id, "paused")

    def resume(self, plan_id: str) -> Campaign:
        """Go on; Conflict when it was stopped."""
        return self._control(plan_id, "running")

    def stop(self, plan_id: str) -> Campaign:
        """End it for good. The caller skips what still waits (``Ledger.stop``)."""
        campaign = self._control(plan_id, "stopped")
        if campaign.state == "closed":
            return campaign
        with self._store.begin() as connection:
            return _move(connection, _require(connection, plan_id), "closed")

    def _control(self, plan_id: str, control: Control) -> Campaign:
        with self._store.begin() as connection:
            campaign = _require(connection, plan_id)
            if campaign.control == "stopped" and control != "stopped":
                raise _stopped(plan_id)
            _update(connection, plan_id, control=control)
            return _require(connection, plan_id)


_COLUMNS = [CAMPAIGNS.c[name] for name in Campaign.__dataclass_fields__]
_STARTABLE = CAMPAIGNS.c.start_at_ms.is_not(None) & (CAMPAIGNS.c.control == "running")


def _now_ms() -> int:
    return int(now().timestamp() * 1000)


def _read(connection: sa.Connection, plan_id: str) -> Campaign | None:
    row = connection.execute(sa.select(*_COLUMNS).where(CAMPAIGNS.c.plan_id == plan_id)).one_or_none()
    return None if row is None else Campaign(*row)


def _require(connection: sa.Connection, plan_id: str) -> Campaign:
    campaign = _read(connection, plan_id)
    if campaign is None:
        raise NotReady(
            "deployment.no_campaign",
            say("There is no campaign for the plan {plan}.", plan=plan_id),
            remedy=_point_to_journey(connection, plan_id)
            or say("Approve or launch the plan first; aimwell deployment status lists what there is."),
            where={"value": plan_id},
        )
    return campaign


def _point_to_journey(connection: sa.Connection, plan_id: str) -> Text | None:
    """Where to look for a journey, whose deliveries have ``journey:NAME`` in place of a plan; None for a plan."""
    name = plan_id.removeprefix(JOURNEY)
    query = sa.select(DEFINITIONS.c.name).where(DEFINITIONS.c.kind == "journey", DEFINITIONS.c.name == name)
    if connection.execute(query).first() is not None:
        return say(
            "'{name}' is a journey. See where it stands with: aimwell journey status {name}", name=name
        )
    if name != plan_id:
        return say(
            "There is no journey {name} either. See which there are with: aimwell journey list", name=name
        )
    return None


def _insert(connection: sa.Connection, wave: Wave) -> None:
    connection.execute(
        sa.insert(CAMPAIGNS).values(
            plan_id=wave.plan_id,
            goal=wave.goal,
            round_number=wave.round_number,
            wave=wave.wave,
            state="draft",
            control="running",
            changed_at_ms=_now_ms(),
        )
    )


def _update(connection: sa.Connection, plan_id: str, **values: Any) -> None:
    statement = sa.update(CAMPAIGNS).where(CAMPAIGNS.c.plan_id == plan_id)
    connection.execute(statement.values(changed_at_ms=_now_ms(), **values))


def _move(connection: sa.Connection, campaign: Campaign, state: State, **values: Any) -> Campaign:
    if state not in TRANSITIONS.get((campaign.wave, campaign.state), ()):
        raise Conflict(
            "deployment.wrong_state",
            say(
                "The campaign of plan {plan} is {state} and cannot become {target}.",
                plan=campaign.plan_id,
                state=title_state(campaign.state),
                target=title_state(state),
            ),
            remedy=say("See where it stands with: aimwell deployment status {plan}", plan=campaign.plan_id),
            where={"value": campaign.plan_id},
        )
    _update(connection, campaign.plan_id, state=state, **values)
    return _require(connection, campaign.plan_id)


def _check_may_run(campaign: Campaign) -> None:
    if campaign.control == "stopped" or campaign.state == "closed":
        raise _stopped(campaign.plan_id)
    if campaign.control == "paused":
        raise NotAllowed(
            "deployment.paused",
            say("The campaign of plan {plan} is paused.", plan=campaign.plan_id),
            remedy=say("Go on with: aimwell deployment resume {plan}", plan=campaign.plan_id),
        )


def _check_two_people(campaign: Campaign, by: str | None) -> None:
    if by is None or campaign.approved_by in (None, by):
        raise NotAllowed(
            "deployment.same_person",
            say("The campaign of plan {plan} needs the approval of a second person.", plan=campaign.plan_id),
            remedy=say(
                "Somebody else approves it with: aimwell deployment approve {plan}", plan=campaign.plan_id
            ),
            where={"value": campaign.plan_id},
        )


def _check_pilot(connection: sa.Connection, campaign: Campaign) -> None:
    """The pilot of the same goal and round: undecided holds the rollout back, no-go forbids it."""
    query = (
        sa.select(*_COLUMNS)
        .where(
            CAMPAIGNS.c.goal == campaign.goal,
            CAMPAIGNS.c.round_number == campaign.round_number,
            CAMPAIGNS.c.wave == "pilot",
            CAMPAIGNS.c.state.in_(("pilot", "decision")),
            CAMPAIGNS.c.control != "stopped",
        )
        .order_by(CAMPAIGNS.c.changed_at_ms.desc(), CAMPAIGNS.c.plan_id)
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        return
    pilot = Campaign(*row)
    if pilot.go is None:
        raise NotReady(
            "deployment.pilot_undecided",
            say("The pilot {pilot} of this round is not decided yet.", pilot=pilot.plan_id),
            remedy=say("Evaluate it and record the decision, or stop it; then launch the rollout."),
            where={"value": pilot.plan_id},
        )
    if not pilot.go:
        raise NotAllowed(
            "deployment.no_go",
            say("The pilot {pilot} of this round was decided with no-go.", pilot=pilot.plan_id),
            remedy=say("Plan the next round with what the pilot taught."),
            where={"value": pilot.plan_id},
        )
    _move(connection, pilot, "closed")


def _stopped(plan_id: str) -> Conflict:
    return Conflict(
        "deployment.closed",
        say("The campaign of plan {plan} is closed.", plan=plan_id),
        remedy=say("Make a new plan."),
        where={"value": plan_id},
    )


def _changed(plan_id: str) -> Conflict:
    return Conflict(
        "deployment.plan_changed",
        say("The plan {plan} was changed after it was launched.", plan=plan_id),
        remedy=say("Restore it as it was approved, or stop the campaign and make a new plan."),
        where={"value": plan_id},
    )


def title_state(state: str) -> Text:
    """The state for people."""
    titles = {
        "draft": say("draft"),
        "reviewed": say("reviewed"),
        "pilot": say("in pilot"),
        "decision": say("decided"),
        "rollout": say("in rollout"),
        "closed": say("closed"),
    }
    return titles[state]


def title_wave(wave: str) -> Text:
    """The wave for people."""
    return say("pilot") if wave == "pilot" else say("rollout")


def title_control(control: str) -> Text:
    """What was ordered for the campaign, for people."""
    titles = {"running": say("running"), "paused": say("paused"), "stopped": say("stopped")}
    return titles[control]
