from __future__ import annotations

import csv
import email
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.policy import default
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from aimwell.core.errors import AimwellError, BadInput, Conflict, NotAllowed, NotReady
from aimwell.core.steps import StepResult
from aimwell.deployment.campaign import Campaigns
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.ledger import Terms
from aimwell.deployment.sink import Sink
from aimwell.deployment.step import approve, decide, launch, stop, suppress
from aimwell.deployment.unsubscribe import load_secret, read_token
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import (
    CHANNELS,
    DAY,
    SENDER,
    build_workspace,
    consent,
    count,
    describe,
    open_ledger,
    replace,
    write_plan,
)

CUSTOMERS = 40


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with Sink(tmp_path / "mails") as running:
        yield running


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = build_workspace(tmp_path / "shop", customers=CUSTOMERS)
    yield made
    made.close()


def send(workspace: Workspace, sink: Sink, plan: str = "p1") -> StepResult:
    channel = SmtpChannel(Server("127.0.0.1", sink.port, SENDER), connections=4)
    return launch(
        workspace, plan_id=plan, as_of=DAY, channels={"email": channel}, terms=Terms(lease=1.0, retry=0)
    )


def query(workspace: Workspace, sql: str) -> list[dict[str, object]]:
    with workspace.read() as reader:
        rows: list[dict[str, object]] = reader.query(sql).to_pylist()
    return rows


def test_only_treatment_is_contacted(workspace: Workspace, sink: Sink) -> None:
    result = send(workspace, sink)
    summary = result.summary
    treated = {
        row["customer_id"]
        for row in query(workspace, "SELECT customer_id FROM assignments WHERE arm = 'treatment'")
    }
    assert result.status == "done" and result.lacks == ()
    assert summary["audience"] == summary["states"]["sent"] == len(treated)
    assert summary["sums_up"] is True
    assert {row["customer_id"] for row in query(workspace, "SELECT customer_id FROM deliveries")} == treated
    assert {row["customer_id"] for row in query(workspace, "SELECT customer_id FROM events")} == treated
    assert sum(way["sent"] for way in summary["by_channel"]) == len(treated)
    assert summary["cost"] == pytest.approx(0.05 * len(treated))
    mails = next(way for way in summary["by_channel"] if way["channel"] == "email")
    assert mails["sent"] == sink.count > 0
    json.dumps(summary)


def test_messages_say_the_offer(workspace: Workspace, sink: Sink, tmp_path: Path) -> None:
    summary = send(workspace, sink).summary
    mail = email.message_from_bytes((tmp_path / "mails" / "000001.eml").read_bytes(), policy=default)
    assert "20% off Produce" in str(mail["Subject"])
    body = mail.get_body(("plain",))
    assert body is not None and "Bananas" in body.get_content()
    token = str(mail["List-Unsubscribe"]).strip("<>").rpartition("/")[2]
    assert read_token(load_secret(workspace.path), token).channel == "email"
    for file in summary["outbox"]:
        with (workspace.path / file["file"]).open(encoding="utf-8-sig", newline="") as stream:
            assert len(list(csv.DictReader(stream))) == file["rows"] > 0
    assert all(
        (workspace.path / file["file"]).is_relative_to(workspace.path / "outbox")
        for file in summary["outbox"]
    )


def test_launching_again_doubles_nothing(workspace: Workspace, sink: Sink) -> None:
    first = send(workspace, sink).summary
    taken = sink.count
    second = send(workspace, sink).summary
    assert sink.count == taken
    assert second == first
    assert query(workspace, "SELECT count(*) AS n FROM events") == [{"n": first["audience"]}]


class Fragile(Channel):
    """Delivers, then dies before the receipt is recorded."""

    def __init__(self, inner: SmtpChannel) -> None:
        self.inner, self.promise, self.window, self.batches = inner, inner.promise, 3, 0

    def deliver(self, message: Message) -> Receipt:
        raise AssertionError

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        self.batches += 1
        receipts = self.inner.deliver_batch(messages)
        if self.batches == 2:
            raise KeyboardInterrupt
        return receipts

    def finish(self) -> None:
        self.inner.finish()


def test_a_crash_between_handover_and_record_is_doubt_not_a_repeat(workspace: Workspace, sink: Sink) -> None:
    fragile = Fragile(SmtpChannel(Server("127.0.0.1", sink.port, SENDER), connections=3))
    with pytest.raises(KeyboardInterrupt):
        launch(workspace, plan_id="p1", as_of=DAY, channels={"email": fragile}, terms=Terms(lease=0.5))
    assert sink.count == 6
    result = send(workspace, sink)
    assert result.status == "partial"
    assert result.summary["states"]["in_doubt"] == 3
    assert result.summary["sums_up"] is True
    assert sink.count == len(set(sink.message_ids))
    mails = next(way for way in result.summary["by_channel"] if way["channel"] == "email")
    assert mails["sent"] + 3 == mails["planned"] == sink.count
    assert mails["cost"] == pytest.approx(0.05 * mails["sent"]), "doubt is not cost"


