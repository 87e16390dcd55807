"""Whom an action is offered to: validity, lead time, rule, group; and the reason where it is not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.core.tables import TABLES
from aimwell.core.text import say
from aimwell.engine.settings import LimitSettings
from aimwell.engine.workspace import Workspace
from aimwell.strategy.actions import Action, build_action_rows
from aimwell.strategy.customer_reasons import read_exclusions
from aimwell.strategy.eligibility import find_not_offered, read_conditions
from aimwell.strategy.step import plan, read_actions, read_inputs, save_actions
from tests.strategy.test_step import DAY, fill, learn

PLAIN = Action(
    action_id="x:email",
    offer="x",
    title=say("{offer}, by {channel}", offer="x", channel=say("e-mail")),
    channel="email",
    department=None,
    discount=0.1,
    unit_cost=Decimal("0.01"),
    redemption_cost=Decimal(1),
    minutes=0.0,
)
CALL = replace(PLAIN, action_id="x:call", channel="call", minutes=4.0)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "shop", name="shop", zone="UTC", currency="USD")
    fill(opened, 120)
    yield opened
    opened.close()


def read(workspace: Workspace, *actions: Action, days: int = 28) -> Any:
    with workspace.read() as reader:
        customers = [f"c{i}" for i in range(120)]
        return read_conditions(reader, actions, customers, as_of=DAY, days=days)


days = st.none() | st.dates(date(2024, 5, 1), date(2024, 7, 31))


@given(days, days, st.integers(0, 40), st.integers(1, 40))
def test_the_contact_must_lie_in_the_plan_and_in_the_validity(
    begin: date | None, end: date | None, lead: int, window: int
) -> None:
    if begin is not None and end is not None and begin > end:
        begin, end = end, begin
    action = replace(PLAIN, valid_from=begin, valid_to=end, lead_days=lead)
    contact = DAY + timedelta(days=lead)
    offered = lead < window and (begin is None or begin <= contact) and (end is None or contact <= end)
    found = find_not_offered([action], as_of=DAY, days=window)
    assert (action.action_id not in found) == offered
    for text in found.values():
        assert text.render("zh") != text.render("en")


def test_an_action_without_conditions_is_offered_to_everybody(workspace: Workspace) -> None:
    found = read(workspace, PLAIN, CALL)
    assert found.offered.all()
    assert found.explain(PLAIN, "c3") is None


def test_a_rule_and_a_saved_segment_choose_the_customers(workspace: Workspace) -> None:
    with workspace.run("analysis", as_of=DAY) as run:
        tags = [{"customer_id": f"c{i}", "as_of": DAY, "run_id": run.id, "visits": i} for i in range(120)]
        schema = TABLES["tags"].build([]).schema
        table = {name: [row.get(name) for row in tags] for name in [*schema.names, "visits"]}
        run.replace("tags", pa.table(table))
        members = [
            {"segment": "vip", "customer_id": f"c{i}", "entered_on": DAY, "run_id": run.id} for i in (4, 7)
        ]
        gone = {"segment": "vip", "customer_id": "c9", "entered_on": DAY - timedelta(days=9), "left_on": DAY}
        run.replace(
            "segment_members", TABLES["segment_members"].build([*members, {**gone, "run_id": run.id}])
        )
    many = replace(PLAIN, rule={"tag": "visits", "is": ">=", "value": 100})
    vip = replace(CALL, rule={"segment": "vip"})
    found = read(workspace, many, vip)
    assert np.flatnonzero(found.offered[:, 0]).tolist() == list(range(100, 120))
    assert np.flatnonzero(found.offered[:, 1]).tolist() == [4, 7]
    told = found.explain(vip, "c5")
    assert told is not None
    assert "rule" in told.render("en")
    assert found.explain(vip, "c4") is None
    with pytest.raises(BadInput):
        read(workspace, replace(PLAIN, rule={"segment": "nobody_knows"}))
    with pytest.raises(BadInput):
        read(workspace, replace(PLAIN, rule={"tag": "no_such_tag", "is": "=", "value": 1}))
    with pytest.raises(BadInput) as caught:
        read(workspace, replace(PLAIN, rule={"what": "ever"}))
    assert caught.value.code == "strategy.bad_rule"


def launch(workspace: Workspace, plan_id: str, day: date, customer: str, state: str = "sent") -> None:
    """As if a plan of 28 days had been launched that gave the customer the e-mail."""
    one = {"plan_id": plan_id, "goal": "g", "round_number": 1, "wave": "rollout", "method": "lagrangian"}
    one |= {"as_of": day, "days": 28, "audience": 1, "chosen": 1, "cost": Decimal(1), "fingerprint": "f"}
    one |= {"expected_profit": 1.0, "expected_profit_se": 1.0, "simulated": False}
    sent = {"delivery_id": plan_id, "plan_id": plan_id, "customer_id": customer, "action_id": "x:email"}
    sent |= {"channel": "email", "state": state, "attempts": 1, "unit_cost": Decimal("0.01")}
    with workspace.run("deployment", as_of=day) as run:
        for name, row in (("plans", one), ("deliveries", sent)):
            rows = TABLES[name].build([{**row, "run_id": run.id}])
            run.put(name, rows, column="plan_id", value=plan_id)


def test_of_a_group_a_customer_holds_one_action_while_its_plan_runs(workspace: Workspace) -> None:
    email, call = (replace(action, exclusive_group="vip") for action in (PLAIN, CALL))
    other = replace(PLAIN, action_id="y:email", offer="y", exclusive_group="else")
    save_actions(workspace, [email, call, other], as_of=DAY)
    launch(workspace, "running", DAY - timedelta(days=27), "c3")
    launch(workspace, "over", DAY - timedelta(days=28), "c4")
    launch(workspace, "lost", DAY - timedelta(days=5), "c5", "failed")
    found = read(workspace, email, call, other)
    assert np.argwhere(~found.offered).tolist() == [[3, 1]]
    told = found.explain(call, "c3")
    assert told is not None
    assert (
        told.render("en") == f"x:email was given, which excludes the others of the group 'vip' until {DAY}."
    )
    assert found.explain(email, "c3") is None
    assert found.explain(call, "c4") is None
    with workspace.read() as reader:
        exclusions = read_exclusions(
            reader, workspace.settings, "c3", as_of=DAY, actions=read_actions(reader)
        )
    assert exclusions["x:call"].render("zh") != exclusions["x:call"].render("en")
    assert "x:email" not in exclusions


def test_a_plan_offers_what_may_be_offered_and_says_why_not(workspace: Workspace) -> None:
    fixed = [
        replace(PLAIN, action_id="old:email", offer="old", valid_to=DAY - timedelta(days=1)),
        replace(CALL, action_id="list:call", offer="list", lead_days=28),
        replace(CALL, action_id="quick:call", offer="quick", lead_days=2, minimum=12, slot=None),
        replace(PLAIN, action_id="x:email:evening", slot="evening"),
    ]
    assert vars(save_actions(workspace, fixed, as_of=DAY)) == {"new": 4, "changed": 0, "count": 4}
    assert vars(save_actions(workspace, fixed[:1], as_of=DAY)) == {"new": 0, "changed": 0, "count": 4}
    learn(workspace)
    result = plan(workspace, as_of=DAY, wave="rollout", goal="profit", round_number=1)
    with workspace.read() as reader:
        items = reader.query("SELECT action_id, COUNT(*) AS n FROM plan_items GROUP BY action_id").to_pylist()
        limits = reader.query("SELECT constraint_id, used FROM constraints").to_pylist()
        exclusions = read_exclusions(
            reader, workspace.settings, "c9", as_of=DAY, actions=read_actions(reader)
        )
    counts = {row["action_id"]: row["n"] for row in items}
    assert set(counts) <= {"quick:call", "x:email:evening"}
    assert counts["quick:call"] >= 12
    assert {row["constraint_id"]: row["used"] for row in limits}["minimum:quick:call"] == counts["quick:call"]
    assert result.summary["chosen"] == sum(counts.values())
    assert exclusions["old:email"].render("en").startswith("it is valid until 2024-05-31 only")
    assert exclusions["list:call"].render("zh").startswith("需准备 28 天")
    assert "quick:call" not in exclusions


def test_the_settings_limits_and_pressure_reach_the_plan(workspace: Workspace) -> None:
    save_actions(workspace, [PLAIN, CALL], as_of=DAY)
    learn(workspace)
    sent = datetime(2024, 5, 30, tzinfo=UTC)
    event = {"customer_id": "c8", "name": "Message Sent", "occurred_at": sent, "occurred_on": sent.date()}
    with workspace.run("data", as_of=DAY) as run:
        rows = [{**event, "event_id": "one", "source": "x", "simulated": False}]
        run.append("events", TABLES["events"].build(rows))
    limit = LimitSettings(
        id="few", unit="contacts", at_most=5, channel="call", where={"customers.source": "test"}
    )
    strategy = workspace.settings.strategy.model_copy(
        update={"limits": (limit,), "pressure_cost": Decimal("0.25")}
    )
    settings = workspace.settings.model_copy(update={"strategy": strategy})
    with workspace.read() as reader:
        inputs = read_inputs(reader, settings, read_actions(reader), as_of=DAY, plan_id="p")
        assert inputs.pressure is not None
        assert inputs.pressure[inputs.customers.index("c8")] == 0.25
        assert inputs.pressure[inputs.customers.index("c2")] == 0.5
        assert inputs.pressure.sum() == 0.75
        assert inputs.limits[-1].limit_id == "few"
        wrong = LimitSettings(id="few", at_most=5, where={"customers.nothing": "x"})
        broken = strategy.model_copy(update={"limits": (wrong,)})
        with pytest.raises(BadInput) as caught:
            read_inputs(
                reader, settings.model_copy(update={"strategy": broken}), (PLAIN,), as_of=DAY, plan_id="p"
            )
    assert caught.value.code == "strategy.unknown_trait"


def test_actions_of_an_older_workspace_are_read_with_defaults() -> None:
    (row,) = build_action_rows([PLAIN], "run").to_pylist()
    younger = ("slot", "valid_from", "valid_to", "lead_days", "exclusive_group", "minimum")
    older = {name: value for name, value in row.items() if name not in younger}
    assert Action.from_row(older) == PLAIN
    assert Action.from_row({**older, **dict.fromkeys(younger)}) == PLAIN
    for wrong in (
        {"slot": "night"},
        {"lead_days": -1},
        {"minimum": -1},
        {"valid_from": DAY, "valid_to": DAY - timedelta(days=1)},
    ):
        with pytest.raises(BadInput):
            replace(PLAIN, **wrong)
