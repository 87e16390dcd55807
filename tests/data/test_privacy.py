"""One person out of the whole workspace: every byte is looked at, and everybody else stays as they were."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from aimwell.analysis.profile import open_profile
from aimwell.core.errors import BadInput, Conflict
from aimwell.core.tables import TABLES
from aimwell.core.text import say
from aimwell.data import erasure as erasing
from aimwell.data import export
from aimwell.data.consent import suppress
from aimwell.data.erasure import erase_person
from aimwell.data.erasure_folder import delete_unlisted
from aimwell.data.event_intake import take_events
from aimwell.data.export import export_person
from aimwell.data.identity.step import split_records
from aimwell.data.person import Person, build_patterns
from aimwell.data.step import add_source, load_tables, write_rejected
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import ContactRules
from aimwell.engine.audit import name_actor
from aimwell.engine.erased import normalise_contact
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.manifest import changed_meanwhile
from aimwell.engine.permissions import ConsentState, list_suppressions
from aimwell.engine.store_tables import AUDIT_LOG, RUNS
from aimwell.engine.workspace import Workspace
from tests.data.shop import count, make_workspace, query, write

PERSON = "M-77310452"
PHONE = "13877665544"
EMAIL = "ouyang.planted@example.com"
NAME = "欧阳植入锦"
ADDRESS = "杭州市西湖区植入路77号"
OPENID = "oPLANTED9f8e7d6c5b4a"
PLANTED = (PERSON, PHONE, "138-7766-5544", EMAIL, NAME, ADDRESS, OPENID)
OTHERS = tuple(f"M-{number:08d}" for number in range(1, 41))
FUTURE = date(2026, 3, 1)

CUSTOMERS = "customer_id,name,email,phone,address,city\n" + "".join(
    f"{row},客户{index}号,c{index}@example.org,139{index:08d},某路{index}号,杭州\n"
    for index, row in enumerate(OTHERS)
)


def fill(workspace: Workspace, folder: Path) -> None:
    """Two versions of the customer file, orders with a reject, events, consents, tags, a plan, a ledger, files."""
    mine = f"{PERSON},{NAME},{EMAIL},138-7766-5544,{ADDRESS},杭州\n"
    for number in range(2):
        file = write(folder, CUSTOMERS + mine.replace("杭州\n", f"杭州{number}\n"), name="people.csv")
        add_source(workspace, file, table="customers", source="people", accept=True)
    orders = "customer_id,order_id,product_id,date,quantity,amount\n" + "".join(
        f"{row},A{index},P{index % 5},2026-01-{index % 28 + 1:02d},1,{index + 10}.50\n"
        for index, row in enumerate((*OTHERS, PERSON, PERSON))
    )
    orders += f"{PERSON},A900,P1,2026-02-30,1,9.00\n{OTHERS[0]},A901,P1,2026-02-31,1,9.00\n"
    add_source(workspace, write(folder, orders), table="order_lines", source="shop", accept=True)
    complaint = (
        f"customer_id,channel,allowed,remark\n,sms,yes,{NAME} {EMAIL} 来电\n{OTHERS[1]},email,yes,ok\n"
    )
    add_source(
        workspace, write(folder, complaint, name="consents.csv"), table="consents", source="desk", accept=True
    )
    load_tables(workspace, "app", {"events": make_events(), "consents": make_consents()}, as_of=FUTURE)
    fill_decisions(workspace)
    fill_ledger(workspace)
    fill_folder(workspace)


def make_events() -> pa.Table:
    rows = [
        {
            "event_id": f"e{index}",
            "customer_id": row,
            "name": "Product Viewed",
            "occurred_at": datetime(2026, 1, index % 28 + 1, 4, tzinfo=UTC),
            "occurred_on": date(2026, 1, index % 28 + 1),
            "properties": json.dumps({"openid": OPENID if row == PERSON else f"o{index}", "page": "home"}),
            "source": "app",
            "simulated": False,
        }
        for index, row in enumerate((*OTHERS, PERSON))
    ]
    rows[3]["properties"] = json.dumps({"referrer_id": PERSON, "note": f"{NAME} 推荐"})
    return TABLES["events"].build(rows)


def make_consents() -> pa.Table:
    rows = [
        {
            "customer_id": row,
            "channel": "sms",
            "purpose": "marketing",
            "allowed": row != PERSON,
            "since": datetime(2026, 1, 1, tzinfo=UTC),
            "source": "app",
        }
        for row in (*OTHERS, PERSON)
    ]
    return TABLES["consents"].build(rows)


def fill_decisions(workspace: Workspace) -> None:
    reason = say("Nobody may be contacted: add consents and the addresses or numbers that the channels need.")
    with workspace.run("test", as_of=FUTURE) as run:
        people = (*OTHERS, PERSON)
        same = {"run_id": run.id}
        tags = [{"customer_id": row, "as_of": FUTURE, "orders": 1, **same} for row in people]
        run.replace("tags", pa.Table.from_pylist(tags).cast(pa.schema(
            [("customer_id", pa.string()), ("as_of", pa.date32()), ("orders", pa.int64()), ("run_id", pa.string())]
        )))  # fmt: skip
        run.replace("plan_items", TABLES["plan_items"].build([
            {"plan_id": "p", "customer_id": row, "action_id": "a", "expected_profit": 1.0, "standard_error": 1.0,
             "expected_cost": 0.1, "probability": 1.0, "explored": False, "reason": reason.to_json(), **same}
            for row in people
        ]))  # fmt: skip
        run.replace("assignments", TABLES["assignments"].build([
            {"plan_id": "p", "customer_id": row, "arm": "treatment", "action_id": "a", "probability": 1.0,
             "stratum": "all", **same} for row in people
        ]))  # fmt: skip
        run.replace("identities", TABLES["identities"].build([
            {"record_id": "web-PLANTED-1", "customer_id": PERSON, **same}
        ]))  # fmt: skip
        run.replace("identifiers", TABLES["identifiers"].build([
            {"record_id": PERSON, "kind": "phone", "value": f"+86{PHONE}", "usable": True, "source": "people", **same},
            {"record_id": OTHERS[0], "kind": "phone", "value": "+8613900000000", "usable": True,
             "source": "people", **same},
        ]))  # fmt: skip


def fill_ledger(workspace: Workspace) -> None:
    ledger = Ledger(workspace.store, rules=ContactRules(5, 7))
    ledger.remember_consents([ConsentState(row, "sms", True, 1) for row in (*OTHERS, PERSON)])
    ledger.enqueue([Intended("p", row, "a", "sms", FUTURE, 5, True) for row in (*OTHERS, PERSON)])
    suppress(workspace, PERSON)
    suppress(workspace, OTHERS[5], channel="email")
    workspace.store.save_definition("segment", "vip", {"rule": {"in": [PERSON, OTHERS[0]]}, "note": EMAIL})


def fill_folder(workspace: Workspace) -> None:
    folder = workspace.path / "outbox" / "p"
    (folder / ".journal").mkdir(parents=True)
    lines = [{"delivery_id": f"d{row}", "phone": f"13{row}", "text": "hi"} for row in range(3)]
    lines[1]["phone"] = PHONE
    (folder / ".journal" / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "call.csv").write_text(
        f'\ufeffcustomer_id,phone,script\r\n{OTHERS[0]},1,"two\nlines"\r\n{PERSON},2,"{NAME}\n你好"\r\n{OTHERS[1]},3,x\r\n',
        newline="",
    )
    exports = workspace.path / "exports"
    exports.mkdir()
    with zipfile.ZipFile(exports / "list.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", f"{PERSON}\n")
    (exports / "vip.csv").write_bytes(f"姓名\n{NAME}\n别人\n".encode("gb18030"))
    pq.write_table(pa.table({"customer_id": [PERSON]}), exports / "cache.parquet")
    (workspace.warehouse_folder / "published-tags.duckdb").write_bytes(PERSON.encode())


def scan(folder: Path) -> list[str]:
    """Every planted value in any byte of the folder: raw, in Parquet's columns, in the store's rows, in archives."""
    needles = [value for text in PLANTED for value in (text, text.replace("-", ""), json.dumps(text)[1:-1])]
    needles.append("web-PLANTED-1")
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        for part in read_parts(path):
            found += [
                f"{path.relative_to(folder)}: {needle}"
                for needle in needles
                for codec in ("utf-8", "gb18030", "utf-16-le")
                if needle.encode(codec) in part
            ]
    return sorted(set(found))


def read_parts(path: Path) -> Iterator[bytes]:
    yield path.read_bytes()
    if path.suffix == ".parquet":
        yield json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False, default=str).encode()
    elif path.name == "store.sqlite":
        with sqlite3.connect(path) as connection:
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall():
                for row in connection.execute(f'SELECT * FROM "{name}"'):
                    for cell in row:
                        yield cell if isinstance(cell, bytes) else str(cell).encode()
        connection.close()
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())


def read_others(workspace: Workspace) -> dict[str, Any]:
    """Everybody else's rows of every table, in an order of their own."""
    with workspace.read() as reader:
        return {
            name: sorted(
                json.dumps(row, default=str, sort_keys=True)
                for row in reader.query(f"SELECT * FROM {name}").to_pylist()
                if row["customer_id"] in OTHERS
            )
            for name in (
                "customers",
                "order_lines",
                "events",
                "consents",
                "tags",
                "plan_items",
                "assignments",
            )
        }


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled")
    workspace = make_workspace(folder)
    fill(workspace, folder)
    workspace.close()
    return workspace.path


