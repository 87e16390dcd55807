"""Links of a person who was erased still end contact, honestly, and write down nothing that names the person."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.data.consent import suppress
from aimwell.data.erasure import erase_person
from aimwell.data.erasure_store import list_person_tables
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.channels.hooks import HookEvent
from aimwell.deployment.channels.replies import ReplyKind, classify_reply
from aimwell.deployment.channels.smpp_receipts import SmsReply
from aimwell.deployment.channels.sms_hooks import apply_hooks
from aimwell.deployment.channels.sms_reports import ReportBook
from aimwell.deployment.channels.sms_ways import find_customers_by_phone
from aimwell.deployment.step import suppress as suppress_in_plans
from aimwell.deployment.tracking.endpoints import Tracking
from aimwell.deployment.tracking.keys import Keyring
from aimwell.deployment.tracking.message import Tracker
from aimwell.deployment.unsubscribe import sign_preferences_token, sign_token
from aimwell.engine.erased import ask_workspace
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import TrackingSettings
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import DAY, build_workspace, describe, replace
from tests.deployment.tracking.scene import BASE, ask, identify, permit

GONE = "c01"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path / "w", customers=3, zone="Asia/Shanghai", currency="CNY")


def list_named(workspace: Workspace, customer: str = GONE) -> list[str]:
    """The store's tables in which the customer is named."""
    with workspace.store.snapshot() as connection:
        return [
            table.name
            for table, column in list_person_tables()
            if connection.execute(sa.select(column).where(column == customer)).first() is not None
        ]


def find_ticket(body: bytes) -> str:
    found = re.search(rb'name="ticket" value="([^"]+)"', body)
    assert found
    return found[1].decode()


def test_old_links_say_done_and_store_nothing(workspace: Workspace) -> None:
    keys = Keyring.of(load_secret(workspace.path))
    # The service runs already, and has looked at who was erased, when the erasure happens in another process.
    service = Tracking.open(workspace)
    permit(workspace.store, GONE, "email", "sms")
    one = sign_token(keys, customer_id=GONE, channel="email", language="en")
    central = sign_preferences_token(keys, customer_id=GONE, language="en")
    assert service.post_unsubscribe(one, ask(method="POST"), ONE_CLICK).status == 200
    again = find_ticket(service.show_unsubscribe(one, ask()).body)
    shown = find_ticket(service.show_preferences(central, ask()).body)
    assert "suppressions" in list_named(workspace)
    erase_person(workspace, GONE, dry_run=False)
    assert list_named(workspace) == []
    for form in (ONE_CLICK, {"action": "unsubscribe"}):
        answer = service.post_unsubscribe(one, ask(method="POST"), form)
        assert answer.status == 200 and b"Done. It takes effect at once." in answer.body
        assert b"has erased your data" in answer.body and b"<form" not in answer.body
    stopped = service.post_preferences(central, ask(method="POST"), {"action": "stop"})
    assert stopped.status == 200 and b"Done." in stopped.body
    # Who wants to hear from us again is not told that this was done.
    saved = {"action": "save", "ticket": shown, "channel": ["sms"], "language": "zh", "frequency": "1/30"}
    for answer in (
        service.post_unsubscribe(one, ask(method="POST"), {"action": "subscribe", "ticket": again}),
        service.post_preferences(central, ask(method="POST"), saved),
    ):
        assert answer.status == 409 and b"Nothing was changed." in answer.body and b"Done." not in answer.body
    assert list_named(workspace) == []


def test_the_page_speaks_chinese_too(workspace: Workspace) -> None:
    erase_person(workspace, GONE, dry_run=False)
    token = sign_token(load_secret(workspace.path), customer_id=GONE, channel="sms", language="zh")
    answer = Tracking.open(workspace).post_unsubscribe(token, ask(method="POST"), ONE_CLICK)
    assert answer.status == 200 and "已删除您的数据".encode() in answer.body
    assert list_named(workspace) == []


def test_replies_and_operators_do_not_bring_the_number_back(workspace: Workspace) -> None:
    phone = "+8613800138000"
    with workspace.run("data", as_of=DAY) as run:
        rows = [describe(name) | {"phone": f"139001380{name[1:]}"} for name in ("c00", "c02")]
        replace(run, "customers", [*rows, describe(GONE) | {"phone": "13800138000"}])
    reply = HookEvent("p", "reply", "r1", 1_000, recipient=phone, text="退订")
    assert classify_reply("退订") is ReplyKind.STOP

    def tell(event: HookEvent) -> int:
        find = find_customers_by_phone
        return apply_hooks(workspace.store, [event], 1_000, lambda number: find(workspace, number))

    before = len(find_customers_by_phone(workspace, phone))
    erase_person(workspace, GONE, dry_run=False)
    assert (before, tell(reply)) == (1, 0)
    assert not suppress(workspace, GONE)
    assert not suppress_in_plans(workspace, GONE)
    assert list_named(workspace) == []
    # Others are obeyed as before.
    assert suppress(workspace, "c02") and list_named(workspace, "c02") != []


def test_who_is_erased_in_the_middle_of_it_is_not_written_down(workspace: Workspace) -> None:
    """The erasure comes after the number was looked up, or the message made, and before anything is written."""

    def find_and_erase(number: str) -> list[str]:
        erase_person(workspace, GONE, dry_run=False)
        return [GONE, "c02"]

    reply = HookEvent("p", "reply", "r1", 1_000, recipient="+8613800138000", text="退订")
    erased = ask_workspace(workspace)
    erased(False)  # what this process knew before
    assert apply_hooks(workspace.store, [reply], 1_000, find_and_erase, load_erased=erased) == 1
    assert list_named(workspace) == [] and "suppressions" in list_named(workspace, "c02")
    book = ReportBook(workspace.store, "smpp", find_customers=lambda number: [GONE], load_erased=erased)
    late = Message(identify(GONE, "sms"), "p1", GONE, "+8613800138000", "新品 https://shop.example/p 退订回T")
    book.note_taken(late, "id1", 1, 1)
    book.note_reply(SmsReply("8613800138000", "1069", "退订"))
    tracker = Tracker.open(workspace, address=BASE)
    tracker._settings = TrackingSettings(sms_clicks=True)
    tracker.track(late, "sms")
    assert list_named(workspace) == []
