"""The doctor finds what is wrong and says what to do; where all is well it says so, and it changes nothing."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from aimwell.core.time import now
from aimwell.data.event_intake import take_events
from aimwell.deployment.sink import Sink
from aimwell.engine.compaction import compact
from aimwell.engine.ledger_tables import CONTACT_GATE, DELIVERIES
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import FILE_NAME, Settings, StoreSettings
from aimwell.engine.store_tables import AUDIT_LOG, RUNS
from aimwell.engine.workspace import Workspace
from aimwell.loop import doctor_machine
from aimwell.loop.backup import back_up
from aimwell.loop.doctor import examine
from aimwell.loop.findings import Finding
from tests.deployment.scene import fill, open_ledger
from tests.faults.event_process import build_message
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)


@pytest.fixture(scope="module")
def mail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sink]:
    with Sink(tmp_path_factory.mktemp("mails")) as sink:
        yield sink
        assert sink.message_ids == [], "a mail was sent"


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch, mail: Sink) -> None:
    """A machine in good order, whatever this one is like."""
    usage = type("usage", (), {"free": 900 << 30, "total": 1000 << 30})
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    monkeypatch.setattr(doctor_machine, "_find_memory", lambda: 64 << 30)
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", "https://m.shop.example")
    monkeypatch.setenv("AIMWELL_SMTP__HOST", "127.0.0.1")
    monkeypatch.setenv("AIMWELL_SMTP__PORT", str(mail.port))


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    made = Workspace.create(tmp_path / "w")
    take_events(made, [build_message("a", number) for number in range(30)])
    compact(made)
    load_secret(made.path)
    (tmp_path / "b").mkdir()
    back_up(made, tmp_path / "b")
    return made


def look(workspace: Workspace) -> dict[str, Finding]:
    return {one.check: one for one in examine(workspace.path).findings}


def list_wrong(workspace: Workspace) -> dict[str, str]:
    return {name: one.severity for name, one in look(workspace).items() if one.severity != "ok"}


def test_where_all_is_well_it_says_so_and_changes_nothing(workspace: Workspace) -> None:
    with workspace.store.snapshot() as connection:
        before = connection.execute(sa.select(sa.func.count()).select_from(AUDIT_LOG)).scalar_one()
    found = examine(workspace.path, thorough=True)
    assert {one.check: one.severity for one in found.findings if one.severity != "ok"} == {}
    assert len(found.findings) >= 17
    with workspace.store.snapshot() as connection:
        after = connection.execute(sa.select(sa.func.count()).select_from(AUDIT_LOG)).scalar_one()
    assert after == before


def test_disk_memory_and_address(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 1 << 20, "total": 1000 << 30})
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: usage)
    monkeypatch.setattr(doctor_machine, "_find_memory", lambda: 1 << 20)
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", "http://shop.example")
    assert list_wrong(workspace) == {"disk": "error", "memory": "warning", "address": "warning"}
    monkeypatch.delenv("AIMWELL_PUBLIC_URL")
    assert "nowhere" in str(look(workspace)["address"].message)
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", "shop")
    assert look(workspace)["address"].severity == "error"


def test_a_mail_server_that_does_not_answer(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMWELL_SMTP__PORT", "1")
    assert list_wrong(workspace) == {"mail": "warning"}


def test_a_secret_that_others_can_read(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.path / "secret").chmod(0o644)
    assert list_wrong(workspace) == {"secret": "error"}
    monkeypatch.setenv("AIMWELL_SECRET", "short")
    assert list_wrong(workspace) == {"secret": "error"}
    monkeypatch.setenv("AIMWELL_SECRET", "long enough for anybody")
    assert list_wrong(workspace) == {}


def test_files_that_are_missing_or_damaged(workspace: Workspace) -> None:
    files = sorted(workspace.warehouse_folder.glob("*/*.parquet"))
    content = files[0].read_bytes()
    files[0].write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    found = look(workspace)["warehouse"]
    assert (found.severity, found.figures["wrong"]) == (
        "error",
        [files[0].relative_to(workspace.warehouse_folder).as_posix()],
    )
    for file in files:
        file.unlink()
    assert len(look(workspace)["warehouse"].figures["wrong"]) == len(files)


def test_rows_that_nobody_moves(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from aimwell.loop import doctor_store

    monkeypatch.setattr(doctor_store, "_SECOND_LOOK", 0.01)
    take_events(workspace, [build_message("b", number) for number in range(5)])
    assert list_wrong(workspace) == {}, "somebody moved rows a moment ago"
    late = [one for one in examine(workspace.path, at=now() + timedelta(minutes=3)).findings]
    assert next(one for one in late if one.check == "worker").severity == "warning"


def test_deliveries_that_are_stuck(workspace: Workspace) -> None:
    ledger = open_ledger(workspace.store)
    fill(ledger, ["a", "b", "c", "d"])
    ids = [row["delivery_id"] for row in ledger.read_rows()]
    states: tuple[dict[str, str | int], ...] = (
        {"state": "leased", "lease_until_ms": 1},
        {"state": "in_doubt"},
        {"state": "failed", "reason": "gave_up"},
        {"state": "queued", "not_before_ms": 1},
    )
    with workspace.store.begin() as connection:
        for delivery, values in zip(ids, states, strict=True):
            connection.execute(
                sa.update(DELIVERIES).where(DELIVERIES.c.delivery_id == delivery).values(**values)
            )
    found = look(workspace)
    assert list_wrong(workspace) == {"leases": "warning", "queue": "warning", "unsettled": "warning"}
    assert found["unsettled"].figures == {"in_doubt": 1, "dead_letters": 1}
    with workspace.store.begin() as connection:
        connection.execute(sa.update(CONTACT_GATE).values(halted_at_ms=1))
    assert "halted" in str(look(workspace)["queue"].message)


def test_an_audit_log_that_was_changed_and_an_old_backup(workspace: Workspace) -> None:
    with workspace.store.begin() as connection:
        connection.execute(sa.update(AUDIT_LOG).where(AUDIT_LOG.c.entry == 1).values(actor="nobody"))
    assert list_wrong(workspace) == {"audit": "error"}
    later = {one.check: one for one in examine(workspace.path, at=now() + timedelta(days=3)).findings}
    assert later["backup"].severity == "warning"


def test_a_clock_that_was_put_back(workspace: Workspace) -> None:
    with workspace.store.begin() as connection:
        connection.execute(sa.update(RUNS).values(started_at=now() + timedelta(hours=1)))
    assert list_wrong(workspace) == {"clock": "warning"}


def test_a_workspace_that_cannot_be_opened(workspace: Workspace, tmp_path: Path) -> None:
    workspace.close()
    (workspace.path / "store.sqlite").rename(tmp_path / "elsewhere")
    assert list_wrong(workspace) == {"store": "error"}
    assert not (workspace.path / "store.sqlite").exists(), "looking makes no empty store"
    (workspace.path / "store.sqlite").write_bytes(b"no database at all" * 100)
    assert look(workspace)["store"].severity == "error"
    (workspace.path / FILE_NAME).write_text("[store]\nurl = 3\n", encoding="utf-8")
    assert list_wrong(workspace) == {"settings": "error"}
    assert {one.check for one in examine(tmp_path / "nothing").findings} == {"settings"}


def test_on_postgresql(
    postgres: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    name = f"doctor{os.getpid()}"
    postgres.run(f"CREATE DATABASE {name}")
    settings = Settings(store=StoreSettings(url=postgres.address(name, password=None)))
    workspace = Workspace.create(tmp_path / "w", settings=settings)
    back_up(workspace, tmp_path / "b.zip")
    # The tests' server does not write through.
    assert list_wrong(workspace) == {"durability": "error"}
    assert "fsync" in str(look(workspace)["durability"].message)
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", "wrong")
    found = look(workspace)["store"]
    assert found.severity == "error"
    assert "AIMWELL_STORE_PASSWORD" in str(found.remedy)
    monkeypatch.setenv("AIMWELL_STORE__URL", "postgresql://aimwell@127.0.0.1:1/x")
    found = look(workspace)["store"]
    assert found.figures == {"code": "engine.store_unreachable"}


def run(workspace: Workspace, *arguments: str) -> tuple[int, str]:
    from aimwell.cli.app import app

    done = CliRunner().invoke(app, ["-w", str(workspace.path), *arguments])
    return done.exit_code, done.stdout


def test_the_command_says_it_for_people_and_programs_in_both_languages(workspace: Workspace) -> None:
    code, page = run(workspace, "doctor")
    assert code == 0
    assert "0 errors, 0 warnings." in page
    (workspace.path / "secret").chmod(0o644)
    code, page = run(workspace, "--json", "doctor")
    told = json.loads(page)
    assert (code, told["severity"]) == (1, "error")
    wrong = next(one for one in told["findings"] if one["check"] == "secret")
    assert "chmod 600" in wrong["remedy"]["zh"]
    for one in told["findings"]:
        assert one["message"]["zh"] != one["message"]["en"], one
        assert one["title"]["zh"] != one["title"]["en"], one
    code, page = run(workspace, "--language", "zh", "doctor")
    assert "密钥" in page


def test_commands_for_backup_restore_and_audit(workspace: Workspace, tmp_path: Path) -> None:
    code, page = run(workspace, "--json", "backup", str(tmp_path / "c.zip"), "--with-secret")
    told = json.loads(page)
    assert (code, told["secret"]) == (0, True)
    code, page = run(workspace, "--json", "restore", str(tmp_path / "c.zip"), str(tmp_path / "new"))
    assert (code, json.loads(page)["halted"]) == (0, True)
    restored = Workspace.open(tmp_path / "new")
    code, page = run(restored, "--json", "audit", "verify", "--anchor", told["anchor"])
    assert (code, json.loads(page)["breaks"]) == (0, [])
    code, page = run(restored, "--json", "audit", "list", "--limit", "1")
    assert json.loads(page)["entries"][0]["action"] == "workspace.restored"
    code, page = run(restored, "audit", "export", str(tmp_path / "log.jsonl"))
    assert code == 0
    lines = (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["entry"] for line in lines] == list(range(1, len(lines) + 1))
    with restored.store.begin() as connection:
        connection.execute(sa.delete(AUDIT_LOG).where(AUDIT_LOG.c.entry == len(lines)))
    code, page = run(restored, "audit", "verify")
    assert code == 1
    assert f"entry {len(lines)}" in page
    assert sys.version_info >= (3, 11)
