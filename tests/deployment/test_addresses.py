from __future__ import annotations

import ipaddress
import socket
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import AimwellError, BadInput, NotAllowed
from aimwell.deployment.channels.addresses import find_target, is_public, read_exemptions
from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.channels.posting import Answer, NoAnswer, Poster, judge_answer
from tests.deployment.tls import make_authority
from tests.deployment.web_servers import Asked, Reply, serve_web

LOCAL = read_exemptions(["127.0.0.0/8"])

INTERNAL = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001",
    "127.0.0.1.", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]", "[2002:7f00:1::]", "[2001:0:4136:e378:8000:63bf:80ff:fffe]", "0.0.0.0", "0", "localhost",
    "LOCALHOST", "localhost.", "169.254.169.254", "[fe80::1]", "[fd00::1]", "[fec0::1]", "10.0.0.1", "172.16.0.1",
    "192.168.1.1", "100.64.0.1", "198.18.0.1", "192.0.2.1", "224.0.0.1", "[ff02::1]", "255.255.255.255", "240.0.0.1",
    "１２７.0.0.1", "127。0。0。1", "ⓛocalhost",
]  # fmt: skip


@pytest.mark.parametrize("host", INTERNAL)
def test_no_spelling_reaches_an_internal_address(host: str) -> None:
    for url in (f"https://{host}/hook", f"https://{host}:8443/"):
        with pytest.raises((NotAllowed, BadInput, OSError)) as caught:
            find_target(url)
        # Names that no resolver knows end there; what stands for an address is refused for that address.
        assert isinstance(caught.value, AimwellError | socket.gaierror)


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]", "localhost"]
)
def test_it_is_the_address_that_is_refused(host: str) -> None:
    with pytest.raises(NotAllowed) as caught:
        find_target(f"https://{host}/")
    assert caught.value.code == "deployment.address_refused"


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example@127.0.0.1/", "https://127.0.0.1#@hooks.example/", "https://user:pass@hooks.example/",
        "https://hooks.example\\@127.0.0.1/", "https:\\\\127.0.0.1/", "https://127.0.0.1%2f.hooks.example/",
        "https://hooks.example /", "https://hooks.example/a b", "https://hooks.example/\r\nX: y", "https://[::1%25lo]/",
        "ftp://hooks.example/", "file:///etc/passwd", "gopher://127.0.0.1:25/", "//hooks.example/", "hooks.example",
        "https://", "https:///x", "https://hooks.example:0/", "https://hooks.example:99999/", "https://-/",
        "https://hooks.example:x/", "https://a..b/", "", "https://" + "a" * 3000,
    ],
)  # fmt: skip
def test_odd_addresses_are_refused_before_anything_is_resolved(url: str) -> None:
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    with pytest.raises((BadInput, NotAllowed)):
        find_target(url, resolve=resolve)
    assert asked in ([], ["127.0.0.1"])


def test_an_error_shows_no_key() -> None:
    with pytest.raises(BadInput) as caught:
        find_target("https://hooks example/robot?key=topsecret")
    assert "topsecret" not in str(caught.value.to_dict())


def test_one_internal_address_among_public_ones_is_enough() -> None:
    with pytest.raises(NotAllowed):
        find_target("https://hooks.example/", resolve=lambda *_: ["9.9.9.9", "10.0.0.1"])
    target = find_target("https://HOOKS.example./a?b=c", resolve=lambda *_: ["9.9.9.9", "2620:fe::fe"])
    assert (target.host, target.port, target.path) == ("hooks.example", 443, "/a?b=c")
    assert target.addresses == ("9.9.9.9", "2620:fe::fe") and target.authority == "hooks.example"


def test_what_is_not_encrypted_goes_to_exempted_receivers_only() -> None:
    with pytest.raises(NotAllowed):
        find_target("http://hooks.example/", resolve=lambda *_: ["9.9.9.9"])
    assert find_target("http://127.0.0.1:80/", LOCAL).port == 80


