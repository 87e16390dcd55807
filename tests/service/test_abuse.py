"""What nobody sends by accident: each is answered in our own words or cut off, and the service goes on."""

from __future__ import annotations

import gzip
import json
import os
import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aimwell.engine.workspace import Workspace
from aimwell.service import bodies, protocol
from aimwell.service.app import create_app
from tests.service.scene import (
    PATIENCE,
    Service,
    make_key,
    make_workspace,
    read_all,
    read_events,
    serving,
    wait_until,
)

DEEP = b'{"a":' * 5_000 + b"1" + b"}" * 5_000
BODIES = {
    "nothing": b"",
    "no JSON": b"{",
    "text": b"hello",
    "a number": b"3",
    "null": b"null",
    "an array": b"[]",
    "invalid UTF-8": b'{"batch": [], "writeKey": "\xff\xfe"}',
    "NaN": b'{"batch": [NaN]}',
    "infinity": b'{"batch": [{"x": Infinity}]}',
    "two values": b'{"batch": []} {"batch": []}',
    "no batch": b'{"items": []}',
    "batch of another type": b'{"batch": "all"}',
    "deep": b'{"batch": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "a lonely surrogate": b'{"batch": [{"event": "\\ud800"}]}',
    "deep context": b'{"batch": [{}], "context": ' + DEEP + b"}",
}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Workspace, Service, str]]:
    """A service in this process, whose limits a test may change."""
    made = make_workspace(tmp_path / "w")
    with serving(create_app(made)) as service:
        yield made, service, make_key(made)
    made.close()


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_cannot_be_read_is_refused(service: Service, key: str, name: str) -> None:
    answer = service.call("/v1/batch", data=BODIES[name], key=key)
    assert answer.status == 400
    assert answer.code in ("service.not_json", "service.bad_field", "service.too_deep")
    assert set(answer.json["error"]) >= {"code", "message", "remedy", "request_id"}


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (DEEP, "service.not_json"),
        (b'{"type":"track","userId":"u","event":"\xff\xfe"}', "service.not_json"),
        (
            b'{"type":"track","userId":"u","event":"e","properties":' + b"[" * 40 + b"]" * 40 + b"}",
            "service.too_deep",
        ),
        (b'{"type":"track","userId":"u","event":"e","properties":{"n":1e999}}', "service.not_json"),
        (b'{"type":"track","userId":{"$ne":null},"event":"e"}', "data.event_bad_id"),
        (b'{"type":"track","userId":"u","event":"e","timestamp":"yesterday"}', "data.event_bad_instant"),
        (b'{"type":"track","userId":"u","event":"e","properties":"x"}', "data.event_bad_object"),
        (b'{"type":["track"],"userId":"u","event":"e"}', "data.event_of_unknown_type"),
        (b"[[[]]]", "service.item_no_object"),
    ],
)
def test_an_item_that_cannot_be_read_takes_no_other_along(
    service: Service, key: str, item: bytes, code: str
) -> None:
    good = b'{"type":"track","userId":"u","event":"good"}'
    answer = service.call("/v1/batch", data=b'{"batch":[' + item + b"," + good + b"]}", key=key)
    if answer.status == 400:
        # JSON that ends nowhere leaves nothing of its neighbours.
        assert answer.code == code
        return
    assert answer.status == 207
    (problem,) = answer.json["errors"]
    assert (problem["index"], problem["error"]["code"]) == (0, code)
    assert answer.json["accepted"] + answer.json["duplicate"] == 1


def test_of_a_key_that_comes_twice_the_last_counts(workspace: Workspace, service: Service, key: str) -> None:
    body = b'{"userId":"first","event":"e","messageId":"twice","userId":"second"}'
    assert service.call("/v1/track", data=body, key=key).status == 200
    (row,) = [row for row in read_events(workspace) if row["event_id"] == "twice"]
    assert row["customer_id"] == "second"


