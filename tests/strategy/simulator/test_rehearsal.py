"""A rehearsal keeps the limits that people wrote, or says which ones it cannot play."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aimwell.engine.settings import LimitSettings
from aimwell.strategy.asked_limits import build_asked_limits
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.simulator.crowd import draw_crowd
from aimwell.strategy.simulator.policies import KINDS, Kind, Policy, Sight
from aimwell.strategy.simulator.rehearsal import Rehearsal, build_menu
from tests.strategy.world import make_inputs


def ask(inputs: PlanInputs, *asked: LimitSettings) -> PlanInputs:
    traits = {"segment:vip": tuple("inside" if place % 2 else "outside" for place in range(600))}
    return replace(inputs, limits=(*inputs.limits, *build_asked_limits(asked, inputs.actions, traits)))


MAIL = LimitSettings(id="mails", unit="contacts", at_most=25, channel="email")
SMS = LimitSettings(id="sms", unit="money", at_most=1.5, channel="sms")
VIP = LimitSettings(id="vip", unit="contacts", at_most=5, segment="vip")
LEAST = LimitSettings(id="least", unit="contacts", at_least=5, channel="email")


def test_limits_of_actions_are_played_and_others_are_named() -> None:
    inputs = ask(make_inputs(), MAIL, SMS, VIP, LEAST)
    menu = build_menu(inputs, [])
    uses = {name: (use, most) for name, use, most in menu.usage}
    assert list(uses) == ["budget", "call_minutes", "mails", "sms"]
    is_mail = np.array([action.channel == "email" for action in inputs.actions])
    assert np.array_equal(uses["mails"][0], is_mail.astype(float))
    assert uses["mails"][1] == 25
    assert uses["sms"][1] == 150
    found = Rehearsal({"ours": np.zeros((2, 1))}, True, 600, "USD", left_out=(inputs.limits[-1].title,))
    assert any("Not counted: the limit" in text.render("en") for text in found.describe())


@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_keeps_them(kind: Kind) -> None:
    inputs = ask(make_inputs(), MAIL, SMS)
    menu = build_menu(inputs, [])
    crowd = draw_crowd(600, menu, seed=3)
    policy = Policy(kind, crowd, menu)
    sight = Sight(np.ones((600, len(menu)), dtype=np.bool_), np.zeros(600), 1)
    action = policy.plan(sight, np.random.default_rng(1)).action
    chosen = action[action >= 0]
    assert len(chosen)
    for _, use, most in menu.usage:
        assert use[chosen].sum() <= most
