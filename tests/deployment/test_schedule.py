from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.core.errors import BadInput, Conflict, NotAllowed, NotReady
from aimwell.core.time import business_day, now
from aimwell.deployment.audience import read_addressees, read_plan
from aimwell.deployment.campaign import Campaigns
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.dispatch import Dispatcher
from aimwell.deployment.ledger import Terms
from aimwell.deployment.ramp import Pace
from aimwell.deployment.reconciliation import check_sums
from aimwell.deployment.schedule import find_next_launch, launch_due, schedule, set_pace
from aimwell.deployment.sink import Sink
from aimwell.deployment.step import approve, launch
from aimwell.deployment.timing import Timing
from aimwell.deployment.trial import send_test
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import DAY, SENDER, build_workspace, count, open_ledger, write_plan

ZONE = "America/New_York"


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with Sink(tmp_path / "mails") as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = build_workspace(tmp_path / "shop")
    yield made
    made.close()


def connect(sink: Sink) -> dict[str, SmtpChannel]:
    return {"email": SmtpChannel(Server("127.0.0.1", sink.port, SENDER), connections=4)}


def demand_two_people(workspace: Workspace) -> Workspace:
    path = workspace.path
    file = path / "aimwell.toml"
    text = file.read_text(encoding="utf-8").replace("second_person = false", "second_person = true")
    file.write_text(text, encoding="utf-8")
    workspace.close()
    return Workspace.open(path)


def test_the_worker_launches_what_is_due(workspace: Workspace, sink: Sink) -> None:
    at = now() - timedelta(seconds=5)
    schedule(workspace, "p1", at=at, on=DAY, by="ann")
    due = find_next_launch(workspace)
    assert due is not None and abs((due - at).total_seconds()) < 0.01
    assert launch_due(workspace) == 1
    assert sink.count == 0 and find_next_launch(workspace) is None
    assert launch_due(workspace) == 0
    Dispatcher(workspace, connect(sink)).dispatch()
    assert sink.count > 0
    campaign = Campaigns(workspace.store).require("p1")
    assert (campaign.state, campaign.launched_by) == ("pilot", "ann")
    assert all(one.holds for one in check_sums(workspace.store))
    with pytest.raises(Conflict):
        schedule(workspace, "p1", at=at, on=DAY, by="ann")


def test_a_start_can_be_taken_back_and_needs_a_zone(workspace: Workspace) -> None:
    schedule(workspace, "p1", at=now() + timedelta(hours=1), on=DAY, by="ann")
    schedule(workspace, "p1", at=None, by="ann")
    assert find_next_launch(workspace) is None
    with pytest.raises(BadInput):
        schedule(workspace, "p1", at=datetime(2026, 1, 1, 10), on=DAY, by="ann")


def test_a_second_person_has_to_approve(workspace: Workspace, sink: Sink) -> None:
    strict = demand_two_people(workspace)
    with pytest.raises(NotReady):
        launch(strict, plan_id="p1", as_of=DAY, channels=connect(sink), by="ann")
    approve(strict, "p1", by="ann")
    with pytest.raises(NotAllowed) as caught:
        launch(strict, plan_id="p1", as_of=DAY, channels=connect(sink), by="ann")
    assert caught.value.code == "deployment.same_person" and sink.count == 0
    schedule(strict, "p1", at=now(), on=DAY, by="ann")
    assert launch_due(strict) == 0, "whoever ordered the start counts, not the worker"
    assert find_next_launch(strict) is None, "it is not tried every second"
    approve(strict, "p1", by="ben")
    assert launch(strict, plan_id="p1", as_of=DAY, channels=connect(sink), by="ann").status == "done"
    strict.close()


def test_a_paced_campaign_goes_on_with_the_worker(workspace: Workspace, sink: Sink) -> None:
    set_pace(workspace, "p1", Pace(per_hour=5), by="ann")
    result = launch(workspace, plan_id="p1", as_of=DAY, channels=connect(sink))
    audience = result.summary["audience"]
    assert result.status == "partial" and result.summary["states"]["sent"] == 1
    dispatcher = Dispatcher(workspace, connect(sink))
    due = dispatcher.find_due()
    assert due is not None and due > now() + timedelta(minutes=5), "twelve minutes for each"
    set_pace(workspace, "p1", Pace(), by="ann")
    noon = datetime(2017, 9, 4, 16, tzinfo=UTC).timestamp()
    by_day = Dispatcher(workspace, connect(sink), clock=lambda: noon)
    while by_day.dispatch():
        pass
    assert count(open_ledger(workspace.store), "p1") == {"sent": audience}
    assert len(set(sink.message_ids)) == sink.count