def test_a_batch_has_limits(service: Service, key: str) -> None:
    many = service.call("/v1/batch", {"batch": [{}] * 2_001}, key=key)
    assert (many.status, many.code) == (413, "service.batch_too_long")
    large = service.call("/v1/batch", {"batch": [{"x": "y" * 600_000}]}, key=key)
    assert (large.status, large.code) == (413, "service.body_too_large")
    # What is said for all would be kept for each.
    spread = service.call("/v1/batch", {"batch": [{}] * 1_000, "context": {"x": "y" * 30_000}}, key=key)
    assert spread.status == 413
    single = service.call("/v1/track", {"userId": "u", "event": "e", "p": "x" * 40_000}, key=key)
    assert single.status == 413


@pytest.mark.parametrize("ends", [b"close", b"keep-alive"])
def test_whoever_still_writes_can_read_that_it_is_too_large(service: Service, key: str, ends: bytes) -> None:
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 6000000\r\nConnection: " + ends
    head += b"\r\nAuthorization: Bearer " + key.encode() + b"\r\n\r\n"
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
            connection.sendall(head)
            # The answer is there by now, and most of the body is still to come.
            assert connection.recv(13, socket.MSG_PEEK) == b"HTTP/1.1 413 "
            for _ in range(60):
                connection.sendall(b" " * 100_000)
            answer = connection.makefile("rb").read()
        assert b"service.body_too_large" in answer
        assert b"\r\nconnection: close\r\n" in answer


def test_a_body_that_nobody_wants_is_cut_off_in_the_end(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, service, _ = here
    monkeypatch.setattr(protocol, "MOST_LINGER", 1_000_000)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 600.0)
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
        connection.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n")
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for _ in range(9_000):
                connection.sendall(b" " * 100_000)


def test_a_body_of_100_megabytes_is_not_read(service: Service, key: str) -> None:
    before = read_memory(service)
    declared = service.send_raw(
        b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\nExpect: 100-continue\r\n"
        b"Authorization: Bearer " + key.encode() + b"\r\n\r\n"
    )
    assert declared.startswith(b"HTTP/1.1 413 ")
    sent = 0
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
        connection.sendall(
            b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
            b"Authorization: Bearer " + key.encode() + b"\r\n\r\n"
        )
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        try:
            while sent < 100_000_000:
                connection.sendall(chunk)
                sent += len(chunk)
        except OSError:
            pass
        if sent < 100_000_000:
            assert read_all(connection)[:13] in (b"HTTP/1.1 413 ", b"")
        else:
            assert read_all(connection).startswith(b"HTTP/1.1 413 ")
    assert read_memory(service) - before < 50_000_000
    assert service.call("/healthz").status == 200


def test_a_gzip_bomb_is_not_unpacked(service: Service, key: str) -> None:
    bomb = gzip.compress(b"[" + b"0," * 50_000_000 + b"0]", 9)
    assert len(bomb) < 200_000
    before = read_memory(service)
    answer = service.call("/v1/batch", data=bomb, key=key, headers={"Content-Encoding": "gzip"})
    assert (answer.status, answer.code) == (413, "service.body_too_large")
    assert read_memory(service) - before < 50_000_000


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b"not gzip", "gzip"),
        (gzip.compress(b'{"batch":[]}')[:-4], "gzip"),
        (gzip.compress(b'{"batch":[]}') * 2, "gzip"),
        (b'{"batch":[]}', "br"),
        (b'{"batch":[]}', "gzip, gzip"),
    ],
    # gzip writes the second at which it packed: names made of the bytes would differ from process to process.
    ids=["none", "cut", "twice", "brotli", "several"],
)
def test_a_compression_that_is_not_what_it_says(
    service: Service, key: str, body: bytes, encoding: str
) -> None:
    answer = service.call("/v1/batch", data=body, key=key, headers={"Content-Encoding": encoding})
    assert (answer.status, answer.code) == (415, "service.bad_encoding")


