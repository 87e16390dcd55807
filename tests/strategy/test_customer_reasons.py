"""Why this action for a customer and why not the others; who is left out of a plan, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pytest

from aimwell.core.tables import TABLES
from aimwell.core.text import say
from aimwell.engine.workspace import Workspace
from aimwell.strategy.coverage import REASONS, measure_coverage
from aimwell.strategy.customer_reasons import explain_actions, read_exclusions, summarise_choice
from aimwell.strategy.inputs import PlanInputs, Shares
from aimwell.strategy.planner import make_pilot, make_rollout, split_audience
from aimwell.strategy.scenarios import Solved, solve
from tests.strategy.world import make_inputs, without_exploration

DAY = date(2024, 6, 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "shop", name="shop", zone="UTC", currency="USD")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def inputs() -> PlanInputs:
    found = make_inputs(400, budget="80")
    assert found.estimate is not None
    estimate = found.estimate.copy()
    estimate[:40, :4] = np.nan
    return replace(found, estimate=estimate)


@pytest.fixture(scope="module")
def solved(inputs: PlanInputs) -> Solved:
    return solve(inputs)


def test_every_action_of_every_customer_has_one_reason_that_agrees_with_the_plan(
    inputs: PlanInputs, solved: Solved
) -> None:
    rules = {channel: say("no phone number is known.") for channel in ("email", "sms", "call", "mail")}
    _, held = split_audience(inputs)
    seen: Counter[str] = Counter()
    for customer in range(len(inputs.customers)):
        reasons = explain_actions(solved, customer, rules)
        assert sorted(item.action for item in reasons) == list(range(len(inputs.actions)))
        chosen = [item.action for item in reasons if item.status == "chosen"]
        expected = solved.chosen[customer]
        assert chosen == ([int(expected)] if expected >= 0 else [])
        assert reasons[0].status == "chosen" or not chosen
        for item in reasons:
            seen[item.status] += 1
            assert (item.status == "excluded") == (not inputs.eligible[customer, item.action])
            held_out = customer in held and inputs.eligible[customer, item.action]
            assert (item.status == "held_out") == (held_out and bool(inputs.known[customer, item.action]))
            if item.status == "priced_out":
                assert item.net is not None
                assert item.net <= 0
                assert item.resources == pytest.approx(sum(price for _, price in item.by_limit))
            if item.profit is not None:
                assert item.profit.lower <= item.profit.estimate <= item.profit.upper
    assert set(seen) >= {"chosen", "beaten", "priced_out", "unprofitable", "unknown", "excluded", "held_out"}


def test_reasons_are_told_in_both_languages_with_their_figures(inputs: PlanInputs, solved: Solved) -> None:
    for customer in range(60):
        reasons = explain_actions(solved, customer, {})
        for text in [*(item.reason for item in reasons), summarise_choice(reasons, inputs)]:
            assert text.render("zh") != text.render("en")
            assert "{" not in text.render("zh") + text.render("en")
        for item in reasons:
            assert item.status in ("excluded", "unknown") or " to " in item.reason.render("en")


def test_the_rule_that_excluded_a_channel_is_named(workspace: Workspace) -> None:
    since = datetime(2023, 1, 1, tzinfo=UTC)
    late = datetime(2024, 1, 1, tzinfo=UTC)
    consents = [
        ("a", "email", True, since, None),
        ("a", "sms", True, since, None),
        ("a", "sms", False, late, None),
        ("a", "call", True, since, None),
        ("a", "mail", True, since, late),
        ("b", "email", True, since, None),
    ]
    sent = datetime(2024, 5, 31, tzinfo=UTC)
    event = {"customer_id": "b", "name": "Message Sent", "occurred_at": sent, "occurred_on": sent.date()}
    cap = workspace.settings.contact.cap
    with workspace.run("data", as_of=DAY) as run:
        people = [{"customer_id": name, "email": None, "phone": "1", "source": "test"} for name in "ab"]
        run.replace("customers", TABLES["customers"].build(people))
        rows = [
            {
                "customer_id": customer,
                "channel": channel,
                "purpose": "marketing",
                "allowed": allowed,
                "since": at,
                "until": until,
                "source": "test",
            }
            for customer, channel, allowed, at, until in consents
        ]
        run.replace("consents", TABLES["consents"].build(rows))
        events = [{**event, "event_id": f"e{i}", "source": "test", "simulated": False} for i in range(cap)]
        run.append("events", TABLES["events"].build(events))
    with workspace.read() as reader:
        found = read_exclusions(reader, workspace.settings, "a", as_of=DAY)
        capped = read_exclusions(reader, workspace.settings, "b", as_of=DAY)
    told = {channel: rule.render("en") for channel, rule in found.items()}
    assert told["email"] == "no e-mail address is known."
    assert told["sms"] == "consent to SMS was refused or withdrawn."
    assert told["mail"] == "consent to direct mail has ended."
    assert "call" not in told
    assert all("contact cap" in rule.render("en") for rule in capped.values())
    assert set(capped) >= set(workspace.settings.channels)


def test_everybody_is_counted_once_as_chosen_or_with_a_reason(inputs: PlanInputs) -> None:
    result = make_rollout(without_exploration(inputs))
    titles = {tier: say("Value: low") for tier in set(inputs.tiers)}
    rows = measure_coverage(inputs, result, "value_tier", list(inputs.tiers), titles)
    assert sum(row.audience for row in rows) == len(inputs.customers)
    assert sum(row.chosen for row in rows) == len(result.customer)
    assert sum(row.profit.estimate for row in rows) == pytest.approx(float(result.profit.sum()))
    for row in rows:
        assert row.chosen + sum(row.left.values()) == row.audience
        assert set(row.left) == set(REASONS)
        assert row.left["not_drawn"] == 0
        shown = row.to_dict()
        assert shown["customers"] == row.considered - row.chosen
        assert shown["sentence"]["zh"] != shown["sentence"]["en"]
    held = sum(row.left["held_out"] for row in rows)
    assert held == len(result.holdout)


def test_a_pilot_leaves_out_whom_it_did_not_draw() -> None:
    for effects in (False, True):
        inputs = make_inputs(300, effects=effects, shares=Shares(pilot=0.4))
        result = make_pilot(inputs)
        rows = measure_coverage(inputs, result, "all", ["x"] * 300, {"x": say("Value: low")})
        assert rows[0].left["not_drawn"] > 0
        assert rows[0].chosen + sum(rows[0].left.values()) == 300