@pytest.mark.parametrize(
    ("line", "url", "allowed"),
    [
        ("10.1.0.0/16", "https://10.1.2.3/", True),
        ("10.1.0.0/16", "https://10.2.2.3/", False),
        ("127.0.0.1:8080", "http://127.0.0.1:8080/", True),
        ("127.0.0.1:8080", "http://127.0.0.1:8081/", False),
        ("hooks.internal", "http://hooks.internal/", True),
        ("hooks.internal", "http://other.internal/", False),
        ("hooks.internal:9000", "http://hooks.internal/", False),
        ("fd00::/8", "https://[fd00::1]/", True),
    ],
)
def test_exemptions(line: str, url: str, allowed: bool) -> None:
    def resolve(host: str, port: int) -> list[str]:
        return [host] if host[0].isdigit() or ":" in host else ["10.9.9.9"]

    if allowed:
        assert find_target(url, read_exemptions([line]), resolve=resolve).addresses
    else:
        with pytest.raises(NotAllowed):
            find_target(url, read_exemptions([line]), resolve=resolve)


@pytest.mark.parametrize("line", ["", "10.0.0.0/99", "a b", "http://x", "x:0", "x:99999", "@", "*.example"])
def test_an_exemption_that_means_nothing_is_refused(line: str) -> None:
    with pytest.raises(BadInput):
        read_exemptions([line])


@given(st.ip_addresses(v=4))
def test_an_address_within_an_address_counts(inner: ipaddress.IPv4Address) -> None:
    public = is_public(inner)
    number = int(inner)
    for outer in ((0xFFFF << 32) | number, (0x64FF9B << 96) | number, (0x2002 << 112) | number << 80):
        assert not is_public(ipaddress.IPv6Address(outer)) or public


def refuse(poster: Poster, url: str) -> Receipt:
    with pytest.raises(NoAnswer) as caught:
        poster.post(url, b"x", {})
    return caught.value.receipt


def test_a_request_arrives_as_it_was_made() -> None:
    with serve_web(lambda _: Reply(201, b"taken", {"X-Id": "7"})) as web:
        answer = Poster(LOCAL).post(f"{web.url}/a?b=1", "您好".encode(), {"X-Own": "1"})
    assert (answer.status, answer.body, answer.headers["x-id"]) == (201, b"taken", "7")
    asked = web.asked[0]
    assert (asked.method, asked.path, asked.body) == ("POST", "/a?b=1", "您好".encode())
    assert asked.headers["host"] == f"127.0.0.1:{web.port}" and asked.headers["x-own"] == "1"


def test_without_an_exemption_this_machine_is_not_spoken_to() -> None:
    with serve_web() as web:
        assert refuse(Poster(), web.url) == Receipt(Outcome.PERMANENT, "address_refused")
        assert refuse(Poster(), f"https://127.0.0.1:{web.port}") == Receipt(
            Outcome.PERMANENT, "address_refused"
        )
    assert web.asked == [] and web.connections == set()


def test_a_redirect_is_not_followed() -> None:
    with serve_web() as secret, serve_web(lambda _: Reply(302, b"", {"Location": secret.url})) as web:
        answer = Poster(LOCAL).post(web.url, b"x", {})
    assert judge_answer(answer, blind=False) == Receipt(Outcome.PERMANENT, "redirected")
    assert secret.asked == []


def test_a_name_that_changes_its_mind_is_connected_to_where_it_was_checked() -> None:
    answers = iter([["127.0.0.2"], ["127.0.0.1"], ["127.0.0.1"]])
    allowed = read_exemptions(["127.0.0.2/32"])
    with serve_web(host="127.0.0.2") as web:
        poster = Poster(allowed, resolve=lambda *_: next(answers), reuse=True)
        url = f"http://hook.example:{web.port}/"
        assert poster.post(url, b"1", {}).status == 200
        # The second answer is internal: neither a new connection nor the old one is used.
        assert refuse(poster, url).code == "address_refused"
        poster.close()
    assert [asked.body for asked in web.asked] == [b"1"]


