"""Campaigns that start at an instant: the worker launches them when it has come.

Reads and writes the store's ``campaigns``, and what a launch reads and writes (``step``).
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from aimwell.core.errors import BadInput, Conflict, NotAllowed, NotReady
from aimwell.core.text import say
from aimwell.core.time import business_day, now
from aimwell.deployment.campaign import Campaign, Campaigns
from aimwell.deployment.ramp import Pace
from aimwell.deployment.step import launch
from aimwell.deployment.waves import load_wave
from aimwell.engine.workspace import Workspace


def schedule(
    workspace: Workspace, plan_id: str, *, at: datetime | None, on: date | None = None, by: str
) -> Campaign:
    """Let the worker launch the plan at ``at``, for contacts on ``on`` (else on the day of ``at``); None: not at all.

    The plan may still be approved until then; one that is not by then is not launched.
    """
    if at is not None and at.tzinfo is None:
        raise BadInput(
            "deployment.no_zone",
            say("{instant} names no time zone.", instant=at.isoformat()),
            remedy=say("Write it such as 2026-03-01T10:00+08:00."),
            where={"value": at.isoformat()},
        )
    wave = load_wave(workspace, plan_id, people=False).plan.wave
    day = business_day(at, workspace.settings.business.zone) if at is not None and on is None else on
    at_ms = None if at is None else int(at.timestamp() * 1000)
    campaign = Campaigns(workspace.store).schedule(wave, at_ms=at_ms, on=day, by=by)
    details = {"at": None if at is None else at.isoformat()}
    workspace.store.audit("campaign.scheduled", plan_id, details, actor=by)
    return campaign


def set_pace(workspace: Workspace, plan_id: str, pace: Pace, *, by: str) -> Campaign:
    """How fast the plan goes out; while it runs, too (its waves are fixed at the launch)."""
    wave = load_wave(workspace, plan_id, people=False).plan.wave
    campaign = Campaigns(workspace.store).set_pace(wave, pace)
    workspace.store.audit("campaign.paced", plan_id, pace.to_json(), actor=by)
    return campaign


def launch_due(workspace: Workspace) -> int:
    """Launch every campaign whose instant has come, into the ledger's queue; returns how many were launched.

    The start of one that may not run (no second person approved it, its pilot is undecided) is taken back and audited,
    so that it is not tried again every second.
    """
    campaigns = Campaigns(workspace.store)
    launched = 0
    for campaign in campaigns.list_due(int(now().timestamp() * 1000)):
        day = campaign.start_on or business_day(now(), workspace.settings.business.zone)
        try:
            launch(workspace, plan_id=campaign.plan_id, as_of=day, by=campaign.launched_by, only_queue=True)
            # Only now: whoever died before leaves the rest of the launch to the next worker.
            campaigns.forget_start(campaign.plan_id)
            launched += 1
        except (BadInput, NotAllowed, NotReady, Conflict) as error:
            if error.code in _PASSING:
                raise
            campaigns.forget_start(campaign.plan_id)
            workspace.store.audit(
                "campaign.not_launched", campaign.plan_id, {"code": error.code}, actor="worker"
            )
    return launched


_PASSING = (
    "engine.store_unreachable",
    "engine.disk_full",
    "engine.store_contended",
    "engine.store_busy",
    "engine.changed_meanwhile",
)
"""What is over by itself: then the worker tries again at its next turn."""


def find_next_launch(workspace: Workspace) -> datetime | None:
    """When the next campaign is to be launched; None when none is."""
    at = Campaigns(workspace.store).find_next_start()
    return None if at is None else datetime.fromtimestamp(at / 1000, UTC)
