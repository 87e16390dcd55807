"""Service and worker at work on people whom everybody would recognise: nothing of them is in the logs."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from urllib.parse import quote

import pytest

from aimwell.deployment.unsubscribe import build_link
from aimwell.engine.secret import load_secret
from tests.service.scene import make_key, make_workspace, read_events, running, wait_until

PEOPLE = {
    "email": "alice.wang@planted.example",
    "name": "王小明甲乙",
    "phone": "+8613912345678",
    "address": "朝阳区建国路八十八号",
    "openid": "oPLANTEDopenid_77310452xyz",
    "note": "planted words of a complaint",
}


def build_batch() -> dict[str, object]:
    traits = dict(PEOPLE)
    identify = {"type": "identify", "messageId": "m1", "userId": "M-77310452", "traits": traits}
    track = {
        "type": "track",
        "messageId": "m2",
        "userId": "M-77310452",
        "event": "Signed Up",
        "properties": traits,
        "context": {"traits": traits, "ip": "203.0.113.77"},
    }
    wrong = {"type": "track", "messageId": "m3", "userId": PEOPLE["email"], "event": 7, "properties": traits}
    return {"batch": [identify, track, wrong, {"type": PEOPLE["name"]}]}


def test_nothing_of_a_person_and_no_token_is_logged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMWELL_LOGS__LEVEL", "debug")
    monkeypatch.setenv("AIMWELL_LOGS__FORMAT", "json")
    workspace = make_workspace(tmp_path / "w")
    key = make_key(workspace)
    link = build_link(
        load_secret(workspace.path), customer_id="M-77310452", channel="email", address="http://x"
    )
    token = link.rpartition("/")[2]
    with running(workspace.path, command="serve") as service:
        assert service.call("/v1/batch", build_batch(), key=key).status in (200, 207)
        # What goes wrong says more than what goes well.
        assert service.call("/v1/batch", build_batch(), key=f"{key}x").status == 401
        assert service.call("/v1/track", data=json.dumps(PEOPLE).encode() + b"}", key=key).status == 400
        service.call(f"/v1/decide?email={quote(PEOPLE['email'])}", {"customer_id": PEOPLE["email"]}, key=key)
        service.call(f"/unsubscribe/{token}", method="GET")
        service.call(f"/unsubscribe/{token}", data=b"List-Unsubscribe=One-Click")
        service.call(f"/c/{token}?to={quote(PEOPLE['email'])}", headers={"User-Agent": PEOPLE["email"]})
        service.call(f"/nowhere/{quote(PEOPLE['name'])}?phone={quote(PEOPLE['phone'])}")
        wait_until(lambda: read_events(workspace))
        # The worker is a process of its own, and may be the last to come.
        parts: list[str] = []
        wait_until(lambda: parts.append(capfd.readouterr().err) or "worker.started" in "".join(parts))
        service.end(signal.SIGTERM)
    logged = "".join(parts) + capfd.readouterr().err
    lines = [json.loads(line) for line in logged.splitlines() if line.startswith("{")]
    assert any(line["event"] == "worker.started" for line in lines), logged[:2000]
    for value in (*PEOPLE.values(), key, token, "M-77310452", "13912345678", "203.0.113.77"):
        for form in (value, quote(value), json.dumps(value)[1:-1]):
            assert form not in logged, form
