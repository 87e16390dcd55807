from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aimwell.core.errors import Conflict, NotAllowed, NotReady
from aimwell.deployment.campaign import TRANSITIONS, Campaigns, Wave, title_state
from tests.deployment.scene import open_store

PILOT = Wave("p1", "profit", 1, "pilot", "a" * 64)
ROLLOUT = Wave("p2", "profit", 1, "rollout", "b" * 64)


@pytest.fixture
def campaigns(tmp_path: Path) -> Campaigns:
    return Campaigns(open_store(tmp_path))


def start(campaigns: Campaigns, wave: Wave) -> None:
    campaigns.approve(wave, by="ann")
    campaigns.launch(wave)


def test_the_whole_way(campaigns: Campaigns) -> None:
    states = [
        campaigns.open(PILOT).state,
        campaigns.approve(PILOT, by="ann").state,
        campaigns.launch(PILOT).state,
    ]
    states.append(campaigns.decide("p1", go=True, decision={"go": True}).state)
    campaigns.approve(ROLLOUT, by="ann")
    states.append(campaigns.launch(ROLLOUT).state)
    states.append(campaigns.decide("p2", go=True, decision={}).state)
    assert states == ["draft", "reviewed", "pilot", "decision", "rollout", "closed"]
    assert campaigns.require("p1").state == "closed"


def test_nothing_starts_unreviewed(campaigns: Campaigns) -> None:
    with pytest.raises(NotReady) as error:
        campaigns.launch(PILOT)
    assert error.value.code == "deployment.not_approved"


def test_any_change_voids_the_approval(campaigns: Campaigns) -> None:
    campaigns.approve(PILOT, by="ann")
    changed = replace(PILOT, fingerprint="c" * 64)
    with pytest.raises(NotReady):
        campaigns.launch(changed)
    assert campaigns.require("p1").state == "draft"
    assert campaigns.approve(changed, by="ann").fingerprint == "c" * 64


def test_a_launched_plan_may_not_change(campaigns: Campaigns) -> None:
    start(campaigns, PILOT)
    assert campaigns.launch(PILOT).state == "pilot", "going on is allowed"
    with pytest.raises(Conflict) as error:
        campaigns.launch(replace(PILOT, fingerprint="c" * 64))
    assert error.value.code == "deployment.plan_changed"


@pytest.mark.parametrize(("go", "error"), [(None, NotReady), (False, NotAllowed)])
def test_a_rollout_waits_for_the_decision(
    campaigns: Campaigns, go: bool | None, error: type[Exception]
) -> None:
    start(campaigns, PILOT)
    if go is not None:
        campaigns.decide("p1", go=go, decision={})
    campaigns.approve(ROLLOUT, by="ann")
    with pytest.raises(error):
        campaigns.launch(ROLLOUT)
    other = replace(ROLLOUT, plan_id="p9", round_number=2)
    start(campaigns, other)
    assert campaigns.require("p9").state == "rollout", "another round does not wait"


def test_pause_resume_stop(campaigns: Campaigns) -> None:
    start(campaigns, PILOT)
    campaigns.pause("p1")
    with pytest.raises(NotAllowed):
        campaigns.launch(PILOT)
    campaigns.resume("p1")
    campaigns.launch(PILOT)
    assert campaigns.stop("p1").state == "closed"
    assert campaigns.stop("p1").state == "closed"
    for act in (campaigns.resume, campaigns.pause):
        with pytest.raises(Conflict):
            act("p1")
    with pytest.raises(Conflict):
        campaigns.launch(PILOT)


def test_a_decision_needs_a_launch_and_may_be_corrected(campaigns: Campaigns) -> None:
    with pytest.raises(NotReady):
        campaigns.decide("p1", go=True, decision={})
    campaigns.approve(PILOT, by="ann")
    with pytest.raises(Conflict):
        campaigns.decide("p1", go=True, decision={})
    campaigns.launch(PILOT)
    campaigns.decide("p1", go=False, decision={"sentence": "no"})
    assert campaigns.decide("p1", go=True, decision={"sentence": "yes"}).decision == {"sentence": "yes"}


def test_a_stopped_wave_can_still_be_decided(campaigns: Campaigns) -> None:
    start(campaigns, PILOT)
    campaigns.stop("p1")
    decided = campaigns.decide("p1", go=False, decision={"sentence": "no"})
    assert (decided.state, decided.control, decided.go) == ("closed", "stopped", False)


def test_every_state_has_a_title() -> None:
    assert all(title_state(state).both()["zh"] for _, state in TRANSITIONS)