@pytest.fixture
def shop(filled: Path, tmp_path: Path) -> Iterator[Workspace]:
    """A copy of the filled workspace."""
    shutil.copytree(filled, tmp_path / "shop")
    workspace = Workspace.open(tmp_path / "shop")
    yield workspace
    workspace.close()


def test_after_erasure_no_byte_of_the_workspace_names_the_person(shop: Workspace) -> None:
    assert len({line.split(":")[1] for line in scan(shop.path)}) >= len(PLANTED)
    before = read_others(shop)
    revenue = query(shop, "SELECT sum(revenue) AS sum, count(*) AS lines FROM order_lines")
    with shop.store.begin() as connection:
        states = connection.execute(sa.select(sa.func.count()).select_from(DELIVERIES)).scalar()
    result = erase_person(shop, PERSON, dry_run=False)
    assert scan(shop.path) == []
    after = read_others(shop)
    told = [row for row in before["events"] if "referrer_id" in row]
    assert [row for row in before["events"] if row not in told] == [
        row for row in after["events"] if "referrer_id" not in row
    ]
    assert {name: rows for name, rows in after.items() if name != "events"} == {
        name: rows for name, rows in before.items() if name != "events"
    }
    assert query(shop, "SELECT sum(revenue) AS sum, count(*) AS lines FROM order_lines") == revenue
    assert result.anonymised["order_lines"] == 2
    with shop.store.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(DELIVERIES)).scalar() == states
        assert [entry.customer_id for entry in list_suppressions(connection)] == [OTHERS[5]]


