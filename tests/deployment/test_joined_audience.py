"""A wave whose plan names records that are one person by now: whenever they were joined, one message, and the sum."""

from __future__ import annotations

import email
from collections.abc import Iterator, Sequence
from email.policy import default
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.tables import TABLES
from aimwell.core.time import find_knowledge_end
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.dispatch import Dispatcher
from aimwell.deployment.journeys.advance import advance, find_due
from aimwell.deployment.ledger import Reservation
from aimwell.deployment.sink import Sink
from aimwell.deployment.step import describe_wave, launch
from aimwell.deployment.waves import CampaignComposer, build_composer, load_wave
from aimwell.deployment.ways import open_ledger
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import DAY, SENDER, build_workspace, consent, keep

ZONE = "America/New_York"
NOON = find_knowledge_end(DAY, ZONE).timestamp() - 8 * 3600


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """c00, c02 and c04 are to get a mail, and so are some others."""
    made = build_workspace(tmp_path / "shop", customers=9, zone=ZONE)
    yield made
    made.close()


@pytest.fixture
def sink(tmp_path: Path) -> Iterator[Sink]:
    with Sink(tmp_path / "mails") as running:
        yield running


def join(workspace: Workspace, customer: str, *records: str) -> None:
    """The records are this customer's from now on."""
    with workspace.run("data", as_of=DAY) as run:
        rows: list[dict[str, Any]] = [
            {"record_id": one, "customer_id": customer, "run_id": run.id} for one in (*records, customer)
        ]
        run.replace("identities", TABLES["identities"].build(rows))


def connect(sink: Sink) -> SmtpChannel:
    return SmtpChannel(Server("127.0.0.1", sink.port, SENDER))


def start(workspace: Workspace, sink: Sink, *, only_queue: bool = False) -> dict[str, Any]:
    """Launch at noon of the day; the step's summary."""
    ways = {"email": connect(sink)}
    done = launch(
        workspace, plan_id="p1", as_of=DAY, channels=ways, clock=lambda: NOON, only_queue=only_queue
    )
    return done.summary


def serve(workspace: Workspace, sink: Sink) -> dict[str, Any]:
    """The worker hands over what is queued; the wave's figures."""
    Dispatcher(workspace, {"email": connect(sink)}, clock=lambda: NOON).dispatch()
    plan = load_wave(workspace, "p1", people=False).plan
    with workspace.read() as reader:
        sql = "SELECT count(*) AS n FROM assignments WHERE plan_id = 'p1' AND arm = 'treatment'"
        treated = reader.query(sql).to_pylist()[0]["n"]
    return describe_wave(workspace, open_ledger(workspace), plan, treated)


def list_mailed(folder: Path) -> list[str]:
    """To whom."""
    mails = [email.message_from_bytes(path.read_bytes(), policy=default) for path in folder.glob("*.eml")]
    return sorted(str(mail["To"]).partition("@")[0].strip("<") for mail in mails)


def list_reasons(summary: dict[str, Any]) -> dict[str, int]:
    # The day is a holiday: telephones are left alone.
    reasons = {row["code"]: row["customers"] for row in summary["reasons"]}
    return {code: number for code, number in reasons.items() if code != "quiet_hours"}


ONCE = ["c00", "c06", "c08"]
"""Of the mails those that go out where c02 and c04 are c00."""


@pytest.mark.parametrize("when", ["before", "worker looked", "while it is sent"])
def test_one_mail_arrives_and_the_sum_holds(
    workspace: Workspace, sink: Sink, tmp_path: Path, when: str
) -> None:
    if when == "before":
        join(workspace, "c00", "c02", "c04")
        summary = start(workspace, sink)
    else:
        start(workspace, sink, only_queue=True)
        join(workspace, "c00", "c02", "c04")
        due = find_due(workspace)
        assert due is not None and due.timestamp() == 0, "without any journey, too"
        if when == "worker looked":
            assert advance(workspace, int(NOON * 1000)) == 3
            assert find_due(workspace) is None
        summary = serve(workspace, sink)
    assert list_mailed(tmp_path / "mails") == ONCE
    assert list_reasons(summary) == {"merged": 2} and summary["sums_up"] is True
    # Whoever launches again doubles nothing.
    again = start(workspace, sink)
    assert list_mailed(tmp_path / "mails") == ONCE and again["sums_up"] is True


