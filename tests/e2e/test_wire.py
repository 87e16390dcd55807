"""The wire as a company would use it: a public client's events, the customer's page, a journey's mail, one click.

Everything is real: the service and the worker in their own processes, the client library as it is published, a mail
server that keeps what it is sent. And everything is killed in between, with SIGKILL.
"""

from __future__ import annotations

import email
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from requests.exceptions import RequestException
from segment.analytics.client import Client
from typer.testing import CliRunner

from aimwell.cli.app import app
from aimwell.deployment.sink import Sink
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import go_on, halt
from aimwell.engine.workspace import Workspace
from tests.ports import find_port
from tests.service.scene import PATIENCE, Answer, Service, make_key, running, wait_until
from tests.service.test_loop import list_children, show_customer

JOURNEY = {
    "name": "welcome",
    "title": "Welcome",
    "entries": [{"on": "event", "event": "Signed Up", "to": "hello"}],
    "nodes": {
        "hello": {"kind": "action", "channel": "email", "next": "listen"},
        "listen": {"kind": "wait_event", "event": "Product Viewed", "days": 7, "then": "more"},
        "more": {"kind": "action", "channel": "email"},
    },
}


def call(folder: Path, *arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["-w", str(folder), "--json", *arguments])
    assert done.exit_code == 0, done.output
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "shop", zone="Asia/Shanghai")
    rows = [
        "customer_id,email,name,phone",
        "ann,ann@example.org,安娜,+8613812345678",
        "bob,bob@example.org,Bob,",
    ]
    (tmp_path / "customers.csv").write_text("\n".join(rows), encoding="utf-8")
    consents = ["customer_id,channel,allowed,since", "ann,email,true,2025-01-01", "bob,email,true,2025-01-01"]
    (tmp_path / "consents.csv").write_text("\n".join(consents), encoding="utf-8")
    (tmp_path / "journey.json").write_text(json.dumps(JOURNEY), encoding="utf-8")
    for table in ("customers", "consents"):
        call(made.path, "data", "add", str(tmp_path / f"{table}.csv"), "--as", table, "--yes")
    call(made.path, "journey", "import", str(tmp_path / "journey.json"))
    call(made.path, "journey", "start", "welcome")
    yield made
    made.close()


@contextmanager
def everything(shop: Workspace, sink: Sink, port: int) -> Iterator[Service]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIMWELL_SMTP__PORT", str(sink.port))
        patch.setenv("AIMWELL_PUBLIC_URL", f"http://127.0.0.1:{port}")
        with running(shop.path, "--port", str(port), command="serve") as service:
            wait_until(lambda: service.call("/readyz").status == 200)
            yield service


def send(service: Service, key: str, name: str, customer: str, message_id: str) -> None:
    """The published client, which tries again when a process was killed under it."""

    def is_sent() -> bool:
        client = Client(key, host=service.url, sync_mode=True, timeout=PATIENCE)
        try:
            client.track(customer, name, {"product_id": "p1"}, message_id=message_id)
        except RequestException:
            return False
        return True

    wait_until(is_sent)


def kill_all(service: Service) -> None:
    """SIGKILL for the service and the worker; the supervisor starts them again."""
    found = wait_until(
        lambda: (one := list_children(service.process.pid)).keys() >= {"service", "worker"} and one
    )
    for pid in found.values():
        os.kill(pid, signal.SIGKILL)


def read_mails(folder: Path, address: str) -> list[Message]:
    mails = [email.message_from_bytes(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
    return [mail for mail in mails if address in str(mail["To"])]


def count_states(shop: Workspace) -> dict[tuple[str, str | None], int]:
    query = sa.select(DELIVERIES.c.state, DELIVERIES.c.reason, sa.func.count()).group_by(
        DELIVERIES.c.state, DELIVERIES.c.reason
    )
    with shop.store.snapshot() as connection:
        return {(row[0], row[1]): row[2] for row in connection.execute(query)}


def unsubscribe(service: Service, mail: Message) -> None:
    """As a mail program does it: one click (RFC 8058)."""
    link = re.fullmatch(r"<(.*)>", str(mail["List-Unsubscribe"]).strip())
    assert link is not None and mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    path = link[1].removeprefix(service.url)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert ask(service, path).status == 200
    done = ask(service, path, data=b"List-Unsubscribe=One-Click", method="POST", headers=form)
    assert done.status == 200, done.body


def ask(service: Service, path: str, **given: Any) -> Answer:
    """Ask again where the connection was to a process that was killed."""

    def try_once() -> Answer | None:
        try:
            return service.call(path, **given)
        except OSError:
            return None

    found: Answer = wait_until(try_once)
    return found


@pytest.mark.parametrize("killed", [False, True])
def test_an_event_becomes_a_mail_and_one_click_stops_the_next(
    shop: Workspace, tmp_path: Path, killed: bool
) -> None:
    key, mail, port = make_key(shop, "write"), tmp_path / "mail", find_port()
    with Sink(mail) as sink, everything(shop, sink, port) as service:

        def perhaps_kill() -> None:
            if killed:
                kill_all(service)

        # A mail that is on its way when its worker is killed is in doubt, and rightly so: none is, at these kills.
        with shop.store.begin() as connection:
            assert halt(connection, "the test")
        send(service, key, "Signed Up", "ann", "a-1")
        send(service, key, "Signed Up", "bob", "b-1")
        perhaps_kill()
        page = wait_until(lambda: show_customer(shop.path, "ann"))
        assert "Signed Up" in json.dumps(page)
        with shop.store.begin() as connection:
            assert go_on(connection)
        first = wait_until(lambda: read_mails(mail, "ann@example.org"))
        wait_until(lambda: read_mails(mail, "bob@example.org"))
        assert len(first) == 1
        wait_until(lambda: count_states(shop) == {("sent", None): 2})
        perhaps_kill()
        unsubscribe(service, first[0])
        perhaps_kill()
        send(service, key, "Product Viewed", "ann", "a-2")
        send(service, key, "Product Viewed", "bob", "b-2")
        send(service, key, "Product Viewed", "bob", "b-2")
        wait_until(lambda: len(read_mails(mail, "bob@example.org")) == 2)
        wait_until(
            lambda: sum(count_states(shop).values()) == 4 and ("queued", None) not in count_states(shop)
        )
        # A turn of everything later nothing came twice.
        time.sleep(1.5)
        assert len(read_mails(mail, "ann@example.org")) == 1
        assert len(read_mails(mail, "bob@example.org")) == 2
        states = count_states(shop)
        assert sum(count for (state, _), count in states.items() if state == "sent") == 3
        assert [reason for (state, reason), _ in states.items() if state == "skipped"] in (
            ["suppressed"],
            ["consent_withdrawn"],
        )