def test_lists_for_people_lose_only_the_persons_lines(shop: Workspace) -> None:
    erase_person(shop, PERSON, dry_run=False)
    call = (shop.path / "outbox" / "p" / "call.csv").read_text()
    assert [line.split(",")[0] for line in call.splitlines()] == [
        "\ufeffcustomer_id",
        OTHERS[0],
        'lines"',
        OTHERS[1],
    ]
    assert len((shop.path / "outbox" / "p" / ".journal" / "x.jsonl").read_text().splitlines()) == 2
    assert (shop.path / "exports" / "vip.csv").read_bytes().decode("gb18030") == "姓名\n别人\n"
    assert not (shop.path / "exports" / "list.zip").exists()
    assert not (shop.path / "exports" / "cache.parquet").exists()


def test_a_dry_run_counts_and_changes_nothing(shop: Workspace) -> None:
    files = {path: path.stat().st_mtime_ns for path in shop.warehouse_folder.rglob("*.parquet")}
    result = erase_person(shop, PERSON)
    assert result.dry_run
    assert result.erased["customers"] == 1
    assert result.erased["rejects"] == 2
    assert result.erased["files"] == 5
    assert result.anonymised["store:deliveries"] == 1
    assert {path: path.stat().st_mtime_ns for path in shop.warehouse_folder.rglob("*.parquet")} == files


def test_without_amounts_nothing_of_the_person_is_kept(shop: Workspace) -> None:
    lines = count(shop, "order_lines")
    erase_person(shop, PERSON, keep_amounts=False, dry_run=False)
    assert count(shop, "order_lines") == lines - 2
    assert count(shop, "plan_items") == len(OTHERS)
    assert scan(shop.path) == []


