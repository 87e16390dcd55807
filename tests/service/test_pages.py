"""Links, pages, hooks and the inbox over HTTP: forged tokens open nothing, repeats change nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
import sqlalchemy as sa

from aimwell.data.event_profiles import merge_profiles
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.channels.hooks import sign_body
from aimwell.deployment.channels.inbox import InboxChannel
from aimwell.deployment.channels.webhook import HookSecret, sign_hook
from aimwell.deployment.unsubscribe import build_link, build_preferences_link
from aimwell.engine.ledger_tables import CONSENT_STATES, SUPPRESSIONS
from aimwell.engine.permissions import ConsentState, list_suppressions, remember_consents
from aimwell.engine.secret import load_secret
from aimwell.engine.workspace import Workspace
from aimwell.service.customer_token import read_customer, sign_customer
from aimwell.service.refusals import Refused
from tests.service.scene import Answer, Service, make_key, make_workspace, read_events, running

SMS_SECRET = "an sms provider's secret"
HOOK_SECRET = HookSecret.create()
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def find_path(workspace: Workspace, customer: str, *, preferences: bool = False) -> str:
    build = build_preferences_link if preferences else build_link
    link = build(load_secret(workspace.path), customer_id=customer, channel="email", address="http://here")
    return link.removeprefix("http://here")


def allow(workspace: Workspace, customer: str) -> None:
    with workspace.store.begin() as connection:
        remember_consents(connection, [ConsentState(customer, "email", True, 1)])


def may_mail(workspace: Workspace, customer: str) -> bool:
    columns = CONSENT_STATES.c
    query = sa.select(columns.allowed).where(columns.customer_id == customer, columns.channel == "email")
    with workspace.store.snapshot() as connection:
        suppressed = {one.channel for one in list_suppressions(connection, [customer])}
        return bool(connection.execute(query).scalar()) and not suppressed & {"email", "all"}


def test_looking_at_a_link_unsubscribes_nobody(workspace: Workspace, service: Service) -> None:
    allow(workspace, "looks")
    path = find_path(workspace, "looks")
    for method in ("GET", "HEAD", "GET"):
        answer = service.call(path, method=method)
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("text/html")
    assert may_mail(workspace, "looks")


@pytest.mark.parametrize("multipart", [False, True])
def test_one_click_unsubscribes(workspace: Workspace, service: Service, multipart: bool) -> None:
    customer = f"clicks-{multipart}"
    allow(workspace, customer)
    data, headers = urlencode({"List-Unsubscribe": "One-Click"}).encode(), FORM
    if multipart:
        data = b'--x\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\nOne-Click\r\n--x--\r\n'
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
    for _ in range(2):
        answer = service.call(find_path(workspace, customer), data=data, headers=headers)
        assert answer.status == 200
    assert not may_mail(workspace, customer)


def test_the_preference_centre_is_a_page(workspace: Workspace, service: Service) -> None:
    path = find_path(workspace, "chooses", preferences=True)
    answer = service.call(path + "?lang=zh")
    assert answer.status == 200 and 'lang="zh' in answer.body.decode()
    strange = service.call(path, data=b"action=explode", headers=FORM)
    assert strange.status == 400


@pytest.mark.parametrize("route", ["/c/", "/o/", "/h/", "/unsubscribe/", "/preferences/"])
@pytest.mark.parametrize("token", ["x", "a.b", "a" * 5_000, "%00", "%F0%9F%92%A9", "..%2e"])
def test_a_forged_token_opens_nothing(workspace: Workspace, service: Service, route: str, token: str) -> None:
    answer = service.call(route + token)
    assert answer.status == 404
    assert "location" not in answer.headers
    assert token not in answer.body.decode("utf-8", "replace") or token in ("x", "a.b")


def test_a_token_for_one_page_is_none_for_another(workspace: Workspace, service: Service) -> None:
    token = find_path(workspace, "other").rpartition("/")[2]
    assert service.call(f"/unsubscribe/{token}").status == 200
    for route in ("/preferences/", "/c/", "/o/", "/h/"):
        assert service.call(route + token).status == 404
    assert service.call("/v1/inbox", headers={"Authorization": f"Bearer {token}"}).status == 401


def test_a_form_that_is_none_is_refused(workspace: Workspace, service: Service) -> None:
    path = find_path(workspace, "forms")
    for headers in (
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "multipart/form-data; boundary=x"},
    ):
        answer = service.call(path, data=b"--y\r\nbroken", headers=headers)
        assert answer.status == 400
    large = service.call(path, data=b"a=" + b"x" * 100_000, headers=FORM)
    assert large.status == 413
    many = service.call(path, data=b"&".join(b"f%d=1" % n for n in range(5_000)), headers=FORM)
    assert many.status == 400


# The inbox.


def make_message(customer: str, number: int = 1) -> Message:
    return Message(
        delivery_id=f"{customer}-{number}", plan_id="p", customer_id=customer, recipient=customer,
        subject="Tea", text="New tea", html="", language="en", unsubscribe_url="",
    )  # fmt: skip


def ask_inbox(service: Service, path: str, token: str, body: object = None) -> Answer:
    return service.call(path, body, headers={"Authorization": f"Bearer {token}"})


def test_a_customer_reads_the_own_inbox_and_no_other(
    workspace: Workspace, service: Service, key: str
) -> None:
    InboxChannel(workspace.store).deliver_batch(
        [make_message("ann"), make_message("bob"), make_message("ann", 2)]
    )
    told = service.call("/v1/inbox/token", {"customer_id": "ann", "seconds": 60}, key=key).json
    assert told["ends_ms"] > time.time() * 1000
    page = ask_inbox(service, "/v1/inbox", told["token"]).json
    assert {one["delivery_id"] for one in page["messages"]} == {"ann-1", "ann-2"}
    assert page["unread"] == 2
    assert ask_inbox(service, "/v1/inbox/ann-1", told["token"], {"state": "read"}).status == 200
    assert ask_inbox(service, "/v1/inbox/ann-2", told["token"], {"state": "dismissed"}).status == 200
    other = ask_inbox(service, "/v1/inbox/bob-1", told["token"], {"state": "read"})
    assert (other.status, other.code) == (404, "service.no_such_message")
    page = ask_inbox(service, "/v1/inbox", told["token"]).json
    assert (len(page["messages"]), page["unread"]) == (1, 0)
    assert ask_inbox(service, "/v1/inbox/ann-1", told["token"], {"state": "burnt"}).status == 400


def test_a_customers_token_is_signed_and_ends() -> None:
    secret = b"0123456789abcdef"
    token = sign_customer(secret, "王 'x\"", 1_000)
    assert read_customer(secret, token, 999) == "王 'x\""
    payload, signature = token.split(".")
    forged = sign_customer(b"another secret..", "王 'x\"", 1_000)
    for wrong in (
        forged,
        payload,
        f"{payload}.",
        f".{signature}",
        f"{payload}.{payload}",
        token + "A",
        "é.é",
        "",
    ):
        with pytest.raises(Refused):
            read_customer(secret, wrong, 999)
    with pytest.raises(Refused):
        read_customer(secret, token, 1_000)


def test_an_api_key_is_no_customers_token(service: Service, key: str) -> None:
    assert ask_inbox(service, "/v1/inbox", key).status == 401


# Hooks.


@pytest.fixture(scope="module")
def hooked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Workspace, Service]]:
    """A service that knows its providers' secrets, and a customer with a telephone number."""
    secrets = {"AIMWELL_SMS_HOOK_SECRET": SMS_SECRET, "AIMWELL_HOOK_SECRET": HOOK_SECRET.show()}
    made = make_workspace(tmp_path_factory.mktemp("hooks") / "w")
    key = make_key(made)
    with running(made.path, variables=secrets) as service:
        traits = {"userId": "c1", "traits": {"phone": "138 0013 8000"}, "messageId": "i1"}
        assert service.call("/v1/identify", traits, key=key).status == 200
        merge_profiles(made)
        yield made, service
    made.close()


