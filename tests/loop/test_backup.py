"""A backup is the whole workspace at one moment, however busy it is; a restore gives that back, on either database."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.core.errors import AimwellError, BadInput, Conflict, NotReady
from aimwell.core.text import Text
from aimwell.data.event_intake import take_events
from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.policy import ContactRules
from aimwell.engine.audit import Anchor, verify
from aimwell.engine.compaction import compact
from aimwell.engine.hot_tables import LIVE_CHANGES
from aimwell.engine.ledger_tables import CONTACT_GATE, DELIVERIES
from aimwell.engine.secret import load_secret
from aimwell.engine.settings import FILE_NAME, Settings, StoreSettings, load_settings
from aimwell.engine.store import Store
from aimwell.engine.store_copy import count_rows
from aimwell.engine.store_tables import RUNS, Instant
from aimwell.engine.vacuum import vacuum
from aimwell.engine.workspace import Workspace
from aimwell.loop.archive import INDEX
from aimwell.loop.backup import back_up
from aimwell.loop.restore import point_settings, restore
from tests.deployment.scene import fill
from tests.faults.event_process import BATCH, build_message, run
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)

PROCESSES = multiprocessing.get_context("forkserver")
CHANGED = {"audit_log", "audit_gate", "contact_gate", "table_files"}
"""Tables that a restore itself writes."""


@pytest.fixture
def database(postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:  # noqa: F811
    """The address of an empty database, its password in the environment."""
    name = f"restored{abs(hash(tmp_path.name))}"
    postgres.run(f"CREATE DATABASE {name}")
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    return postgres.address(name, password=None)


def make(folder: Path, **store: str) -> Workspace:
    settings = Settings(store=StoreSettings(**store)) if store else None
    workspace = Workspace.create(folder, zone="UTC", settings=settings)
    take_events(workspace, [build_message("a", number) for number in range(200)])
    compact(workspace)
    take_events(workspace, [build_message("a", number) for number in range(150, 300)])
    ledger = Ledger(workspace.store, rules=ContactRules(cap=5, cap_days=28))
    fill(ledger, ["x", "y", "z"])
    taken = ledger.reserve("p1", "email", limit=1)
    ids = [row.delivery_id for row in taken.rows]
    ledger.advance(taken.fence, intended=ids)
    ledger.advance(taken.fence, settled=[(ids[0], Receipt(Outcome.SENT))])
    workspace.store.audit("test.happened", "语", {"customer_id": "c1"})
    (folder / "templates").mkdir()
    (folder / "templates" / "mail.liquid").write_text("你好", encoding="utf-8")
    return workspace


def list_events(workspace: Workspace) -> list[str]:
    with workspace.read() as reader:
        rows = reader.query("SELECT event_id FROM events ORDER BY event_id").to_pylist()
    return [row["event_id"] for row in rows]


def read_store(workspace: Workspace) -> dict[str, list[dict[str, Any]]]:
    from aimwell.engine.store_metadata import METADATA

    with workspace.store.snapshot() as connection:
        return {
            table.name: [
                dict(row)
                for row in connection.execute(sa.select(table).order_by(*table.primary_key)).mappings()
            ]
            for table in METADATA.sorted_tables
        }


def assert_same(old: dict[str, list[dict[str, Any]]], new: dict[str, list[dict[str, Any]]]) -> None:
    for name in old:
        if name not in CHANGED:
            assert new[name] == old[name], name


@pytest.mark.parametrize("source", ["sqlite", "postgresql"])
@pytest.mark.parametrize("target", ["sqlite", "postgresql"])
def test_what_is_restored_is_what_was_there(
    tmp_path: Path,
    postgres: Server,  # noqa: F811
    database: str,
    source: str,
    target: str,
) -> None:
    own = {"url": database, "schema_name": "old"} if source == "postgresql" else {}
    workspace = make(tmp_path / "old", **own)
    before, events = read_store(workspace), list_events(workspace)
    done = back_up(workspace, tmp_path / "b.aimwell.zip")
    assert done.index.rows == {name: len(rows) for name, rows in before.items()}
    url, schema = (database, "new") if target == "postgresql" else (None, None)
    found = restore(done.file, tmp_path / "new", url=url, schema_name=schema)
    opened = Workspace.open(tmp_path / "new")
    assert opened.store.is_sqlite == (target == "sqlite")
    assert_same(before, read_store(opened))
    assert list_events(opened) == events
    assert len(events) == 300
    assert (tmp_path / "new/templates/mail.liquid").read_text(encoding="utf-8") == "你好"
    assert found.rows == sum(done.index.rows.values())
    # What comes again is still known, and new things get numbers that nobody had.
    again = take_events(opened, [build_message("a", 7), build_message("a", 299)])
    assert {one.status for one in again} == {"duplicate"}
    with opened.store.snapshot() as connection:
        assert verify(connection, [Anchor.read(done.index.anchor)]).breaks == ()


def test_nothing_is_sent_from_a_restored_workspace_before_somebody_says_so(tmp_path: Path) -> None:
    done = back_up(make(tmp_path / "old"), tmp_path / "b.zip")
    for name, moved in (("copy", False), ("moved", True)):
        assert restore(done.file, tmp_path / name, moved=moved).halted is not moved
        with Workspace.open(tmp_path / name).store.snapshot() as connection:
            halted = connection.execute(sa.select(CONTACT_GATE.c.halted_at_ms)).scalar_one()
        assert (halted is None) is moved


def test_runs_and_numbers_of_the_old_place_do_not_go_on(tmp_path: Path) -> None:
    workspace = make(tmp_path / "old")
    change = {"consumer": "s", "rule": "r", "customer_id": "c", "inside": True, "at": now_instant()}
    with workspace.store.begin() as connection:
        connection.execute(sa.insert(LIVE_CHANGES), [change, change])
        connection.execute(sa.delete(LIVE_CHANGES).where(LIVE_CHANGES.c.change == 2))
        one = connection.execute(sa.select(RUNS.c.run_id).limit(1)).scalar_one()
        elsewhere = sa.update(RUNS).where(RUNS.c.run_id == one)
        connection.execute(elsewhere.values(status="running", process="other:1"))
    done = back_up(workspace, tmp_path / "b.zip")
    restore(done.file, tmp_path / "new")
    opened = Workspace.open(tmp_path / "new")
    with opened.store.begin() as connection:
        states = set(connection.execute(sa.select(RUNS.c.status)).scalars())
        connection.execute(sa.insert(LIVE_CHANGES), change)
        numbers = connection.execute(sa.select(LIVE_CHANGES.c.change)).scalars().all()
    assert "running" not in states
    assert numbers == [1, 3], "a number that a follower has seen never comes again"


def now_instant() -> Any:
    from aimwell.core.time import now

    assert Instant.write(now())
    return now()


def test_a_backup_while_events_come_in_has_all_that_were_answered_before(tmp_path: Path) -> None:
    PROCESSES.set_forkserver_preload(["tests.faults.event_process"])
    workspace = Workspace.create(tmp_path / "old", zone="UTC")
    log = tmp_path / "log"
    kinds = (("load", "A:0"), ("work", "0"))
    running: list[Any] = [
        PROCESSES.Process(target=run, args=(kind, workspace.path, seed, log if kind == "load" else tmp_path / "w"))
        for kind, seed in kinds
    ]  # fmt: skip
    for process in running:
        process.start()
    try:
        for number in range(3):
            wait_for_lines(log, 3 * (number + 1), running[0])
            answered = read_answered(log)
            done = back_up(workspace, tmp_path / f"b{number}.zip")
            vacuum(workspace)
            found = restore(done.file, tmp_path / f"new{number}")
            events = list_events(Workspace.open(found.folder))
            assert answered <= set(events), "an event that had been answered is not in the backup"
            assert len(events) == len(set(events)), "doubled"
    finally:
        for process in running:
            process.kill()
            process.join()


def wait_for_lines(path: Path, count: int, process: Any) -> None:
    deadline = time.monotonic() + 180
    while not path.exists() or len(path.read_text().splitlines()) < count:
        assert process.is_alive(), "the process ended by itself"
        assert time.monotonic() < deadline, "the process made no progress"
        time.sleep(0.02)


def read_answered(log: Path) -> set[str]:
    lines = [line for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {f"A-{number}" for first in map(int, lines) for number in range(first, first + BATCH)}


def test_files_that_were_replaced_meanwhile_stay_until_they_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    from aimwell.core.time import now
    from aimwell.engine.compaction import merge_files
    from aimwell.loop import backup as module

    workspace = make(tmp_path / "old")
    events = list_events(workspace)
    copy = module._copy_warehouse

    def meddle(*arguments: Any) -> None:
        # The state is fixed; now all of its files are replaced and deleted as far as anybody may.
        compact(workspace)
        assert merge_files(workspace, most_files=1).removed
        vacuum(workspace, now() + timedelta(days=3), grace=timedelta(0))
        copy(*arguments)

    monkeypatch.setattr(module, "_copy_warehouse", meddle)
    done = back_up(workspace, tmp_path / "b.zip")
    restore(done.file, tmp_path / "new")
    assert list_events(Workspace.open(tmp_path / "new")) == events


def test_an_interrupted_backup_leaves_nothing(tmp_path: Path) -> None:
    workspace = make(tmp_path / "old")

    def interrupt(text: Text) -> None:
        if "Warehouse" in str(text):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        back_up(workspace, tmp_path / "b.zip", progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_interrupted_restore_leaves_nothing(tmp_path: Path, database: str) -> None:
    done = back_up(make(tmp_path / "old"), tmp_path / "b.zip")

    def interrupt(text: Text) -> None:
        if "deliveries" in str(text):
            raise KeyboardInterrupt

    for url in (None, database):
        with pytest.raises(KeyboardInterrupt):
            restore(done.file, tmp_path / "new", progress=interrupt, url=url)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.zip", "old"]
    restore(done.file, tmp_path / "new", url=database)


def test_the_secret_goes_along_only_when_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = make(tmp_path / "old")
    secret = load_secret(workspace.path)
    without = back_up(workspace, tmp_path / "without.zip")
    along = back_up(workspace, tmp_path / "with.zip", with_secret=True)
    assert secret.hex().encode() not in without.file.read_bytes()
    assert any("secret" in str(text) for text in restore(without.file, tmp_path / "a").notices)
    restore(along.file, tmp_path / "b")
    assert load_secret(tmp_path / "a") != secret
    assert load_secret(tmp_path / "b") == secret
    assert (tmp_path / "b/secret").stat().st_mode & 0o077 == 0
    assert along.file.stat().st_mode & 0o077 == 0, "who reads a backup reads everything"
    monkeypatch.setenv("AIMWELL_SECRET", "x" * 32)
    with pytest.raises(NotReady, match="AIMWELL_SECRET"):
        back_up(workspace, tmp_path / "c.zip", with_secret=True)


def damage(file: Path, name: str, content: bytes | None, target: Path) -> Path:
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            if info.filename == name:
                if content is not None:
                    new.writestr(name, content)
            else:
                new.writestr(info, old.read(info))
        if name not in old.namelist() and content is not None:
            new.writestr(name, content)
    return target


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("store/deliveries.jsonl", b""),
        ("store/deliveries.jsonl", None),
        ("aimwell.toml", b"seed = 1\n"),
        ("files/../../evil", b"x"),
        ("more", b"x"),
        (INDEX, b"{}"),
        (INDEX, None),
    ],
)
def test_a_backup_that_was_changed_is_refused_before_anything_is_written(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    done = back_up(make(tmp_path / "old"), tmp_path / "b.zip")
    changed = damage(done.file, name, content, tmp_path / "changed.zip")
    with pytest.raises(BadInput):
        restore(changed, tmp_path / "new")
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "evil").exists()


def test_a_flipped_byte_and_a_cut_off_file_are_refused(tmp_path: Path) -> None:
    done = back_up(make(tmp_path / "old"), tmp_path / "b.zip")
    content = done.file.read_bytes()
    for number, broken in enumerate((content[:-1], content[: len(content) // 2], b"", b"PK")):
        (tmp_path / f"{number}.zip").write_bytes(broken)
        with pytest.raises(BadInput):
            restore(tmp_path / f"{number}.zip", tmp_path / "new")
    with zipfile.ZipFile(done.file) as opened:
        parquet = next(info for info in opened.infolist() if info.filename.endswith(".parquet"))
    flipped = bytearray(content)
    flipped[parquet.header_offset + 200] ^= 1
    (tmp_path / "flipped.zip").write_bytes(flipped)
    with pytest.raises(BadInput, match="damaged"):
        restore(tmp_path / "flipped.zip", tmp_path / "new")
    with pytest.raises(BadInput):
        restore(tmp_path / "nothing.zip", tmp_path / "new")


def test_a_backup_of_a_damaged_warehouse_is_none(tmp_path: Path) -> None:
    workspace = make(tmp_path / "old")
    file = next(workspace.warehouse_folder.glob("events/*.parquet"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(NotReady, match=file.name):
        back_up(workspace, tmp_path / "b.zip")
    assert not (tmp_path / "b.zip").exists()


def test_nothing_is_written_over(tmp_path: Path, database: str) -> None:
    workspace = make(tmp_path / "old")
    done = back_up(workspace, tmp_path / "b.zip")
    with pytest.raises(Conflict):
        back_up(workspace, tmp_path / "b.zip")
    with pytest.raises(BadInput, match="no folder"):
        back_up(workspace, tmp_path / "nowhere/b.zip")
    with pytest.raises(Conflict):
        restore(done.file, tmp_path / "old")
    (tmp_path / "empty").mkdir()
    assert restore(done.file, tmp_path / "empty", url=database).database == "postgresql"
    with pytest.raises(Conflict, match="already"):
        restore(done.file, tmp_path / "second", url=database)
    assert list_events(Workspace.open(tmp_path / "empty")) == list_events(workspace)


@pytest.mark.parametrize(
    "url",
    ["postgresql://a:secret@h/d", "mysql://h/d", "postgresql://h", "nonsense", "postgresql://h/d?password=s"],
)
def test_addresses_that_cannot_be_used_are_refused_without_showing_a_password(
    tmp_path: Path, url: str
) -> None:
    with pytest.raises(AimwellError) as caught:
        restore(tmp_path / "b.zip", tmp_path / "new", url=url)
    assert "secret" not in caught.value.render()


def test_of_a_folder_of_backups_the_newest_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import timedelta

    from aimwell.core.time import now
    from aimwell.loop import backup as module

    workspace = make(tmp_path / "old")
    folder = tmp_path / "backups"
    folder.mkdir()
    (folder / "old-note.aimwell.zip").write_bytes(b"not ours")
    for day in range(4):
        at = now() + timedelta(days=day)
        monkeypatch.setattr(module, "now", lambda at=at: at)
        done = back_up(workspace, folder, keep=2)
    names = sorted(path.name for path in folder.iterdir())
    assert len(names) == 3
    assert done.file.name in names
    assert "old-note.aimwell.zip" in names
    assert len(done.removed) == 1


def test_a_backup_of_an_older_version_is_brought_up_to_date(tmp_path: Path, database: str) -> None:
    """As the version with the schema 0006 would have written it: without later tables and columns."""
    done = back_up(make(tmp_path / "old"), tmp_path / "b.zip")
    older = make_older(done.file, tmp_path / "older.zip", "0006", tmp_path / "frozen.sqlite")
    for number, url in enumerate((None, database)):
        found = restore(older, tmp_path / f"new{number}", url=url)
        opened = Workspace.open(found.folder)
        assert len(list_events(opened)) == 300
        assert count_rows(opened.store)["deliveries"] == 3
        opened.store.audit("test.done", "x")
        opened.close()


def make_older(file: Path, target: Path, revision: str, frozen: Path) -> Path:
    store = Store(f"sqlite:///{frozen}")
    store.migrate(revision)
    look = sa.inspect(store.engine)
    there = {table: [one["name"] for one in look.get_columns(table)] for table in look.get_table_names()}
    store.close()
    with zipfile.ZipFile(file) as opened:
        index = json.loads(opened.read(INDEX))
        contents = {name: opened.read(name) for name in opened.namelist() if name != INDEX}
    index["revision"] = revision
    for name, copy in list(index["tables"].items()):
        member = f"store/{name}.jsonl"
        if name not in there:
            del index["tables"][name], index["rows"][name], index["members"][member], contents[member]
            continue
        kept = [place for place, (column, _) in enumerate(copy["columns"]) if column in there[name]]
        copy["columns"] = [copy["columns"][place] for place in kept]
        rows = [json.loads(line) for line in contents[member].splitlines()]
        lines = [json.dumps([row[place] for place in kept]) + "\n" for row in rows]
        contents[member] = "".join(lines).encode()
        index["members"][member] = {
            "bytes": len(contents[member]),
            "sha256": hashlib.sha256(contents[member]).hexdigest(),
        }
    with zipfile.ZipFile(target, "w") as new:
        for name, content in contents.items():
            new.writestr(name, content)
        new.writestr(INDEX, json.dumps(index))
    return target


def test_a_backup_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    done = back_up(make(tmp_path / "old"), tmp_path / "b.zip")
    for changes in ({"revision": "9999"}, {"format": 2}):
        newer = rewrite_index(done.file, tmp_path / f"{len(changes)}.zip", changes)
        with pytest.raises(BadInput, match="newer"):
            restore(newer, tmp_path / "new")


def rewrite_index(file: Path, target: Path, changes: dict[str, Any]) -> Path:
    with zipfile.ZipFile(file) as opened:
        index = json.loads(opened.read(INDEX)) | changes
    return damage(file, INDEX, json.dumps(index).encode(), target)


def test_only_the_stores_address_changes_in_the_settings() -> None:
    text = '# mine\nseed = 7\n\n[store]\nurl = "postgresql://a@b/c"\n# why\n[smtp]\nhost = "h"\n'
    assert point_settings(text, None, None) == '# mine\nseed = 7\n\n[store]\n# why\n[smtp]\nhost = "h"\n'
    assert '[store]\nurl = "postgresql://x/y"\nschema_name = "s"\n# why' in point_settings(
        text, "postgresql://x/y", "s"
    )
    added = point_settings("seed = 7\n", "postgresql://x/y", None)
    assert added == 'seed = 7\n\n[store]\nurl = "postgresql://x/y"\n'


def test_the_file_of_settings_never_holds_a_password(
    tmp_path: Path,
    postgres: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = f"env{os.getpid()}"
    postgres.run(f"CREATE DATABASE {name}")
    monkeypatch.setenv("AIMWELL_STORE__URL", postgres.address(name))
    workspace = Workspace.create(tmp_path / "w")
    assert not workspace.store.is_sqlite
    assert PASSWORD not in (tmp_path / "w" / FILE_NAME).read_text(encoding="utf-8")
    assert not (tmp_path / "w/store.sqlite").exists()
    with pytest.raises(Conflict, match="already"):
        Workspace.create(tmp_path / "w2")
    assert not (tmp_path / "w2" / FILE_NAME).exists()
    file = tmp_path / "bad.toml"
    file.write_text(f'[store]\nurl = "{postgres.address(name)}"\n', encoding="utf-8")
    with pytest.raises(BadInput, match="AIMWELL_STORE_PASSWORD") as caught:
        load_settings(file)
    assert PASSWORD not in caught.value.render()
    assert sum(count_rows(workspace.store).values()) >= 2
    assert DELIVERIES.name in count_rows(workspace.store)
