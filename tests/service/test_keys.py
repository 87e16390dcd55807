"""Keys: only their digests are kept, scopes hold, rotation overlaps, revoking ends them, each may ask so often."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, Conflict
from aimwell.engine.service_tables import API_KEYS
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from aimwell.service import keys
from aimwell.service.keys import KnownKeys, create_key, list_keys, revoke_key, rotate_key
from aimwell.service.rates import SECONDS, Rates, SharedRates
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.service.scene import Answer, Service, make_key, wait_until


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return Store.open_file(tmp_path / "store.sqlite")
    server: Server = request.getfixturevalue("postgres")
    server.run("DROP DATABASE IF EXISTS keys", "CREATE DATABASE keys")
    made = Store(server.address("keys"))
    made.migrate()
    return made


def know(store: Store) -> KnownKeys:
    known = KnownKeys(store)
    known.refresh()
    return known


def test_a_key_is_known_by_its_digest(store: Store) -> None:
    key, secret = create_key(store, "web shop", ["write", "decide"])
    assert secret.startswith(key.key_id + "_")
    with store.snapshot() as connection:
        row = connection.execute(sa.select(API_KEYS)).mappings().one()
    assert secret not in json.dumps(dict(row), default=str)
    found = know(store).find(secret)
    assert found == key
    assert found.allows("write") and found.allows("decide") and not found.allows("read")
    store.close()


def test_a_rotated_key_ends_later_and_its_successor_may_the_same(store: Store) -> None:
    old, secret = create_key(store, "shop", ["decide"], rate=7)
    new, successor = rotate_key(store, old.key_id, overlap=timedelta(hours=2))
    known = know(store)
    assert known.find(secret) is not None
    assert known.find(successor) == new
    assert (new.name, new.scopes, new.rate) == (old.name, old.scopes, old.rate)
    ends = {key.key_id: key.expires_at for key in list_keys(store)}
    assert ends[new.key_id] is None
    assert ends[old.key_id] == new.created_at + timedelta(hours=2)
    # Rotated again, it does not live longer.
    rotate_key(store, old.key_id, overlap=timedelta(days=9))
    assert {key.key_id: key.expires_at for key in list_keys(store)}[old.key_id] == ends[old.key_id]
    rotate_key(store, new.key_id, overlap=timedelta(0))
    assert know(store).find(successor) is None
    with pytest.raises(Conflict):
        rotate_key(store, new.key_id)
    store.close()


def test_a_revoked_key_opens_nothing(store: Store) -> None:
    key, secret = create_key(store, "shop", ["admin"])
    assert revoke_key(store, key.key_id).revoked_at is not None
    assert know(store).find(secret) is None
    with pytest.raises(Conflict):
        revoke_key(store, key.key_id)
    with pytest.raises(BadInput):
        revoke_key(store, "aw_000000000000")
    store.close()


def test_every_change_of_a_key_is_audited(tmp_path: Path) -> None:
    from aimwell.engine.store_tables import AUDIT_LOG

    store = Store.open_file(tmp_path / "store.sqlite")
    key, secret = create_key(store, "shop", ["write"])
    successor, _ = rotate_key(store, key.key_id)
    revoke_key(store, successor.key_id)
    with store.snapshot() as connection:
        rows = connection.execute(
            sa.select(AUDIT_LOG.c.action, AUDIT_LOG.c.subject, AUDIT_LOG.c.detail)
        ).all()
    assert [(row.action, row.subject) for row in rows] == [
        ("key.created", key.key_id),
        ("key.rotated", key.key_id),
        ("key.revoked", successor.key_id),
    ]
    assert secret not in json.dumps([row.detail for row in rows])
    store.close()


@pytest.mark.parametrize(
    ("name", "scopes", "rate"),
    [("", ["write"], 1), ("x" * 101, ["write"], 1), ("x", [], 1), ("x", ["all"], 1), ("x", ["write"], 0)],
)
def test_a_key_that_makes_no_sense_is_not_made(
    tmp_path: Path, name: str, scopes: list[str], rate: int
) -> None:
    store = Store.open_file(tmp_path / "store.sqlite")
    with pytest.raises(BadInput):
        create_key(store, name, scopes, rate=rate)
    assert list_keys(store) == []
    store.close()


def test_whatever_key_comes_one_comparison_in_constant_time_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open_file(tmp_path / "store.sqlite")
    key, secret = create_key(store, "shop", ["write"])
    ended, gone = create_key(store, "old", ["write"])
    revoke_key(store, ended.key_id)
    known = know(store)
    compared: list[tuple[int, int]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return real(one, other)

    real = hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    wrong = [
        "",
        "x",
        key.key_id,
        secret[:-1] + "!",
        f"aw_ffffffffffff_{secret[-43:]}",
        secret + "x",
        "密" * 50,
    ]
    assert [known.find(one) for one in (*wrong, gone)] == [None] * 8
    assert known.find(secret) == key
    assert compared == [(64, 64)] * 9
    store.close()


def test_scopes_hold(workspace: Workspace, service: Service) -> None:
    may = {scope: make_key(workspace, scope) for scope in ("write", "decide", "read", "admin")}
    event = {"userId": "u", "event": "e", "messageId": "scopes"}
    allowed: dict[str, list[str]] = {}
    for name, secret in may.items():
        told = {
            "write": service.call("/v1/track", event, key=secret),
            "decide": service.call("/v1/decide", {"customer_id": "u"}, key=secret),
            "outcome": service.call("/v1/outcome", {"request_id": "r", "shown": True}, key=secret),
            "read": service.call("/metrics", key=secret),
            "token": service.call("/v1/inbox/token", {"customer_id": "u"}, key=secret),
        }
        refused = {place for place, answer in told.items() if answer.status == 403}
        assert {told[place].code for place in refused} <= {"service.scope_missing"}
        allowed[name] = sorted(set(told) - refused)
    assert allowed == {
        "write": ["write"],
        "decide": ["decide", "outcome"],
        "read": ["read", "token"],
        "admin": ["decide", "outcome", "read", "token", "write"],
    }


def test_a_running_service_learns_of_keys_and_of_their_end(workspace: Workspace, service: Service) -> None:
    key, secret = create_key(workspace.store, "late", ["read"])

    def is_let_in() -> bool:
        return service.call("/metrics", key=secret).status == 200

    assert wait_until(is_let_in)
    revoke_key(workspace.store, key.key_id)
    assert wait_until(lambda: not is_let_in())


def test_who_asks_too_often_is_told_when_to_come_again(workspace: Workspace, service: Service) -> None:
    slow, other = make_key(workspace, rate=1), make_key(workspace, rate=1)
    wait_until(lambda: service.call("/metrics", key=other).status == 200)
    assert service.call("/metrics", key=slow).status == 200
    refused: list[Answer] = []

    def ask_often() -> bool:
        refused.extend(one for _ in range(6) if (one := service.call("/metrics", key=slow)).status == 429)
        return len(refused) >= 6

    wait_until(ask_often)
    assert {answer.code for answer in refused} == {"service.rate_exceeded"}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in refused)
    assert service.call("/metrics", key=make_key(workspace)).status in (200, 401)


STEPS = st.lists(
    st.tuples(st.floats(0, 3, allow_nan=False), st.integers(0, 1), st.sampled_from("abc")),
    min_size=1,
    max_size=200,
)


@given(rate=st.integers(1, 50), steps=STEPS)
def test_no_more_is_let_through_than_the_rate_says(rate: int, steps: list[tuple[float, int, str]]) -> None:
    rates = Rates(clock=lambda: at)
    at = 0.0
    through: dict[str, list[float]] = {}
    for step, _, key in steps:
        at += step
        wait = rates.take(key, rate)
        assert wait >= 0
        if wait == 0:
            through.setdefault(key, []).append(at)
    for times in through.values():
        check_rate(times, rate)


@given(rate=st.integers(1, 50), steps=STEPS)
def test_processes_that_share_let_through_what_one_would(
    rate: int, steps: list[tuple[float, int, str]]
) -> None:
    at = 0.0
    alone = Rates(clock=lambda: at)
    with tempfile.TemporaryDirectory() as folder:
        shared = [SharedRates(Path(folder) / "rates", clock=lambda: at) for _ in range(2)]
        for step, process, key in steps:
            at += step
            assert shared[process].take(key, rate) == alone.take(key, rate)
        for one in shared:
            one.close()


def test_more_keys_than_places_may_ask_less_often_and_never_more(tmp_path: Path) -> None:
    rates = SharedRates(tmp_path / "rates", clock=lambda: 100.0)
    taken = Counter(key for key in range(20_000) if rates.take(f"key {key}", 1) == 0)
    assert 8_192 <= taken.total() < 20_000
    assert all(rates.take(f"key {key}", 1) > 0 for key in range(20_000) if key not in taken)
    rates.close()
    # Two seconds later all of them have filled up again.
    later = SharedRates(tmp_path / "rates", clock=lambda: 102.5)
    assert later.take("another key", 1) == 0
    later.close()


HAMMER = """
import sys, time
from pathlib import Path
from aimwell.service.rates import SharedRates
rates = SharedRates(Path(sys.argv[1]))
sys.stdin.read(1)
print(sum(rates.take("key", 1_000) == 0 for _ in range(4_000)), flush=True)
"""


def test_processes_that_ask_at_the_same_time_share_one_bucket(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HAMMER, str(tmp_path / "rates")]
    asking = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    started = time.monotonic()
    for process in asking:
        assert process.stdin is not None
        process.stdin.write("x")
        process.stdin.flush()
    through = [int(process.communicate()[0]) for process in asking]
    room = 1_000 * (SECONDS + time.monotonic() - started)
    assert 1_000 * SECONDS <= sum(through) <= room


def check_rate(through: list[float], rate: float) -> None:
    room = max(rate * SECONDS, 1)
    for first, begin in enumerate(through):
        for last in range(first, len(through)):
            assert last - first + 1 <= room + (through[last] - begin) * rate + 1e-6


def test_commands_make_list_rotate_and_revoke_keys(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from aimwell.cli.app import app

    folder = tmp_path / "w"
    Workspace.create(folder).close()

    def run(*arguments: str) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["-w", str(folder), "--json", "key", *arguments])
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    made = run("create", "shop", "--scope", "write", "--scope", "decide")
    assert made["scopes"] == ["write", "decide"]
    new = run("rotate", made["key_id"], "--hours", "1")
    assert new["key"] != made["key"]
    assert run("revoke", new["key_id"])["valid"] is False
    listed = run("list")["keys"]
    assert [(row["key_id"], row["valid"]) for row in listed] == [
        (made["key_id"], True),
        (new["key_id"], False),
    ]
    assert "digest" not in listed[0] and "key" not in listed[0]
    shown = CliRunner().invoke(app, ["-w", str(folder), "--language", "zh", "key", "list"])
    assert "已吊销" in shown.output