def send_sms(service: Service, told: object, *, at: int | None = None, secret: str = SMS_SECRET) -> Answer:
    body, stamp = json.dumps(told).encode(), str(int(time.time()) if at is None else at)
    headers = {"X-Timestamp": stamp, "X-Signature": sign_body(secret.encode(), stamp, body)}
    return service.call("/hooks/sms", data=body, headers=headers)


def count_suppressions(workspace: Workspace) -> int:
    with workspace.store.snapshot() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(SUPPRESSIONS)).scalar_one())


def test_a_reply_that_says_stop_ends_sms_for_whoever_has_the_number(
    hooked: tuple[Workspace, Service],
) -> None:
    workspace, service = hooked
    reply = {"id": "r1", "phone": "+8613800138000", "text": "退订"}
    for _ in range(3):
        answer = send_sms(service, reply)
        assert (answer.status, answer.json) == (200, {"events": 1})
    with workspace.store.snapshot() as connection:
        lines = list_suppressions(connection, ["c1"])
    assert [line.channel for line in lines] == ["sms"]
    assert send_sms(service, {"id": "r2", "phone": "+8613911112222", "text": "TD"}).json == {"events": 0}


def test_a_hook_without_its_signature_changes_nothing(hooked: tuple[Workspace, Service]) -> None:
    workspace, service = hooked
    before = count_suppressions(workspace)
    reply = {"id": "r9", "phone": "+8613800138000", "text": "STOP"}
    refused = [
        send_sms(service, reply, secret="another"),
        send_sms(service, reply, at=int(time.time()) - 3_600),
        service.call("/hooks/sms", reply),
        service.call("/hooks/sms", reply, headers={"X-Timestamp": "x", "X-Signature": "y"}),
    ]
    assert {answer.status for answer in refused} == {403}
    assert count_suppressions(workspace) == before
    assert service.call("/hooks/unknown", reply).status == 404
    assert send_sms(service, [[1]]).status == 400


