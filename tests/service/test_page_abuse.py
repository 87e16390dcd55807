"""Bodies that are too large, too deep or no form, at the addresses where anybody may write without a key."""

from __future__ import annotations

import pytest

from aimwell.deployment.unsubscribe import build_link
from aimwell.engine.permissions import list_suppressions
from aimwell.engine.secret import load_secret
from aimwell.engine.workspace import Workspace
from tests.service.scene import Service

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
OPEN = ("/unsubscribe/x", "/preferences/x", "/hooks/sms", "/hooks/mail", "/v1/decide", "/v1/outcome")


@pytest.mark.parametrize("path", OPEN)
def test_100_megabytes_are_not_read_anywhere(service: Service, path: str) -> None:
    answer = service.send_raw(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\n\r\n".encode()
    )
    # Refused for its length or for want of a key, a signature or a provider, and never asked to go on.
    assert answer[9:12] in (b"401", b"403", b"404", b"409", b"413"), answer[:200]


@pytest.mark.parametrize(
    ("body", "done"),
    [
        (b"List-Unsubscribe=One-Click" + b"&a=" * 500, True),
        (b"List-Unsubscribe=One-Click&" + b"%" * 60_000, True),
        (b"List-Unsubscribe=One-Click&" + b"a[" * 20_000 + b"=1", True),
        (b"List-Unsubscribe=One-Click" + b"&a=" * 20_000, False),
        (b"List-Unsubscribe=" + b"One-Click" * 7_000, False),
        (b"x" * 65_536, False),
        (b"x" * 65_537, False),
        (b"\xff\xfe" * 30_000, False),
    ],
)
def test_a_form_that_was_made_to_be_hard_is_answered(
    workspace: Workspace, service: Service, body: bytes, done: bool
) -> None:
    customer = f"c{len(body)}"
    link = build_link(
        load_secret(workspace.path), customer_id=customer, channel="email", address="http://here"
    )
    answer = service.call(link.removeprefix("http://here"), data=body, headers=FORM)
    assert (answer.status == 200) is done and answer.status in (200, 400, 413)
    with workspace.store.snapshot() as connection:
        assert bool(list_suppressions(connection, [customer])) is done
    assert service.call("/healthz").status == 200
