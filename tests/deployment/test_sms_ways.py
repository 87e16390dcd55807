from __future__ import annotations

import json
from pathlib import Path

import pytest

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.tables import TABLES
from aimwell.deployment.channels.channel import Promise
from aimwell.deployment.channels.outbox import MAIL, OutboxChannel
from aimwell.deployment.channels.smpp import SmppChannel
from aimwell.deployment.channels.smpp_receipts import SmsReply, SmsReport
from aimwell.deployment.channels.sms_http import HttpSmsChannel
from aimwell.deployment.channels.sms_reports import ReportBook, forget_reports, settle_doubts
from aimwell.deployment.channels.sms_ways import find_customers_by_phone, make_reply_rules, make_sms_channel
from aimwell.deployment.desk.tasks import list_tasks
from aimwell.deployment.step import launch
from aimwell.deployment.ways import open_ledger
from aimwell.engine.settings import load_settings, write_settings
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from tests.deployment.scene import DAY, build_workspace
from tests.deployment.sms_provider import SECRET, Provider, run_provider
from tests.deployment.test_replies import read_events, read_lines
from tests.deployment.test_smpp import write
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

HTTP = """
[sms]
way = "http"
url = "https://sms.example.com/send"
query_url = "https://sms.example.com/query"
promise = "B"
key_id = "me"
codes = {"E7" = "no_balance"}

[[sms.templates]]
code = "SMS_1"
text = "亲爱的${name}，拒收请回复R"
"""
SMPP = """
[sms]
way = "smpp"
host = "smsc.example.com"
source = "+10690000"
start_permits = true
"""


def open_shop(folder: Path, settings: str) -> Workspace:
    made = Workspace.create(folder, name="店")
    file = made.path / "aimwell.toml"
    made.close()
    before, _, after = file.read_text(encoding="utf-8").partition("[sms]")
    rest = after[after.index("\n# ") :] if "\n# " in after else ""
    file.write_text(before + rest + settings, encoding="utf-8")
    return Workspace.open(folder)


def test_the_settings_say_how_sms_go_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Workspace.create(tmp_path / "file", name="店")
    assert make_sms_channel(plain) is None
    with pytest.raises(NotReady):
        make_sms_channel(open_shop(tmp_path / "none", SMPP))
    monkeypatch.setenv("AIMWELL_SMS_SECRET", "s3cret")
    smpp = make_sms_channel(open_shop(tmp_path / "smpp", SMPP))
    assert isinstance(smpp, SmppChannel) and smpp.centre.password == "s3cret"
    assert (smpp.manner.source, smpp.manner.source_ton) == ("10690000", 1)
    shop = open_shop(tmp_path / "http", HTTP)
    http = make_sms_channel(shop)
    assert isinstance(http, HttpSmsChannel) and http.promise is Promise.CAN_BE_ASKED
    assert not make_reply_rules(shop).start_permits
    with pytest.raises(NotReady):
        make_sms_channel(open_shop(tmp_path / "bare", '[sms]\nway = "http"\n'))
    with pytest.raises(BadInput):
        open_shop(tmp_path / "odd", '[sms]\nway = "pigeon"\n')


def test_what_is_written_is_read_again_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMWELL_SMS_SECRET", "not-in-the-file")
    shop = open_shop(tmp_path / "http", HTTP)
    write_settings(shop.settings, tmp_path / "again.toml")
    assert "not-in-the-file" not in (tmp_path / "again.toml").read_text(encoding="utf-8")
    assert load_settings(tmp_path / "again.toml").sms == shop.settings.sms


def test_a_launch_goes_out_by_template_over_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package's own words, the provider's reviewed template, and a customer who answers."""
    template = {"code": "SMS_9", "text": "${what}折，${until}前有效。拒收请回复R"}
    with run_provider(Provider()) as provider:
        for name, value in {
            "AIMWELL_SMS__WAY": "http",
            "AIMWELL_SMS__URL": f"http://127.0.0.1:{provider.port}/send",
            "AIMWELL_WEB__INTERNAL": '["127.0.0.1"]',
            "AIMWELL_SMS__KEY_ID": "id",
            "AIMWELL_SMS__PROMISE": "A",
            "AIMWELL_SMS__TEMPLATES": json.dumps([template]),
            "AIMWELL_SMS_SECRET": SECRET.decode(),
            "AIMWELL_SMTP__PORT": "1",
        }.items():
            monkeypatch.setenv(name, value)
        shop = build_workspace(tmp_path / "shop", customers=40, zone="Asia/Shanghai", currency="CNY")
        with shop.run("data", as_of=DAY) as run:
            rows = run.query("SELECT * FROM customers ORDER BY customer_id").to_pylist()
            for number, row in enumerate(rows):
                row["phone"] = f"139 0000 {number:04d}"
            run.replace("customers", TABLES["customers"].build(rows))
        channels = {"email": OutboxChannel(tmp_path / "mails", MAIL)}
        launch(shop, plan_id="p1", as_of=DAY, channels=channels)
    rows = [row for row in open_ledger(shop).read_rows("p1") if row["channel"] == "sms"]
    assert rows and {row["state"] for row in rows} == {"sent"}, [row["reason"] for row in rows]
    assert sorted(order["out_id"] for order in provider.taken) == sorted(row["delivery_id"] for row in rows)
    assert {order["signature"] for order in provider.taken} == {"Shop"}
    assert provider.taken[0]["variables"]["what"].endswith("8")
    with shop.store.begin() as connection:
        calls = list_tasks(connection)
    assert calls and all("1390000" in task.card["phone"].replace(" ", "") for task in calls), (
        "calls are on the desk's list"
    )


def test_whose_number_it_is(tmp_path: Path) -> None:
    shop = Workspace.create(tmp_path / "shop", name="店")
    phones = {
        "a": "138 0013 8000",
        "b": "+86-138-0013-8000",
        "c": "13900138000",
        "d": "+1 212 555 0123",
        "e": None,
    }
    with shop.run("data", as_of=DAY) as run:
        rows = [{"customer_id": name, "phone": phone, "source": "s"} for name, phone in phones.items()]
        run.replace("customers", TABLES["customers"].build(rows))
    assert find_customers_by_phone(shop, "+8613800138000") == ("a", "b")
    assert find_customers_by_phone(shop, "+12125550123") == ("d",)
    assert find_customers_by_phone(shop, "nonsense") == find_customers_by_phone(shop, "+8613700000000") == ()


def test_reports_and_replies_on_postgresql(postgres: Server) -> None:  # noqa: F811
    postgres.run("CREATE DATABASE sms")
    store = Store(postgres.address("sms"))
    store.migrate()
    book = ReportBook(store, "smsc", find_customers=lambda phone: ["c1"], clock=lambda: 9.0)
    book.note_report(SmsReport("m1", "delivered", "DELIVRD"))
    for _ in range(2):
        book.note_taken(write("x"), "m1", 1, 2)
        book.note_taken(write("x"), "m2", 2, 2)
        book.note_report(SmsReport("m2", "delivered", "DELIVRD"))
        book.note_reply(SmsReply("8613800138000", "1069", "退订"))
    assert sorted(event["event"] for event in read_events(store)) == [
        "Consent Withdrawn", "Message Delivered", "Message Replied",
    ]  # fmt: skip
    assert read_lines(store) == [("c1", "sms", "reply")]
    with store.begin() as connection:
        assert settle_doubts(connection, 10_000) == 0
        assert (forget_reports(connection, 9_000), forget_reports(connection, 9_001)) == (0, 2)