@pytest.mark.parametrize("wrong", ["", "x", "aw_0123456789ab_" + "x" * 43, "a" * 10_000, "密钥", "\u0000"])
def test_wrong_keys_are_answered_alike(service: Service, key: str, wrong: str) -> None:
    answers = [
        service.call("/v1/track", {"userId": "u", "event": "e", "writeKey": wrong}),
        service.call("/v1/batch", {"batch": [], "writeKey": wrong}),
        service.call("/v1/track", {"userId": "u", "event": "e"}, key=wrong),
        service.call("/v1/decide", {"customer_id": "u"}, key=key[:-1] + ("A" if key[-1] != "A" else "B")),
    ]
    told = {json.dumps({**one.json["error"], "request_id": ""}, sort_keys=True) for one in answers}
    assert {one.status for one in answers} == {401}
    assert len(told) == 1


@pytest.mark.parametrize(
    "header",
    [
        b"Basic",
        b"Basic !!!",
        b"Basic /////w==",
        b"Bearer",
        b"Digest x",
        b"\xff\xfe",
        b"Basic " + b"A" * 9_000,
    ],
)
def test_an_authorization_that_is_none(service: Service, header: bytes) -> None:
    answer = service.send_raw(
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: " + header + b"\r\n\r\n"
    )
    assert answer.startswith((b"HTTP/1.1 401 ", b"HTTP/1.1 400 "))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/track/",
        "//v1/track",
        "/v1//track",
        "/V1/TRACK",
        "/v1/track/../decide",
        "/v1/%2e%2e/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/c/a/b",
        "/v1/track%00",
        "/v1/track;x=1",
        "/metrics/",
        "/%C3%28",
    ],
)
def test_other_spellings_of_paths_lead_nowhere(service: Service, key: str, path: str) -> None:
    answer = service.call(path, {"userId": "u", "event": "e"}, key=key)
    assert (answer.status, answer.code) == (404, "service.unknown_path")
    assert "location" not in {name.lower() for name in answer.headers}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "TRACE"])
def test_other_methods_are_refused(service: Service, key: str, method: str) -> None:
    answer = service.call("/v1/track", key=key, method=method)
    assert (answer.status, answer.code) == (405, "service.method_not_allowed")
    assert answer.headers["allow"] == "POST, OPTIONS"


def test_a_request_id_cannot_begin_a_header(service: Service) -> None:
    kept = service.call("/healthz", headers={"X-Request-Id": "trace-1.a:b_c"})
    assert kept.headers["x-request-id"] == "trace-1.a:b_c"
    for wrong in ("a b", "x" * 65, "a\tb", "é", ""):
        answer = service.call("/healthz", headers={"X-Request-Id": wrong})
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])
    raw = service.send_raw(
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Request-Id: a\r\n Set-Cookie: b=1\r\n\r\n"
    )
    assert b"set-cookie" not in raw.lower().partition(b"\r\n\r\n")[0].replace(b"set-cookie: b=1 ", b"")
    assert b"Set-Cookie: b=1\r\n" not in raw


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /healthz HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_is_no_http_is_cut_off(service: Service, request_line: bytes) -> None:
    answer = service.send_raw(request_line)
    assert answer == b"" or re.match(rb"HTTP/1\.1 4\d\d ", answer)
    assert service.call("/healthz").status == 200


def test_a_head_without_end_is_cut_off(service: Service) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Long: "
    answer = service.send_raw(head, *[b"x" * 16_384] * 3)
    assert answer.startswith(b"HTTP/1.1 431 ")


def test_a_slow_body_is_cut_off(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, service, key = here
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.3)
    head = b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nAuthorization: Bearer "
    answer = service.send_raw(head + key.encode() + b'\r\n\r\n{"userId"')
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"service.body_too_slow" in answer