def test_without_consents_everything_is_skipped_and_said(workspace: Workspace, sink: Sink) -> None:
    with workspace.run("data", as_of=DAY) as run:
        replace(run, "consents", [])
    result = send(workspace, sink)
    assert result.status == "skipped" and len(result.lacks) == 1
    assert result.summary["states"]["skipped"] == result.summary["audience"] > 0
    assert [reason["code"] for reason in result.summary["reasons"]] == ["no_consent"]
    assert sink.count == 0
    with workspace.run("data", as_of=DAY) as run:
        replace(
            run, "consents", [consent(f"c{n:02d}", channel) for n in range(CUSTOMERS) for channel in CHANNELS]
        )
    assert send(workspace, sink).status == "done", "cured, launched again"


def test_withdrawals_count_whenever_they_are_known_and_grants_from_the_future_never(
    workspace: Workspace, sink: Sink
) -> None:
    late = {"since": datetime.now(UTC) + timedelta(days=3)}
    with workspace.run("data", as_of=DAY) as run:
        rows = [
            consent("c00", "email"),
            {**consent("c00", "email", allowed=False), **late},
            {**consent("c02", "email"), **late},
            consent("c04", "email"),
            {**consent("c04", "email", allowed=False, day=2), "purpose": "service"},
            consent("c06", "email"),
            consent("c06", "email", allowed=False, day=2),
            consent("c06", "email", day=3),
        ]
        replace(run, "consents", rows)
    send(workspace, sink)
    sent = query(workspace, "SELECT customer_id FROM deliveries WHERE state = 'sent' ORDER BY customer_id")
    assert [row["customer_id"] for row in sent] == ["c04", "c06"]


def test_suppressed_and_unreachable_customers_are_left_out(workspace: Workspace, sink: Sink) -> None:
    assert suppress(workspace, "c00")
    with workspace.run("data", as_of=DAY) as run:
        rows = [describe(f"c{number:02d}") for number in range(CUSTOMERS)]
        rows[2]["email"] = "x@y.example\r\nBcc: all@z.example"
        rows[4]["email"] = None
        replace(run, "customers", rows)
    summary = send(workspace, sink).summary
    assert {reason["code"]: reason["customers"] for reason in summary["reasons"]} == {
        "suppressed": 1,
        "no_address": 2,
    }


def test_two_plans_keep_the_cap_together(workspace: Workspace, sink: Sink) -> None:
    names = [f"c{number:02d}" for number in range(CUSTOMERS)]
    with workspace.run("strategy", as_of=DAY) as run:
        for number in (2, 3):
            write_plan(run, f"p{number}", names, round_number=number)
    results = [send(workspace, sink, plan).summary for plan in ("p1", "p2", "p3")]
    assert [result["states"]["skipped"] for result in results] == [0, 0, results[2]["audience"]]
    assert results[2]["reasons"][0]["code"] == "contact_cap"


def test_messages_of_other_systems_count_towards_the_cap(workspace: Workspace, sink: Sink) -> None:
    from aimwell.core.tables import EVENTS

    day = DAY - timedelta(days=5)
    rows = [
        {
            "event_id": f"e{n}",
            "customer_id": "c00",
            "name": "Message Sent",
            "occurred_on": day,
            "source": "crm",
            "occurred_at": datetime.combine(day, datetime.min.time(), UTC),
            "simulated": False,
        }
        for n in range(2)
    ]
    with workspace.run("data", as_of=DAY) as run:
        run.append("events", EVENTS.build(rows))
    assert send(workspace, sink).summary["reasons"][0]["customers"] == 1


def test_events_stand_on_the_day_of_the_plan(workspace: Workspace, sink: Sink) -> None:
    send(workspace, sink)
    rows = query(workspace, "SELECT DISTINCT occurred_on, name, campaign_id, simulated FROM events")
    assert rows == [{"occurred_on": DAY, "name": "Message Sent", "campaign_id": "p1", "simulated": False}]


def test_an_approval_is_void_after_any_change(workspace: Workspace, sink: Sink) -> None:
    assert approve(workspace, "p1", by="ann").state == "reviewed"
    own = workspace.path / "templates" / "en"
    own.mkdir(parents=True)
    (own / "subject.txt").write_text("New", encoding="utf-8")
    with pytest.raises(NotReady):
        send(workspace, sink)
    approve(workspace, "p1", by="ann")
    assert send(workspace, sink).status == "done"
    (own / "subject.txt").write_text("Newer", encoding="utf-8")
    with pytest.raises(Conflict):
        send(workspace, sink)