def test_tls_is_checked_against_the_name_and_not_the_address(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    allowed = read_exemptions(["127.0.0.0/8"])
    with serve_web(context=authority.serve_as("hook.example")) as web:
        poster = Poster(allowed, ca_file=authority.file, resolve=lambda *_: ["127.0.0.1"])
        assert poster.post(f"https://hook.example:{web.port}/", b"x", {}).status == 200
        for url in (f"https://other.example:{web.port}/", web.url):
            assert refuse(poster, url) == Receipt(Outcome.TEMPORARY, "connection_failed")
        stranger = Poster(allowed, resolve=lambda *_: ["127.0.0.1"])
        assert refuse(stranger, f"https://hook.example:{web.port}/").code == "connection_failed"
    assert len(web.asked) == 1


def test_connections_are_reused_and_replaced_when_they_are_gone() -> None:
    def answer(asked: Asked) -> Reply:
        return Reply(headers={"Connection": "close"} if asked.body == b"last" else {})

    with serve_web(answer) as web:
        poster = Poster(LOCAL, reuse=True)
        for body in (b"1", b"2", b"last", b"3"):
            assert poster.post(web.url, body, {}).status == 200
        poster.close()
    assert len(web.connections) == 2


def talk(script: bytes, *, drip: bool = False) -> tuple[str, threading.Event]:
    """A server that says ``script`` to whoever comes, all at once or a byte at a time, and then waits."""
    listening = socket.create_server(("127.0.0.1", 0))
    done = threading.Event()

    def serve() -> None:
        with listening, listening.accept()[0] as connection:
            connection.recv(65536)
            try:
                for start in range(len(script)) if drip else [0]:
                    connection.sendall(script[start : start + 1] if drip else script)
                    if drip and done.wait(0.05):
                        return
                done.wait(60)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listening.getsockname()[1]}/", done


@pytest.mark.parametrize(
    "script", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"SSH-2.0-x\r\n", b"\x00\x01"]
)
def test_a_receiver_that_does_not_answer_leaves_it_in_doubt(script: bytes) -> None:
    url, done = talk(script)
    assert refuse(Poster(LOCAL, timeout=0.6), url) == Receipt(Outcome.UNKNOWN, "connection_lost")
    done.set()


def test_an_answer_a_byte_at_a_time_ends_at_the_deadline() -> None:
    url, done = talk(b"HTTP/1.1 200 OK\r\nX: " + b"a" * 500, drip=True)
    assert refuse(Poster(LOCAL, timeout=0.5), url) == Receipt(Outcome.UNKNOWN, "connection_lost")
    done.set()


def test_of_a_long_answer_only_the_start_is_read() -> None:
    with serve_web(lambda _: Reply(200, b"x" * 5_000_000)) as web:
        assert len(Poster(LOCAL, most_bytes=1000).post(web.url, b"", {}).body) == 1000


def test_nobody_there_is_surely_not_taken() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"
        assert refuse(Poster(LOCAL, timeout=10), url) == Receipt(Outcome.TEMPORARY, "connection_failed")


def test_a_name_that_nobody_knows_may_be_known_later() -> None:
    def fail(host: str, port: int) -> list[str]:
        raise socket.gaierror("unknown")

    assert refuse(Poster(resolve=fail), "https://hooks.example/").code == "connection_failed"


def test_a_header_cannot_be_split() -> None:
    with serve_web() as web:
        poster = Poster(LOCAL)
        with pytest.raises(NoAnswer) as caught:
            poster.post(web.url, b"x", {"X-Own": "1\r\nX-Evil: 1"})
    assert caught.value.receipt == Receipt(Outcome.PERMANENT, "content_error")
    assert web.asked == []


@pytest.mark.parametrize(
    ("status", "blind", "expected"),
    [
        (200, True, Receipt(Outcome.SENT)),
        (204, False, Receipt(Outcome.SENT)),
        (301, False, Receipt(Outcome.PERMANENT, "redirected")),
        (400, False, Receipt(Outcome.PERMANENT, "rejected")),
        (410, False, Receipt(Outcome.PERMANENT, "rejected")),
        (429, True, Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=30.0)),
        (500, False, Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=30.0)),
        (502, True, Receipt(Outcome.UNKNOWN, "connection_lost")),
        (503, True, Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=30.0)),
    ],
)
def test_what_a_status_says(status: int, blind: bool, expected: Receipt) -> None:
    assert judge_answer(Answer(status, {"retry-after": "30"}, b""), blind=blind) == expected


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("0", 0, 0), ("999999999999", 86400, 86400), ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
     ("Wed, 21 Oct 2150 07:28:00 GMT", 86400, 86400)],
)  # fmt: skip
def test_how_long_to_wait(text: str, low: float, high: float) -> None:
    waited = Answer(429, {"retry-after": text}, b"").retry_after
    assert waited is not None and low <= waited <= high


def test_no_word_on_how_long_to_wait() -> None:
    assert [Answer(429, headers, b"").retry_after for headers in ({}, {"retry-after": "soon"})] == [
        None,
        None,
    ]