def test_bodies_under_way_have_so_much_room_together(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, service, key = here
    monkeypatch.setattr(bodies, "MOST_HELD", 100_000)
    head = b"POST /v1/batch HTTP/1.1\r\nHost: x\r\nContent-Length: 400000\r\n\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as waiting:
        waiting.sendall(head + b" " * 60_000)
        wait_until(lambda: bodies._HELD.size == 60_000)
        refused = service.send_raw(head + b" " * 60_000)
        assert refused.startswith(b"HTTP/1.1 429 ") and b"retry-after" in refused
    wait_until(lambda: bodies._HELD.size == 0)
    assert service.call("/v1/track", {"userId": "u", "event": "e"}, key=key).status == 200


def test_a_slow_head_is_cut_off(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, service, _ = here
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    assert service.send_raw(b"GET /healthz HT") == b""
    assert service.send_raw() == b""
    # A byte now and then does not help.
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
        until = time.monotonic() + PATIENCE
        with pytest.raises(OSError):
            while time.monotonic() < until:
                connection.sendall(b"x")
                time.sleep(0.1)


def test_an_answer_is_not_kept_waiting_by_a_body_that_nobody_wants(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, service, _ = here
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.2)
    answer = service.send_raw(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 404 ")


def test_slow_connections_keep_nobody_else_waiting(service: Service, key: str) -> None:
    slow = [socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(b"POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n{")
        answer = service.call("/v1/track", {"userId": "u", "event": "e", "messageId": "busy"}, key=key)
        assert answer.status == 200
    finally:
        for connection in slow:
            connection.close()


def test_a_store_that_cannot_be_reached_is_told(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, service, key = here
    assert service.call("/readyz").status == 200

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(made.hot, "append", fail)
    answer = service.call("/v1/track", {"userId": "u", "event": "e"}, key=key)
    assert (answer.status, answer.code) == (503, "service.store_unreachable")
    assert int(answer.headers["retry-after"]) >= 1
    monkeypatch.undo()
    monkeypatch.setattr(made.store, "snapshot", fail)
    assert service.call("/readyz").status == 503
    assert service.call("/healthz").status == 200


def test_a_defect_tells_nothing_of_itself(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, service, key = here

    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret details")

    monkeypatch.setattr(made.hot, "append", fail)
    answer = service.call("/v1/track", {"userId": "u", "event": "e"}, key=key)
    assert (answer.status, answer.code) == (500, "service.defect")
    assert b"secret" not in answer.body


def test_one_event_that_nobody_foresaw_takes_no_other_along(
    here: tuple[Workspace, Service, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from aimwell.data import event_intake, segment_events

    made, service, key = here
    real = segment_events.read_message

    def read(message: object, terms: object) -> object:
        if isinstance(message, dict) and message.get("event") == "poison":
            raise ZeroDivisionError
        return real(message, terms)  # type: ignore[arg-type]

    monkeypatch.setattr(event_intake, "read_message", read)
    statuses: dict[str, int] = {}

    def send(name: str) -> None:
        message = {"userId": "u", "event": name, "messageId": name}
        statuses[name] = service.call("/v1/track", message, key=key).status

    names = ["poison", *(f"good-{number}" for number in range(6))]
    threads = [threading.Thread(target=send, args=(name,)) for name in names]
    with made.store.begin():
        for thread in threads:
            thread.start()
        time.sleep(0.5)
    for thread in threads:
        thread.join()
    assert statuses.pop("poison") == 500
    assert set(statuses.values()) == {200}
    assert {row["event_id"] for row in read_events(made)} == set(statuses)


def read_memory(service: Service) -> int:
    """The resident set of the service's process; bytes."""
    text = Path(f"/proc/{service.process.pid}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", text)
    assert found is not None
    return int(found[1]) * 1024


def test_signals_end_it_quietly(tmp_path: Path) -> None:
    from tests.service.scene import running

    for number in (signal.SIGTERM, signal.SIGINT):
        made = make_workspace(tmp_path / str(int(number)))
        made.close()
        with running(made.path) as service:
            pid = service.process.pid
            assert service.end(number) == 0
            wait_until(lambda pid=pid: not os.path.exists(f"/proc/{pid}/stat"))


def test_instants_at_the_ends_of_the_calendar_are_refused(service: Service, key: str) -> None:
    ends = {"timestamp": "0001-01-01T00:00:00Z", "sentAt": "9999-12-31T23:59:59Z"}
    answer = service.call("/v1/track", {"userId": "u", "event": "e", **ends}, key=key)
    assert (answer.status, answer.code) == (400, "data.event_from_long_ago")