@pytest.mark.parametrize("go", [True, False])
def test_the_rollout_follows_the_decision(workspace: Workspace, sink: Sink, go: bool) -> None:
    with workspace.run("strategy", as_of=DAY) as run:
        write_plan(run, "p2", [f"c{number:02d}" for number in range(CUSTOMERS)], wave="rollout")
    send(workspace, sink)
    with pytest.raises(NotReady):
        send(workspace, sink, "p2")
    assert decide(workspace, "p1", {"decision": {"go": go, "reasons": []}}).go is go
    if go:
        assert send(workspace, sink, "p2").summary["states"]["sent"] > 0
    else:
        with pytest.raises(NotAllowed):
            send(workspace, sink, "p2")


def test_a_paused_or_stopped_campaign_sends_nothing(workspace: Workspace, sink: Sink) -> None:
    closed = SmtpChannel(Server("127.0.0.1", 9, SENDER, timeout=1))
    result = launch(workspace, plan_id="p1", as_of=DAY, channels={"email": closed})
    waiting = result.summary["states"]["queued"]
    assert result.status == "partial" and waiting > 0 and len(result.lacks) == 1
    assert stop(workspace, "p1") == waiting
    with pytest.raises(Conflict):
        send(workspace, sink)
    assert sink.count == 0
    assert count(open_ledger(workspace.store))["skipped"] == waiting


def test_a_plan_that_is_not_there(workspace: Workspace, sink: Sink) -> None:
    with pytest.raises(NotReady) as error:
        send(workspace, sink, "nothing")
    assert error.value.code == "deployment.no_plan"


def test_the_command_line(workspace: Workspace) -> None:
    from aimwell.cli.deployment import app
    from aimwell.cli.output import State

    def run(*words: str) -> dict[str, object]:
        result = CliRunner().invoke(app, list(words), obj=State(workspace.path, True))
        if isinstance(result.exception, AimwellError):
            raise result.exception
        assert result.exit_code == 0, result.output
        loaded: dict[str, object] = json.loads(result.stdout)
        return loaded

    assert run("suppress", "c00")["added"] is True
    assert run("approve", "p1", "--by", "ann")["state"] == "reviewed"
    launched = run("launch", "p1")
    assert launched["status"] == "partial", "no mail server: e-mails wait"
    assert run("decide", "p1", "--go", "--because", "it works")["go"] is True
    assert run("status", "p1")["states"] == launched["summary"]["states"]  # type: ignore[index]
    assert run("pause", "p1")["control"] == "paused"
    assert run("resume", "p1")["control"] == "running"
    assert run("stop", "p1")["skipped"] == launched["summary"]["states"]["queued"]  # type: ignore[index]
    assert len(run("status")["campaigns"]) == 1  # type: ignore[arg-type]
    with pytest.raises(AimwellError):
        run("suppress", "c01", "--channel", "pigeon")
    text = CliRunner().invoke(app, ["status", "p1"], obj=State(workspace.path, False))
    assert text.exit_code == 0 and text.output


def test_a_day_outside_the_window_is_refused(workspace: Workspace) -> None:
    for offset in (-1, 28):
        with pytest.raises(BadInput):
            launch(workspace, plan_id="p1", as_of=DAY + timedelta(days=offset))


class Pausing(Channel):
    """Somebody presses pause while the first batch is under way."""

    promise = Promise.REJECTS_REPEATS
    window = 2

    def __init__(self, campaigns: Campaigns) -> None:
        self.campaigns, self.taken = campaigns, 0

    def deliver(self, message: Message) -> Receipt:
        self.taken += 1
        self.campaigns.pause(message.plan_id)
        return Receipt(Outcome.SENT)


def test_pausing_holds_what_is_not_reserved_yet(workspace: Workspace, sink: Sink) -> None:
    campaigns = Campaigns(workspace.store)
    result = launch(workspace, plan_id="p1", as_of=DAY, channels={"call": Pausing(campaigns)})
    assert result.status == "partial"
    assert result.summary["states"]["queued"] > 0 and result.summary["sums_up"]
    assert any("paused" in text.render("en") for text in result.lacks)
    campaigns.resume("p1")
    assert send(workspace, sink).status == "done"


def test_a_chinese_shop_writes_chinese(tmp_path: Path, sink: Sink) -> None:
    workspace = build_workspace(tmp_path / "店", customers=20, zone="Asia/Shanghai", currency="CNY")
    with workspace.run("data", as_of=DAY) as run:
        table = run.query("SELECT * FROM customers")
        run.replace("customers", table.append_column("姓名", pa.array(["𠮷田 龑"] * table.num_rows)))
    send(workspace, sink)
    mail = email.message_from_bytes((tmp_path / "mails" / "000001.eml").read_bytes(), policy=default)
    assert "8折" in str(mail["Subject"])
    assert mail["To"].addresses[0].display_name == "𠮷田 龑"
    body = mail.get_body(("html",))
    assert body is not None and "𠮷田 龑，您好" in body.get_content()
    text = (workspace.path / "outbox" / "p1" / "sms.csv").read_text(encoding="utf-8-sig")
    assert "【Shop】Produce8折" in text and "UCS-2" in text
    workspace.close()