def test_signed_events_are_taken_once_however_often_they_come(hooked: tuple[Workspace, Service]) -> None:
    workspace, service = hooked
    body = json.dumps({"type": "track", "userId": "c1", "event": "Policy Renewed"}).encode()
    headers = sign_hook("msg_1", body, [HOOK_SECRET], at=int(time.time()))
    for _ in range(3):
        answer = service.call("/hooks/events", data=body, headers=headers)
        assert (answer.status, answer.json) == (200, {"events": 1})
    names = [row["name"] for row in read_events(workspace)]
    assert names.count("Policy Renewed") == 1
    forged = service.call("/hooks/events", data=body + b" ", headers=headers)
    assert forged.status == 403


def test_mails_that_came_back_are_signed_too(hooked: tuple[Workspace, Service]) -> None:
    _, service = hooked
    mail = b"From: a@example.com\r\nTo: b@example.com\r\nSubject: Hello\r\n\r\nNo report.\r\n"
    headers = sign_hook("mail_1", mail, [HOOK_SECRET], at=int(time.time()))
    assert service.call("/hooks/mail", data=mail, headers=headers).json == {"events": 0}
    assert service.call("/hooks/mail", data=mail + b"x", headers=headers).status == 403


def test_a_provider_without_a_secret_is_told(service: Service) -> None:
    answer = service.call("/hooks/sms", {})
    assert (answer.status, answer.code) == (409, "service.no_hook_secret")
    assert "AIMWELL_SMS_HOOK_SECRET" in answer.json["error"]["remedy"]


def test_metrics_count_what_happened(
    workspace: Workspace, service: Service, key: str, tmp_path: Path
) -> None:
    service.call("/v1/track", {"userId": "m", "event": "e", "messageId": "metric"}, key=key)
    service.call("/v1/track", {"userId": "m", "event": "e", "messageId": "metric"}, key=key)
    text = service.call("/metrics", key=key).body.decode()
    for line in (
        'aimwell_events_total{status="accepted"}',
        'aimwell_events_total{status="duplicate"}',
        'aimwell_requests_total{method="POST",route="/v1/track",status="200"}',
        'aimwell_request_seconds_count{route="/v1/track"}',
        "aimwell_events_waiting 0.0",
        'aimwell_event_commit_seconds_bucket{le="+Inf"}',
    ):
        assert line in text
    # No label names a person or a token.
    assert "metric" not in text.replace("aimwell_metric", "")
    assert service.call("/metrics").status == 401