def test_what_is_kept_has_neither_hour_nor_place_nor_number(shop: Workspace) -> None:
    erase_person(shop, PERSON, dry_run=False)
    rows = query(
        shop,
        "SELECT line_id, order_id, ordered_at, ordered_hour, customer_id FROM order_lines "
        "WHERE customer_id LIKE 'erased-%'",
    )
    assert len(rows) == 2
    assert len({row["customer_id"] for row in rows}) == 1
    for row in rows:
        assert str(row["order_id"]).startswith("erased-")
        assert str(row["line_id"]).startswith("erased-")
        assert row["ordered_hour"] is None
        assert str(row["ordered_at"])[11:16] == "16:00"
    assert query(shop, "SELECT 1 FROM customers WHERE customer_id LIKE 'erased-%'") == []


def test_no_file_brings_the_person_back(shop: Workspace, tmp_path: Path) -> None:
    mine = f"{PERSON},{NAME},{EMAIL},{PHONE},{ADDRESS},杭州\n"
    erase_person(shop, PERSON, dry_run=False)
    others = read_others(shop)
    people = write(tmp_path, CUSTOMERS + mine, name="people.csv")
    add_source(shop, people, table="customers", source="people", accept=True)
    orders = f"customer_id,order_id,date,amount\n{PERSON},A1,2026-01-05,9.00\n{PERSON},A2,2026-02-30,9.00\n"
    add_source(shop, write(tmp_path, orders, name="again.csv"), table="order_lines", accept=True)
    load_tables(shop, "app", {"events": make_events(), "consents": make_consents()}, as_of=FUTURE)
    assert {name: rows for name, rows in read_others(shop).items() if name != "events"} == {
        name: rows for name, rows in others.items() if name != "events"
    }
    with shop.read() as reader:
        for name in ("customers", "order_lines", "events", "consents"):
            assert reader.query(f"SELECT 1 FROM {name} WHERE customer_id = '{PERSON}'").num_rows == 0
        assert not [
            row for row in reader.query("SELECT record FROM rejects").to_pylist() if PERSON in row["record"]
        ]


def test_who_must_not_be_contacted_stays_so_under_a_new_number(shop: Workspace, tmp_path: Path) -> None:
    erase_person(shop, PERSON, dry_run=False)
    new = f"customer_id,email,phone\nN1,{EMAIL.upper()},+86 {PHONE}\nN2,n2@example.org,13911112222\n"
    add_source(shop, write(tmp_path, new, name="new.csv"), table="customers", accept=True)
    rows = query(
        shop, "SELECT customer_id, email, phone FROM customers WHERE customer_id LIKE 'N%' ORDER BY 1"
    )
    assert rows == [
        {"customer_id": "N1", "email": None, "phone": None},
        {"customer_id": "N2", "email": "n2@example.org", "phone": "13911112222"},
    ]