@pytest.mark.parametrize("when", ["before", "while it is sent"])
def test_a_record_that_is_gone_is_reached_as_the_person(
    workspace: Workspace, sink: Sink, tmp_path: Path, when: str
) -> None:
    # c03 is in the control group, and no mail was planned for it.
    if when == "before":
        join(workspace, "c03", "c02")
        summary = start(workspace, sink)
    else:
        start(workspace, sink, only_queue=True)
        join(workspace, "c03", "c02")
        summary = serve(workspace, sink)
    assert list_mailed(tmp_path / "mails") == ["c00", "c03", "c04", "c06", "c08"]
    assert list_reasons(summary) == {} and summary["sums_up"] is True


def test_a_refusal_of_another_record_holds(workspace: Workspace, sink: Sink, tmp_path: Path) -> None:
    with workspace.run("data", as_of=DAY) as run:
        keep(run, "consents", [consent("c03", "email", allowed=False, day=20)])
    start(workspace, sink, only_queue=True)
    join(workspace, "c00", "c03")
    summary = serve(workspace, sink)
    assert list_mailed(tmp_path / "mails") == ["c02", "c04", "c06", "c08"]
    assert list_reasons(summary) == {"consent_withdrawn": 1} and summary["sums_up"] is True


def test_who_was_reserved_before_the_join_is_judged_again(workspace: Workspace, sink: Sink) -> None:
    start(workspace, sink, only_queue=True)
    ledger = open_ledger(workspace, clock=lambda: NOON)
    taken = ledger.reserve("p1", "email", limit=9)
    join(workspace, "c00", "c02", "c04")
    composer = build_composer(workspace, load_wave(workspace, "p1"))
    composer.prepare(taken.rows)
    held = _intend(ledger, taken)
    assert sorted(row.customer_id for row in taken.rows if row.delivery_id in held) == ["c06", "c08"]
    again = ledger.reserve("p1", "email", limit=9)
    assert [row.customer_id for row in again.rows] == ["c00"]
    assert [composer.compose(row).customer_id for row in again.rows] == ["c00"]
    composer.prepare(again.rows)
    assert len(_intend(ledger, again)) == 1


@pytest.mark.parametrize("worker", [False, True], ids=["launch", "worker"])
@pytest.mark.parametrize("followed", [False, True], ids=["while it is sent", "somebody looked"])
def test_whoever_knew_the_records_address_asks_again(
    workspace: Workspace, sink: Sink, worker: bool, followed: bool
) -> None:
    start(workspace, sink, only_queue=True)
    ledger = open_ledger(workspace, clock=lambda: NOON)
    composer = (
        CampaignComposer(workspace) if worker else build_composer(workspace, load_wave(workspace, "p1"))
    )
    taken = ledger.reserve("p1", "email", limit=9)
    composer.prepare(taken.rows)
    join(workspace, "c03", "c02")
    if followed:
        advance(workspace, int(NOON * 1000))
    else:
        composer.prepare(taken.rows)
    ledger.release(taken.fence, [row.delivery_id for row in taken.rows])
    again = ledger.reserve("p1", "email", limit=9)
    composer.prepare(again.rows)
    told = {row.customer_id: composer.compose(row).recipient for row in again.rows}
    assert sorted(told) == ["c00", "c03", "c04", "c06", "c08"]
    assert {recipient.partition("@")[0] for recipient in told.values()} == set(told)


def _intend(ledger: Any, taken: Reservation) -> Sequence[str]:
    return list(ledger.advance(taken.fence, intended=[row.delivery_id for row in taken.rows]))
