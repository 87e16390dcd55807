"""The step on a small workspace: offers from the data, consent and caps respected, tables handed over."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.tables import TABLES
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.workspace import Workspace
from aimwell.strategy.load import read_audience
from aimwell.strategy.offers import choose_depth
from aimwell.strategy.step import plan

DAY = date(2024, 6, 1)
SINCE = datetime(2023, 1, 1, tzinfo=UTC)
DEPARTMENTS = ("PRODUCE", "MEAT", "GROCERY", "FUEL", "TOYS")


def make_lines(n: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    lines = []
    for customer in range(n):
        for order in range(3):
            day = DAY - timedelta(days=int(random.integers(1, 120)))
            for department, reach in zip(DEPARTMENTS, (0.9, 0.6, 0.8, 0.95, 0.1), strict=True):
                if random.random() < reach:
                    lines.append(
                        {
                            "line_id": f"l{len(lines)}",
                            "order_id": f"o{customer}-{order}",
                            "customer_id": f"c{customer}",
                            "product_id": f"p-{department}",
                            "ordered_at": datetime(day.year, day.month, day.day, tzinfo=UTC),
                            "ordered_on": day,
                            "quantity": 1.0,
                            "revenue": Decimal("10.00"),
                            "discount": Decimal("2.50") if random.random() < 0.5 else Decimal("0.00"),
                            "source": "test",
                            "simulated": False,
                        }
                    )
    return lines


def fill(workspace: Workspace, n: int = 300) -> None:
    """Everybody has consent for e-mail and calls; c0 withdrew, c1 has no address, c2 had enough contacts."""
    customers = [
        {
            "customer_id": f"c{i}",
            "email": None if i == 1 else f"c{i}@example.com",
            "phone": "1",
            "source": "test",
        }
        for i in range(n)
    ]
    consents = [
        {"customer_id": f"c{i}", "channel": channel, "purpose": "marketing", "allowed": True, "since": SINCE}
        for i in range(n)
        for channel in ("email", "call")
    ]
    later = SINCE + timedelta(days=100)
    consents += [{**row, "allowed": False, "since": later} for row in consents if row["customer_id"] == "c0"]
    sent = datetime(2024, 5, 20, tzinfo=UTC)
    event = {"customer_id": "c2", "name": "Message Sent", "occurred_at": sent, "occurred_on": sent.date()}
    events = [{**event, "event_id": f"e{i}", "source": "deployment", "simulated": False} for i in range(2)]
    products = [{"product_id": f"p-{name}", "department": name, "source": "test"} for name in DEPARTMENTS]
    with workspace.run("data", as_of=DAY) as run:
        run.replace("customers", TABLES["customers"].build(customers))
        run.replace("products", TABLES["products"].build(products))
        run.append("order_lines", TABLES["order_lines"].build(make_lines(n)))
        run.replace("consents", TABLES["consents"].build([{**row, "source": "test"} for row in consents]))
        run.append("events", TABLES["events"].build(events))


def learn(workspace: Workspace) -> None:
    random = np.random.default_rng(1)
    with workspace.run("models", as_of=DAY) as run:
        customers = run.query("SELECT customer_id FROM customers ORDER BY customer_id")[
            "customer_id"
        ].to_pylist()
        actions = run.query("SELECT action_id FROM actions ORDER BY action_id")["action_id"].to_pylist()
        rows = [
            {
                "customer_id": customer,
                "action_id": action,
                "estimate": float(random.normal(0.5, 1.5)),
                "standard_error": 0.3,
                "redemption": 0.1,
                "as_of": DAY,
                "run_id": run.id,
            }
            for customer in customers
            for action in actions
        ]
        run.replace("effects", TABLES["effects"].build(rows))


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "shop", name="shop", zone="UTC", currency="USD")
    yield opened
    opened.close()


def read(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    with workspace.read() as reader:
        rows: list[dict[str, Any]] = reader.query(sql).to_pylist()
    return rows


def test_a_rollout_without_experiment_becomes_the_pilot(workspace: Workspace) -> None:
    fill(workspace)
    result = plan(workspace, as_of=DAY, wave="rollout", goal="profit", round_number=1)
    assert result.status == "partial"
    assert "pilot" in result.lacks[0].render("en")
    (row,) = read(workspace, "SELECT wave, method, chosen, gap, cost, fingerprint FROM plans")
    assert (row["wave"], row["method"], row["gap"]) == ("pilot", "randomised", None)
    assert row["chosen"] == result.summary["chosen"] > 50
    actions = read(workspace, "SELECT action_id, discount, redemption_cost, department FROM actions")
    assert len(actions) == 16
    # The widest three without fuel; a fifth off at most, for a margin of 30 %.
    assert {row["department"] for row in actions} == {"PRODUCE", "GROCERY", "MEAT", None}
    assert all(0.05 <= row["discount"] <= 0.2 for row in actions)
    assert all(row["redemption_cost"] > 0 for row in actions)


def test_consent_address_and_cap_are_respected(workspace: Workspace) -> None:
    fill(workspace)
    plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    rows = read(workspace, "SELECT customer_id, action_id FROM plan_items")
    assert rows
    assert {row["action_id"].split(":")[1] for row in rows} == {"email", "call"}
    everybody = read(workspace, "SELECT customer_id FROM assignments")
    people = {row["customer_id"] for row in everybody}
    assert not {"c0", "c2"} & people
    assert not [row for row in rows if row["customer_id"] == "c1" and row["action_id"].endswith("email")]


def test_a_rollout_hands_over_consistent_tables(workspace: Workspace) -> None:
    fill(workspace)
    plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    learn(workspace)
    result = plan(
        workspace,
        as_of=DAY,
        wave="rollout",
        goal="profit",
        round_number=1,
        budget=Decimal("40"),
        plan_id="main",
    )
    summary = json.loads(json.dumps(result.to_dict()))["summary"]
    # Forty units of money among 300 people: whole calls leave a trace that fractions would use.
    assert 0 <= summary["gap"] <= 0.005
    assert all(row["kept"] for row in summary["constraints"])
    assert [row["id"] for row in summary["constraints"]][:2] == ["budget", "call_minutes"]
    assert len(summary["frontier"]) >= 10
    assert summary["examples"]
    items = read(workspace, "SELECT * FROM plan_items WHERE plan_id = 'main'")
    arms = read(workspace, "SELECT * FROM assignments WHERE plan_id = 'main'")
    by_customer = {row["customer_id"]: row for row in arms}
    assert sum(Decimal(str(row["expected_cost"])) for row in items) <= 40
    assert {row["customer_id"] for row in items} == {
        c for c, row in by_customer.items() if row["arm"] != "holdout"
    }
    assert all(by_customer[row["customer_id"]]["action_id"] == row["action_id"] for row in items)
    assert summary["arms"]["holdout"] == sum(row["arm"] == "holdout" for row in arms) > 0
    held = {row["customer_id"] for row in arms if row["arm"] == "holdout"}
    earlier = read(
        workspace, "SELECT customer_id FROM assignments WHERE arm = 'holdout' AND plan_id <> 'main'"
    )
    assert held == {row["customer_id"] for row in earlier}
    assert len({row["wave"] for row in read(workspace, "SELECT wave FROM plans")}) == 2


def test_a_plan_can_be_made_anew_until_it_is_launched(workspace: Workspace) -> None:
    fill(workspace, 40)
    for _ in range(2):
        result = plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    counted = {
        table: read(workspace, f"SELECT COUNT(*) AS n, COUNT(DISTINCT run_id) AS runs FROM {table}")[0]
        for table in ("plans", "plan_items", "assignments", "constraints")
    }
    assert {row["runs"] for row in counted.values()} == {1}
    assert counted["plans"]["n"] == 1
    assert counted["plan_items"]["n"] == result.summary["chosen"]
    with workspace.run("deployment", as_of=DAY) as run:
        sent = {
            "delivery_id": "d",
            "plan_id": result.summary["plan_id"],
            "customer_id": "c1",
            "action_id": "a",
            "channel": "email",
            "state": "sent",
            "attempts": 1,
            "unit_cost": Decimal("0.01"),
            "run_id": run.id,
        }
        run.append("deliveries", TABLES["deliveries"].build([sent]))
    with pytest.raises(Conflict) as conflict:
        plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    assert conflict.value.code == "strategy.plan_launched"


def test_a_plan_whose_launch_was_interrupted_stays(workspace: Workspace) -> None:
    fill(workspace, 40)
    name = plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1).summary["plan_id"]
    begun = {"plan_id": name, "delivery_id": "d", "customer_id": "c1", "action_id": "a", "channel": "email"}
    begun |= {"contact_on": DAY, "state": "intent", "reachable": True, "unit_cost_cents": 1}
    with workspace.store.begin() as connection:
        connection.execute(sa.insert(DELIVERIES).values(begun))
    with pytest.raises(Conflict) as conflict:
        plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    assert conflict.value.code == "strategy.plan_launched"


def test_the_cap_ends_with_the_day_of_the_contact(workspace: Workspace) -> None:
    fill(workspace, 40)
    days = workspace.settings.contact.cap_days
    event = {"name": "Message Sent", "source": "deployment", "simulated": False}
    for customer, ago in (("c5", days), ("c6", days - 1)):
        day = DAY - timedelta(days=ago)
        at = datetime(day.year, day.month, day.day, tzinfo=UTC)
        rows = [
            {
                **event,
                "event_id": f"{customer}-{i}",
                "customer_id": customer,
                "occurred_at": at,
                "occurred_on": day,
            }
            for i in range(workspace.settings.contact.cap)
        ]
        with workspace.run("data", as_of=DAY) as run:
            run.append("events", TABLES["events"].build(rows))
    with workspace.read() as reader:
        audience = read_audience(reader, workspace.settings, as_of=DAY)
    capped = dict(zip(audience.customers, audience.capped.tolist(), strict=True))
    assert (capped["c5"], capped["c6"]) == (False, True)


def test_a_later_pilot_tries_the_plan_on_a_share_of_the_audience(workspace: Workspace) -> None:
    fill(workspace)
    plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    learn(workspace)
    pilot = plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=2, plan_id="later")
    rollout = plan(workspace, as_of=DAY, wave="rollout", goal="profit", round_number=2)
    assert pilot.summary["method"] == "lagrangian"
    assert pilot.summary["gap"] is not None
    assert 0.3 < pilot.summary["audience"] / rollout.summary["audience"] < 0.7


def test_bad_arguments_and_an_empty_workspace_are_named(workspace: Workspace) -> None:
    with pytest.raises(NotReady) as missing:
        plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    assert missing.value.code == "strategy.nothing_to_offer"
    fill(workspace, 40)
    for wrong in ({"days": 0}, {"round_number": 0}, {"budget": Decimal("-1")}, {"budget": Decimal("NaN")}):
        with pytest.raises(BadInput):
            plan(workspace, **{"as_of": DAY, "wave": "pilot", "goal": "profit", "round_number": 1, **wrong})
    result = plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1, budget=Decimal("0"))
    assert result.summary["chosen"] == 0
    assert result.status == "partial"


def test_what_rests_on_simulated_answers_says_so(workspace: Workspace) -> None:
    from aimwell.cli.output import State
    from aimwell.cli.strategy import app

    fill(workspace)
    plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1, simulated=True)
    learn(workspace)
    for asked in (["frontier", "--budget", "30"], ["explain", "c5"], ["compare"], ["plan"]):
        found = CliRunner().invoke(
            app, [*asked, "--as-of", DAY.isoformat()], obj=State(workspace.path, False)
        )
        assert "simulated" in found.output, asked
    found = CliRunner().invoke(app, ["show"], obj=State(workspace.path, True))
    assert json.loads(found.output)["rests_on_simulated"] is True


def test_rounds_are_rehearsed_and_labelled_simulated(workspace: Workspace) -> None:
    from aimwell.cli.output import State
    from aimwell.cli.strategy import app

    def call(*arguments: str, as_json: bool = True) -> Any:
        asked = ["simulate", *arguments, "--as-of", DAY.isoformat()]
        found = CliRunner().invoke(app, asked, obj=State(workspace.path, as_json))
        if found.exception is not None:
            raise found.exception
        return json.loads(found.stdout) if as_json else found.stdout

    fill(workspace)
    planted = call("--rounds", "2", "--markets", "2")
    assert planted["simulated"] and not planted["fitted"]
    plan(workspace, as_of=DAY, wave="pilot", goal="profit", round_number=1)
    learn(workspace)
    fitted = call("--rounds", "2", "--markets", "3", "--budget", "30")
    assert fitted["fitted"] and (fitted["rounds"], fitted["markets"]) == (2, 3)
    assert fitted == call("--rounds", "2", "--markets", "3", "--budget", "30")
    assert fitted["policies"][0]["policy"] == "ours"
    assert all(len(row["by_round"]) == 2 for row in fitted["policies"])
    chart = workspace.path / "chart.html"
    nothing = call("--rounds", "2", "--markets", "2", "--budget", "0", "--chart", str(chart), as_json=False)
    assert "chart.html" in nothing.replace("\n", "") and "simulated" in chart.read_text(encoding="utf-8")
    assert "simulated" in nothing and "Not proven" in nothing
    for wrong in (["--rounds", "0"], ["--markets", "1"], ["--markets", "100000"]):
        with pytest.raises(BadInput):
            call(*wrong)


def test_commands(workspace: Workspace, capfd: pytest.CaptureFixture[str]) -> None:
    from aimwell.cli.output import State
    from aimwell.cli.strategy import app

    def call(*arguments: str, as_json: bool = True) -> Any:
        found = CliRunner().invoke(app, list(arguments), obj=State(workspace.path, as_json))
        assert found.exception is None, found.exception
        return json.loads(found.output) if as_json else found.output

    fill(workspace)
    day = ["--as-of", DAY.isoformat()]
    assert call("actions", *day)["proposed"] is True
    assert call("plan", "--wave", "pilot", *day)["summary"]["chosen"] > 0
    learn(workspace)
    assert call("plan", "--wave", "rollout", "--budget", "30", *day)["summary"]["gap"] <= 0.01
    assert call("show")["wave"] in ("pilot", "rollout")
    assert call("show", f"r1-rollout-{DAY}")["by_action"]
    assert "r1-pilot" in call("show", f"r1-pilot-{DAY}", as_json=False)
    real = call("frontier", "--budget", "30", *day)
    assert real["frontier"][0]["profit"] == 0.0
    assert not real["rests_on_simulated"]
    explained = call("explain", "c5", *day)
    assert explained["alternatives"]
    assert "PRODUCE" in call("actions", *day, as_json=False)
    assert "c5" not in call("explain", "c5", *day, as_json=False) or explained["latest"]
    assert call("frontier", *day, as_json=False)
    asked = [
        "--base",
        "30",
        "--budget",
        "x2",
        "--without",
        "call",
        "--without",
        "budget",
        "--minimum",
        "email=5",
    ]
    rows = call("compare", *asked, *day)["scenarios"]
    assert [row["name"] for row in rows][:2] == ["base", "budget=60.00"]
    assert len(rows) == 5
    assert call("compare", "--base", "30", *day, as_json=False)
    for unusable in (["--minimum", "email"], ["--budget", "xx"], ["--without", "pigeon"]):
        found = CliRunner().invoke(app, ["compare", *unusable, *day], obj=State(workspace.path, True))
        assert isinstance(found.exception, BadInput)
    missing = CliRunner().invoke(app, ["show", "none"], obj=State(workspace.path, True))
    assert isinstance(missing.exception, NotReady)
    for wrong in (["plan", "--wave", "big"], ["explain", "nobody", *day], ["plan", "--as-of", "soon"]):
        found = CliRunner().invoke(app, wrong, obj=State(workspace.path, True))
        assert isinstance(found.exception, BadInput)


def test_the_depth_of_a_discount_leaves_margin() -> None:
    assert choose_depth(None, 0.3) == 15
    assert choose_depth(0.33, 0.3) == 20
    assert choose_depth(0.33, 0.6) == 35
    assert choose_depth(0.01, 0.6) == 5
    assert choose_depth(0.9, 1.0) == 50
    assert choose_depth(0.3, 0.05) is None