def test_a_test_goes_to_the_tester_and_counts_for_nobody(
    workspace: Workspace, sink: Sink, tmp_path: Path
) -> None:
    states = send_test(
        workspace, "p1", to=["me@shop.example", "you@shop.example"], channel="email", channels=connect(sink)
    )
    assert states == {"sent": 2}
    mails = [path.read_text(encoding="utf-8") for path in sorted((tmp_path / "mails").glob("*.eml"))]
    assert all("[Test]" in mail for mail in mails)
    assert {"me@shop.example" in mail for mail in mails} == {True, False}
    rows = open_ledger(workspace.store).read_rows()
    assert {(row["customer_id"], row["purpose"], row["unit_cost_cents"]) for row in rows} == {
        ("test", "test", 0)
    }
    assert not any("shop.example" in str(value) for row in rows for value in row.values()), (
        "no address is kept"
    )
    result = launch(workspace, plan_id="p1", as_of=DAY, channels=connect(sink))
    assert result.summary["states"]["sent"] == result.summary["audience"], "no cap was used"
    with workspace.read() as reader:
        assert reader.query("SELECT * FROM deliveries WHERE customer_id = 'test'").num_rows == 0
    with pytest.raises(BadInput):
        send_test(workspace, "p1", to=["no address"], channel="email", channels=connect(sink))
    with pytest.raises(NotReady):
        send_test(workspace, "p1", to=["me@shop.example"], customer_id="nobody", channels=connect(sink))


def read_subjects(folder: Path, address: str) -> list[str]:
    mails = [message_from_bytes(path.read_bytes(), policy=policy.default) for path in folder.glob("*.eml")]
    return [str(mail["Subject"]) for mail in mails if address in str(mail["To"])]


