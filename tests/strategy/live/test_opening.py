"""A live day is opened from the workspace's own plan: its prices, what it has left, and what is known of customers."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.tables import TABLES
from aimwell.core.text import Text
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.live_contacts import LiveContacts
from aimwell.engine.permissions import ConsentState, remember_consents, suppress_customers
from aimwell.engine.workspace import Workspace
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.opening import Opened, open_day, read_rhythm
from aimwell.strategy.live.plan import close_plan
from aimwell.strategy.live.profiles import list_pairs, read_profile
from aimwell.strategy.live.requests import Decision, Visit
from aimwell.strategy.live.settle import Outcome
from tests.strategy.live.shop import DAY, NOW_MS, PLAN, make_shop, read


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workspace]:
    with make_shop(tmp_path) as workspace:
        yield workspace


def open_decider(shop: Workspace, opened: Opened) -> LiveDecider:
    return LiveDecider(shop.store, opened.plan.plan_id, clock=lambda: NOW_MS / 1000)


def decide(decider: LiveDecider, customer: str, request: str | None = None, **given: Any) -> Decision:
    answer = decider.meet([(customer, Visit(request or f"for {customer}", given, NOW_MS))])[0]
    assert isinstance(answer, Decision)
    return answer


def read_bounds(opened: Opened) -> dict[str, int]:
    return {limit.name: limit.bound for limit in opened.plan.limits}


def test_a_day_gets_an_even_share_of_the_plan_at_its_prices(shop: Workspace) -> None:
    opened = open_day(shop, day=DAY)
    rows = {
        row["constraint_id"]: row for row in read(shop, f"SELECT * FROM constraints WHERE plan_id = '{PLAN}'")
    }
    assert opened.plan.source == PLAN and opened.share == pytest.approx(1 / 28)
    assert {limit.name for limit in opened.plan.limits} == set(rows)
    for limit in opened.plan.limits:
        scale = {"money": 100, "minutes": 60}.get(rows[limit.name]["unit"], 1)
        assert limit.bound == math.ceil(rows[limit.name]["limit"] * scale / 28 - 1e-9)
        assert limit.price * scale == pytest.approx(rows[limit.name]["shadow_price"])
    assert any(limit.price > 0 for limit in opened.plan.limits)
    # Later in the window more of it is left for each day; outside the window it is said that prices are old.
    late = open_day(shop, day=DAY + timedelta(days=27), name="late")
    assert late.share == 1.0
    over = open_day(shop, day=DAY + timedelta(days=28), name="over")
    assert "out of date" in str([Text.from_json(text).render("en") for text in over.plan.notices])


def test_what_was_launched_and_what_other_days_took_is_gone(shop: Workspace) -> None:
    items = read(shop, f"SELECT customer_id, action_id FROM plan_items WHERE plan_id = '{PLAN}'")
    cost = read(shop, f"SELECT SUM(expected_cost) AS cost FROM plan_items WHERE plan_id = '{PLAN}'")[0][
        "cost"
    ]
    whole = open_day(shop, day=DAY, share=1.0, name="before", plan_id=PLAN)
    assert read_bounds(whole)["budget"] == 2800
    assert "second time" in str([Text.from_json(text).render("en") for text in whole.plan.notices])
    # The first has all of it while it is open.
    assert set(read_bounds(open_day(shop, day=DAY, share=1.0, name="twin")).values()) == {0}
    close_plan(shop.store, "before")
    close_plan(shop.store, "twin")
    keep_deliveries(shop, items, "sent")
    left = open_day(shop, day=DAY, share=1.0, name="after")
    assert read_bounds(left)["budget"] == 2800 - round(100 * cost)
    assert "second time" not in str([Text.from_json(text).render("en") for text in left.plan.notices])
    with pytest.raises(BadInput) as caught:
        open_day(shop, day=DAY, name="rich", budget=Decimal("28"))
    assert caught.value.code == "strategy.live_budget_too_large"


def keep_deliveries(shop: Workspace, items: list[dict[str, Any]], state: str) -> None:
    rows = [
        {
            "delivery_id": f"d{n}", "plan_id": PLAN, "customer_id": item["customer_id"],
            "action_id": item["action_id"], "channel": "email", "contact_on": DAY - timedelta(days=60),
            "state": state, "reachable": True, "unit_cost_cents": 1,
        }
        for n, item in enumerate(items)
    ]  # fmt: skip
    with shop.store.begin() as connection:
        connection.execute(sa.insert(DELIVERIES), rows)


def test_what_live_days_used_is_gone_once_they_are_closed(shop: Workspace) -> None:
    first = open_day(shop, day=DAY, budget=Decimal("20"), share=1.0)
    decider = open_decider(shop, first)
    answers = [decide(decider, f"c{n}") for n in range(3, 20)]
    decider.settle([Outcome(answer.request_id, True) for answer in answers if answer.action_id])
    spent = sum(answer.cost_cents for answer in answers)
    assert spent > 0
    close_plan(shop.store, first.plan.plan_id)
    second = open_day(shop, day=DAY, share=1.0)
    assert second.plan.plan_id == f"{first.plan.plan_id}-2"
    assert read_bounds(second)["budget"] == 2800 - spent


def test_customers_get_what_the_tables_say_of_them(shop: Workspace) -> None:
    opened = open_day(shop, day=DAY, share=1.0)
    decider = open_decider(shop, opened)
    effects = read(shop, "SELECT action_id, estimate FROM effects WHERE customer_id = 'c7'")
    profile = read_profile(shop.store, opened.plan.plan_id, "c7")
    # Nobody allowed SMS or direct mail.
    assert {name.split(":")[1] for name in profile.pairs} == {"email", "call"}
    costs = {row["action_id"]: float(row["unit_cost"]) for row in read(shop, "SELECT * FROM actions")}
    for row in effects:
        if row["action_id"] in profile.pairs:
            pair = profile.pairs[row["action_id"]]
            assert pair.profit == pytest.approx(row["estimate"] - costs[row["action_id"]], abs=1e-5)
    assert decide(decider, "c7").action_id in profile.pairs
    # c0 withdrew, c2 was contacted as often as allowed: nothing is possible.
    assert not read_profile(shop.store, opened.plan.plan_id, "c0").pairs
    assert not read_profile(shop.store, opened.plan.plan_id, "c2").pairs
    assert decide(decider, "c0").action_id is None
    with pytest.raises(BadInput) as caught:
        read_profile(shop.store, opened.plan.plan_id, "nobody")
    assert caught.value.code == "strategy.unknown_live_customer"
    with pytest.raises(NotReady) as missing:
        read_profile(shop.store, "elsewhere", "c7")
    assert missing.value.code == "strategy.no_live_profiles"


def test_what_changes_after_opening_is_seen(shop: Workspace) -> None:
    decider = open_decider(shop, open_day(shop, day=DAY, share=1.0))
    able = [f"c{n}" for n in range(3, 9) if decide(decider, f"c{n}", f"try {n}", profit=RICH).action_id]
    with shop.store.begin() as connection:
        refused = [ConsentState(able[0], channel, False, NOW_MS) for channel in ("email", "call")]
        remember_consents(connection, refused)
    suppress_customers(shop.store, [able[1]])
    assert decide(decider, able[0], profit=RICH).reason == "forbidden"
    assert decide(decider, able[1], profit=RICH).reason == "forbidden"
    assert decide(decider, able[2], profit=RICH).action_id is not None
    # Two contacts in 28 days are allowed.
    assert decide(decider, able[2], "third", profit=RICH).reason == "cap"


RICH = {"everything_10:email": 900.0}


def test_contacts_by_other_systems_count(shop: Workspace) -> None:
    sent = datetime(2024, 5, 20, tzinfo=UTC)
    event = {"customer_id": "c9", "name": "Message Sent", "occurred_at": sent, "occurred_on": sent.date()}
    with shop.run("data", as_of=DAY) as run:
        run.append(
            "events",
            TABLES["events"].build([{**event, "event_id": "x", "source": "crm", "simulated": False}]),
        )
    decider = open_decider(shop, open_day(shop, day=DAY, share=1.0))
    assert read_profile(shop.store, decider.plan.plan_id, "c9").prior_contacts == 1
    reasons = [decide(decider, "c9", f"r{n}", profit=RICH).reason for n in range(2)]
    assert reasons[1] in ("cap", "holdout") and reasons[0] != "cap"


def test_the_context_says_what_is_known_now(shop: Workspace) -> None:
    opened = open_day(shop, day=DAY, share=1.0)
    decider = open_decider(shop, opened)
    who = next(f"c{n}" for n in range(3, 60) if decide(decider, f"c{n}", profit=RICH).reason == "chosen")
    assert decide(decider, who, "mail", actions=["everything_10:email"], profit=RICH).action_id == (
        "everything_10:email"
    )
    profile = read_profile(shop.store, opened.plan.plan_id, "c11")
    called = list_pairs(opened.plan, profile, {"channels": ["call"]})
    possible = {
        channel
        for channel, pair in zip(opened.plan.channels, called, strict=True)
        if math.isfinite(pair.profit)
    }
    assert possible <= {"call"}
    for wrong in (
        {"colour": 1}, {"channels": "call"}, {"channels": ["pigeon"]}, {"actions": [1]}, {"profit": [1]},
        {"profit": {"nothing": 1.0}}, {"profit": {"everything_10:email": "much"}},
        {"profit": {"everything_10:email": float("nan")}}, {"profit": {"everything_10:email": True}},
    ):  # fmt: skip
        refused = decider.meet([("c11", Visit("x", wrong, NOW_MS))])[0]
        assert isinstance(refused, BadInput) and refused.code == "strategy.bad_live_context"


def test_without_a_plan_prices_are_solved_and_without_effects_nothing_opens(tmp_path: Path) -> None:
    with make_shop(tmp_path, planned=False) as shop:
        with pytest.raises(NotReady) as caught:
            open_day(shop, day=DAY)
        assert caught.value.code == "strategy.no_live_source"
        with pytest.raises(NotReady) as missing:
            from tests.strategy.test_step import learn

            learn(shop)
            open_day(shop, day=DAY, plan_id="r9")
        assert missing.value.code == "strategy.no_optimised_plan"
        opened = open_day(shop, day=DAY)
        assert opened.plan.source is None and opened.share == 1.0
        assert decide(open_decider(shop, opened), "c5", profit=RICH).reason in (
            "chosen",
            "explored",
            "holdout",
        )


def test_a_name_stands_once_and_arguments_are_checked(shop: Workspace) -> None:
    open_day(shop, day=DAY)
    with pytest.raises(Conflict) as caught:
        open_day(shop, day=DAY)
    assert caught.value.code == "strategy.live_plan_exists"
    for wrong in ({"share": 0.0}, {"share": 1.5}, {"hold_seconds": 0}, {"name": ""}, {"name": "x" * 65}):
        with pytest.raises(BadInput):
            open_day(shop, day=DAY, **wrong)


def test_the_days_rhythm_is_that_of_the_orders(shop: Workspace) -> None:
    with shop.read() as reader:
        # No hour of any order is known: evenly.
        assert read_rhythm(reader, DAY) == (0.0, 1.0)
        assert read_rhythm(reader, date(1990, 1, 1)) == (0.0, 1.0)
    lines = read(shop, "SELECT * FROM order_lines")
    for n, line in enumerate(lines):
        line["ordered_hour"] = 20 if n % 4 else 8
    with shop.run("data", as_of=DAY) as run:
        run.replace("order_lines", TABLES["order_lines"].build(lines))
    with shop.read() as reader:
        rhythm = np.array(read_rhythm(reader, DAY))
    assert len(rhythm) == 25 and np.all(np.diff(rhythm) > 0)
    assert rhythm[9] == pytest.approx(0.25, abs=0.05) and rhythm[20] == pytest.approx(0.25, abs=0.05)


def test_what_a_record_got_live_the_next_day_counts_for_the_person(shop: Workspace) -> None:
    opened = open_day(shop, day=DAY)
    decider = open_decider(shop, opened)
    customers = [row["customer_id"] for row in read(shop, "SELECT customer_id FROM customers ORDER BY 1")]
    got = next(one for one in customers if decide(decider, one).action_id is not None)
    person = next(one for one in customers if one != got)
    with shop.run("data", as_of=DAY) as run:
        rows = [{"record_id": got, "customer_id": person, "run_id": run.id}]
        run.replace("identities", TABLES["identities"].build(rows))
    open_day(shop, day=DAY + timedelta(days=1))
    known = LiveContacts(DAY)
    with shop.store.begin() as connection:
        known.catch_up(connection)
    assert [(who, number) for _, who, _, number in known.count([got, person])] == [(person, 1)]