@pytest.mark.parametrize("stage", ["written", "committed", "deleted", "emptied"])
def test_an_erasure_that_was_interrupted_is_finished_by_the_next(
    shop: Workspace, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    revenue = query(shop, "SELECT sum(revenue) AS sum FROM order_lines")

    class Killed(BaseException):
        pass

    def stop(reached: str) -> None:
        if reached == stage:
            raise Killed

    carry_out = erasing._carry_out
    monkeypatch.setattr(erasing, "_carry_out", lambda *parts: carry_out(*parts, after=stop))
    with pytest.raises(Killed):
        erase_person(shop, PERSON, dry_run=False)
    monkeypatch.undo()
    assert len(erase_person(shop, PERSON, dry_run=False).notices) == 1
    assert scan(shop.path) == []
    assert query(shop, "SELECT sum(revenue) AS sum FROM order_lines") == revenue
    with shop.store.begin() as connection:
        assert connection.execute(sa.text("SELECT COUNT(*) FROM pending_erasures")).scalar() == 0
    with pytest.raises(BadInput, match="no customer"):
        erase_person(shop, PERSON)


def test_a_query_that_ends_meanwhile_takes_its_spilt_rows_itself(
    shop: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shop.warehouse_folder / "temporary" / "fenced-1"
    folder.mkdir(parents=True)
    for name in ("one.tmp", "two.tmp"):
        (folder / name).write_text(PERSON)
    unlink = os.unlink

    def come_second(*place: Any, **how: Any) -> None:
        unlink(*place, **how)
        unlink(*place, **how)

    monkeypatch.setattr(os, "unlink", come_second)
    delete_unlisted(shop)
    assert not folder.exists()


def test_who_loads_meanwhile_must_load_again(shop: Workspace) -> None:
    with pytest.raises(Conflict), shop.run("data", as_of=FUTURE) as run:
        run.append("events", make_events().slice(40).set_column(0, "event_id", pa.array(["late"])))
        erase_person(shop, PERSON, dry_run=False)
    assert scan(shop.path) == []


def test_the_audit_log_tells_of_it_without_the_person(shop: Workspace) -> None:
    erase_person(shop, PERSON, dry_run=False)
    with shop.store.begin() as connection:
        rows = connection.execute(sa.text("SELECT action, subject, detail FROM audit_log")).all()
    assert [row.action for row in rows if row.action.startswith("person.")] == ["person.erased"]
    assert not any(PERSON in str(row) for row in rows)


@pytest.mark.parametrize("person", ["17", "c1", "M-40400404"])
def test_who_looked_at_whom_is_on_record_until_the_person_is_erased(tmp_path: Path, person: str) -> None:
    shop = make_workspace(tmp_path)
    people = f"customer_id,email\n{person},planted@example.com\nc177,b@example.org\n"
    add_source(shop, write(tmp_path, people, name="people.csv"), table="customers", accept=True)
    open_profile(shop, person)
    assert "planted@example.com" in str(open_profile(shop, person, show_personal=True))
    open_profile(shop, "c177", show_personal=True)
    export_person(shop, person, tmp_path / "me.json")
    assert read_audit(shop) == [
        ("customer.revealed", person),
        ("customer.revealed", "c177"),
        ("person.exported", person),
    ]
    erase_person(shop, person, dry_run=False)
    looked = read_audit(shop)
    assert [action for action, _ in looked][:3] == [
        "customer.revealed",
        "customer.revealed",
        "person.exported",
    ]
    assert {who for _, who in looked} <= {"c177", "0", "[erased]", None}
    assert looked[1] == ("customer.revealed", "c177")
    shop.close()


def read_audit(shop: Workspace) -> list[tuple[str, str | None]]:
    """What was done and to whom, of everything that has to do with persons; each entry says who did it."""
    with shop.store.begin() as connection:
        rows = connection.execute(sa.select(AUDIT_LOG).order_by(AUDIT_LOG.c.entry)).all()
    kept = [row for row in rows if row.action.startswith(("customer.", "person."))]
    assert all(row.actor == name_actor() for row in kept)
    assert "planted@" not in str(rows)
    return [(row.action, row.detail.get("customer_id")) for row in kept]


def test_rejects_are_not_written_unseen(shop: Workspace, tmp_path: Path) -> None:
    rows = write_rejected(shop, tmp_path / "rejects.csv", source="shop")
    with shop.store.begin() as connection:
        entries = connection.execute(sa.select(AUDIT_LOG.c.subject, AUDIT_LOG.c.detail).where(
            AUDIT_LOG.c.action == "rejects.exported"
        )).all()  # fmt: skip
    assert [(entry.subject, entry.detail) for entry in entries] == [("shop", {"rows": rows})]


def test_the_export_holds_everything_of_the_person_and_nobody_else(shop: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "me.json"
    told = export_person(shop, PERSON, out)
    assert told["rows"] | {"order_lines": 2, "customers": 1, "events": 1, "rejects": 2} == told["rows"]
    packed = out.read_text(encoding="utf-8")
    for value in (PERSON, "138-7766-5544", EMAIL, NAME, ADDRESS, OPENID):
        assert value in packed
    read = json.loads(packed)
    assert read["store_suppressions"][0]["channel"] == "all"
    assert read["events"][0]["properties"]["openid"] == OPENID
    assert not any(row["customer_id"] in OTHERS for row in read["order_lines"])
    archive = tmp_path / "me.zip"
    export_person(shop, "web-PLANTED-1", archive)
    with zipfile.ZipFile(archive) as opened:
        assert set(opened.namelist()) == {"about.json", *(f"{name}.json" for name in told["rows"])}


def test_the_export_holds_what_was_said_of_the_person_a_moment_ago(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    said = {"userId": "u1", "anonymousId": "cookie-1"}
    take_events(
        shop,
        [
            {"type": "page", "anonymousId": "cookie-1", "properties": {"path": "/before"}},
            {"type": "identify", **said, "traits": {"email": "new@example.com"}},
            {"type": "identify", "userId": "u2", "traits": {"email": "other@example.com"}},
        ],
    )
    out = tmp_path / "me.json"
    export_person(shop, "u1", out)
    packed = out.read_text(encoding="utf-8")
    assert "new@example.com" in packed
    assert "/before" in packed, "the visit before signing in is of the same person"
    assert "other@example.com" not in packed


def test_what_cannot_be_brought_in_yet_is_exported_as_it_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_workspace(tmp_path)
    message = {"type": "identify", "userId": "u1", "traits": {"email": "new@example.com"}}
    take_events(shop, [message])

    def refuse(_: Workspace) -> int:
        raise changed_meanwhile("customers")

    monkeypatch.setattr(export, "merge_profiles", refuse)
    monkeypatch.setattr(export, "_PAUSE", 0.0)
    told = export_person(shop, "u1", tmp_path / "me.json")
    assert told["rows"]["event_profiles"] == 1
    assert "new@example.com" in (tmp_path / "me.json").read_text(encoding="utf-8")


def test_the_export_needs_a_known_person_and_a_known_format(shop: Workspace, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no customer"):
        export_person(shop, "nobody", tmp_path / "x.json")
    with pytest.raises(BadInput, match=r"\.json or \.zip"):
        export_person(shop, PERSON, tmp_path / "x.xls")
    with pytest.raises(BadInput, match="cannot be written"):
        export_person(shop, PERSON, tmp_path / "nowhere" / "x.json")


def test_bare_numbers_are_taken_for_a_person_only_where_they_mean_one(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    rows = "".join(f"{row},p{row % 3},2026-01-{row % 28 + 1:02d},{row}.00,{row}\n" for row in range(1, 60))
    orders = write(
        tmp_path,
        f"member,product_id,date,amount,quantity\n{rows}7,p1,2026-02-30,7.00,7\n9,p1,2026-02-30,7.00,7\n",
    )
    add_source(shop, orders, table="order_lines", mapping={"customer_id": "member"}, source="s", accept=True)
    erase_person(shop, "7", dry_run=False)
    kept = query(shop, "SELECT record FROM rejects")
    assert [json.loads(str(row["record"]))["member"] for row in kept] == ["9"]
    assert query(shop, "SELECT quantity FROM order_lines WHERE customer_id = '8'") == [{"quantity": 8.0}]


def test_contacts_have_one_form() -> None:
    assert normalise_contact("+86 138-0013-8000") == normalise_contact("13800138000")
    assert normalise_contact(" Ａnn@Example.COM") == "ann@example.com"
    assert normalise_contact("某路1号") == "某路1号"


def test_what_a_person_said_of_two_records_is_forgotten_in_the_runs(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    people = "member,email\n71,a@example.org\n72,b@example.org\n"
    add_source(
        shop,
        write(tmp_path, people, name="people.csv"),
        table="customers",
        mapping={"customer_id": "member"},
        accept=True,
    )
    split_records(shop, "71", "72")
    erase_person(shop, "71", dry_run=False)
    with shop.store.snapshot() as connection:
        said = [
            row for row in connection.execute(sa.select(RUNS.c.parameters)).scalars() if "identity" in row
        ]
    assert len(said) == 1
    assert "71" not in said[0].values()
    assert "72" in said[0].values()


@pytest.mark.parametrize("record", ["T001", "c9", "42", "member-000042"])
def test_what_is_emptied_of_a_person_stays_json(record: str) -> None:
    text = json.dumps({"customer_id": record, "people": [record, "other"], "customer": record})
    for pattern, put in build_patterns(Person(record, (record,), (record,))):
        text = re.sub(pattern, put, text)
    assert json.loads(text)["customer_id"] in ("[erased]", "0")