def test_a_proof_has_one_message_of_each_version(workspace: Workspace, sink: Sink, tmp_path: Path) -> None:
    with workspace.run("data", as_of=DAY) as run:
        customers = run.query("SELECT * FROM customers ORDER BY customer_id")
        spoken = [("zh", "en", None)[number // 2 % 3] for number in range(customers.num_rows)]
        run.replace("customers", customers.append_column("language", pa.array(spoken, pa.string())))
    states = send_test(
        workspace, "p1", to=["me@shop.example"], channel="email", every=True, channels=connect(sink)
    )
    assert states == {"sent": 3}, "the same action in two languages, and for whoever told none"
    subjects = read_subjects(tmp_path / "mails", "me@shop.example")
    assert sorted(subject[:4] for subject in subjects) == ["[Tes", "[Tes", "[测试]"]


def test_seeds_get_what_goes_out_once(tmp_path: Path, sink: Sink) -> None:
    made = build_workspace(tmp_path / "shop")
    file = made.path / "aimwell.toml"
    seeds = '\n[contact.channels.email]\nseeds = ["seed@shop.example", "boss@shop.example"]\n'
    file.write_text(file.read_text(encoding="utf-8") + seeds, encoding="utf-8")
    made.close()
    workspace = Workspace.open(made.path)
    noon = datetime(2017, 9, 4, 16, tzinfo=UTC).timestamp()
    for _ in range(2):
        result = launch(workspace, plan_id="p1", as_of=DAY, channels=connect(sink), clock=lambda: noon)
        assert result.summary["seeds"] == {"sent": 2}
        assert sum(result.summary["states"].values()) == result.summary["audience"]
    for address in ("seed@shop.example", "boss@shop.example"):
        (subject,) = read_subjects(tmp_path / "mails", address)
        assert "Test" not in subject
    text = file.read_text(encoding="utf-8").replace("seed@shop.example", "no address")
    file.write_text(text, encoding="utf-8")
    workspace.close()
    wrong = Workspace.open(made.path)
    with pytest.raises(BadInput, match="no address"):
        launch(wrong, plan_id="p1", as_of=DAY, channels=connect(sink), clock=lambda: noon)
    wrong.close()


def make_timing(workspace: Workspace, plan_day: date, instant: datetime, pace: Pace | None = None) -> Timing:
    with workspace.run("strategy", as_of=DAY) as run:
        write_plan(run, "live", ["c00", "c01"], day=plan_day)
    with workspace.read() as reader:
        plan = read_plan(reader, "live", content={})
    return Timing(plan, business_day(instant, ZONE), instant, ZONE, pace or Pace())


def test_lead_time_validity_and_waves_decide_when(workspace: Workspace) -> None:
    instant = datetime(2026, 3, 2, 15, tzinfo=UTC)
    timing = make_timing(workspace, date(2026, 3, 2), instant)
    with workspace.read() as reader:
        item = read_addressees(reader, "live")[0]
    assert not timing.replayed
    plain = timing.find_span(item, "d")
    assert (plain.contact_on, plain.not_before_ms) == (date(2026, 3, 2), 0)
    assert plain.expires_ms == int(datetime(2026, 3, 30, 4, tzinfo=UTC).timestamp() * 1000), (
        "the window's end"
    )
    led = timing.find_span(replace(item, lead_days=3, valid_to=date(2026, 3, 6)), "d")
    assert led.contact_on == date(2026, 3, 5)
    assert led.not_before_ms == int(datetime(2026, 3, 5, 5, tzinfo=UTC).timestamp() * 1000)
    assert led.expires_ms == int(datetime(2026, 3, 7, 5, tzinfo=UTC).timestamp() * 1000)
    valid = timing.find_span(replace(item, valid_from=date(2026, 3, 10)), "d")
    assert valid.contact_on == date(2026, 3, 10)
    waves = replace(timing, pace=Pace(waves=(0.5, 0.5), wave_hours=2))
    starts = {waves.find_span(item, f"d{number}").not_before_ms for number in range(50)}
    assert starts == {0, int(instant.timestamp() * 1000) + 7_200_000}
    past = replace(timing, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert past.replayed and past.find_span(item, "d").expires_ms is None


def test_quiet_hours_hold_at_the_clock_of_the_launch(workspace: Workspace, sink: Sink) -> None:
    night = datetime(2017, 9, 5, 3, tzinfo=UTC).timestamp()
    result = launch(workspace, plan_id="p1", as_of=DAY, channels=connect(sink), clock=lambda: night)
    reasons = {reason["code"]: reason["customers"] for reason in result.summary["reasons"]}
    states = {way["channel"]: way for way in result.summary["by_channel"]}
    assert states["email"]["sent"] > 0 and states["sms"]["sent"] == 0 and states["call"]["sent"] == 0
    assert reasons["quiet_hours"] == states["sms"]["queued"] + states["call"]["queued"]
    morning = datetime(2017, 9, 5, 15, tzinfo=UTC).timestamp()
    later = launch(workspace, plan_id="p1", as_of=DAY, channels=connect(sink), clock=lambda: morning)
    assert later.summary["states"]["sent"] == later.summary["audience"]


def call(workspace: Workspace, *words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, ["-w", str(workspace.path), "--json", "deployment", *words])
    return done.exit_code, done.output + str(getattr(done.exception, "code", ""))


def test_the_command_line(workspace: Workspace, sink: Sink) -> None:
    code, said = call(workspace, "halt", "--by", "ann")
    assert code == 0 and '"changed": true' in said
    assert "halted since" in call(workspace, "status")[1]
    result = launch(workspace, plan_id="p1", as_of=DAY, channels=connect(sink), terms=Terms(lease=1.0))
    assert result.summary["states"]["sent"] == 0
    assert call(workspace, "continue")[0] == 0
    assert call(workspace, "pace", "p1", "--per-minute", "600", "--waves", "50,50")[0] == 0
    code, said = call(workspace, "pace", "p1", "--waves", "50,20")
    assert code == 1 and "deployment.bad_pace" in said
    assert call(workspace, "check")[0] == 0
    code, said = call(workspace, "status", "p1")
    assert code == 0 and '"campaign"' in said
    for group in ("doubt", "dead"):
        code, said = call(workspace, group, "list")
        assert code == 0 and '"deliveries": []' in said
    code, said = call(workspace, "doubt", "settle", "nothing", "--as", "sent")
    assert code != 0 and "deployment.not_unsettled" in said
    code, said = call(workspace, "doubt", "settle", "nothing", "--as", "perhaps")
    assert code == 1 and "deployment.unknown_finding" in said
    code, said = call(workspace, "schedule", "p1", "--at", "soon")
    assert code == 1 and "cli.bad_instant" in said
    code, said = call(workspace, "schedule", "p1")
    assert code == 1 and "deployment.no_start" in said
