"""Robots, against servers that check the signature as the vendors' documents describe it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from aimwell.deployment.channels.addresses import read_exemptions
from aimwell.deployment.channels.channel import Outcome, Promise, Receipt
from aimwell.deployment.channels.posting import Poster
from aimwell.deployment.channels.robots import (
    Format,
    Robot,
    RobotChannel,
    Vendor,
    sign_dingtalk,
    sign_feishu,
)
from tests.deployment.test_mime import MESSAGE
from tests.deployment.web_servers import Asked, Reply, serve_web

LOCAL = read_exemptions(["127.0.0.1"])
SECRET = "SEC000testsecret"
TEXT = replace(MESSAGE, text="**今日拜访**\n- 李雷", subject="拜访计划", html="")


def answer_dingtalk(asked: Asked) -> Reply:
    query = {key: values[0] for key, values in parse_qs(urlsplit(asked.path).query).items()}
    stamp = query.get("timestamp", "0")
    expected = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    good = query.get("sign") == base64.b64encode(expected).decode()
    if query.get("access_token") != "token" or not good or abs(int(stamp) - time.time() * 1000) > 3_600_000:
        return say_code(310000, "sign not match")
    return say_code(0, "ok")


def answer_feishu(asked: Asked) -> Reply:
    body = json.loads(asked.body)
    expected = hmac.new(f"{body.get('timestamp')}\n{SECRET}".encode(), digestmod=hashlib.sha256).digest()
    good = body.get("sign") == base64.b64encode(expected).decode()
    if not good or abs(int(body["timestamp"]) - time.time()) > 3600:
        return Reply(
            200,
            b'{"code":19021,"msg":"sign match fail or timestamp is not within one hour from current time"}',
        )
    return Reply(200, b'{"StatusCode":0,"StatusMessage":"success","code":0,"data":{},"msg":"success"}')


def answer_wecom(asked: Asked) -> Reply:
    key = parse_qs(urlsplit(asked.path).query).get("key")
    return say_code(0, "ok") if key == ["key"] else say_code(93000, "invalid webhook url")


def say_code(code: int, words: str) -> Reply:
    return Reply(200, json.dumps({"errcode": code, "errmsg": words}).encode())


FORMATS: tuple[Format, ...] = ("markdown", "text")
SERVERS: dict[Vendor, tuple[Callable[[Asked], Reply], str]] = {
    "dingtalk": (answer_dingtalk, "/robot/send?access_token=token"),
    "feishu": (answer_feishu, "/open-apis/bot/v2/hook/token"),
    "wecom": (answer_wecom, "/cgi-bin/webhook/send?key=key"),
}


def deliver(robot: Robot, text: Any = TEXT) -> Receipt:
    return RobotChannel(robot, Poster(LOCAL, timeout=30)).deliver(text)


@pytest.mark.parametrize("vendor", ["dingtalk", "feishu", "wecom"])
def test_the_vendor_accepts_the_signature_and_the_words_arrive(vendor: Vendor) -> None:
    answer, path = SERVERS[vendor]
    with serve_web(answer) as web:
        for form in FORMATS:
            robot = Robot(vendor, web.url + path, SECRET, format=form)
            assert deliver(robot) == Receipt(Outcome.SENT)
    assert len(web.asked) == 2
    for asked in web.asked:
        assert TEXT.text in list(walk(json.loads(asked.body)))


def walk(value: Any) -> Any:
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from walk(inner)
    else:
        yield value


@pytest.mark.parametrize("vendor", ["dingtalk", "feishu"])
def test_a_wrong_secret_costs_nobody_the_message(vendor: Vendor) -> None:
    answer, path = SERVERS[vendor]
    with serve_web(answer) as web:
        refused = deliver(Robot(vendor, web.url + path, "wrong"))
    assert refused == Receipt(Outcome.TEMPORARY, "connection_failed")


def test_signatures_as_the_vendors_examples_make_them() -> None:
    # Recomputed from the published recipes: key and message change places.
    assert sign_dingtalk("s", 1) == base64.b64encode(hmac.digest(b"s", b"1\ns", "sha256")).decode()
    assert sign_feishu("s", 1) == base64.b64encode(hmac.digest(b"1\ns", b"", "sha256")).decode()
    assert sign_dingtalk("s", 1) != sign_feishu("s", 1)


@pytest.mark.parametrize(
    ("vendor", "body", "expected"),
    [
        ("wecom", {"errcode": 45009, "errmsg": "api freq out of limit"}, ("temporary_rejection", 60.0)),
        ("wecom", {"errcode": -1, "errmsg": "system busy"}, ("temporary_rejection", 10.0)),
        ("wecom", {"errcode": 93000, "errmsg": "invalid webhook url"}, ("bad_recipient", None)),
        ("wecom", {"errcode": 40058, "errmsg": "invalid"}, ("wecom_40058", None)),
        ("dingtalk", {"errcode": 130101, "errmsg": "send too fast"}, ("temporary_rejection", 600.0)),
        ("dingtalk", {"errcode": 400102, "errmsg": "robot stopped"}, ("bad_recipient", None)),
        ("dingtalk", {"errcode": 310000, "errmsg": "keywords not in content"}, ("dingtalk_310000", None)),
        ("dingtalk", {"errcode": 310000, "errmsg": "description:机器人发送签名不匹配;"}, ("connection_failed", None)),
        ("dingtalk", {"errcode": 310000, "errmsg": "invalid timestamp"}, ("connection_failed", None)),
        ("dingtalk", {"errcode": 300001, "errmsg": "token is not exist"}, ("bad_recipient", None)),
        ("feishu", {"code": 11232, "msg": "frequency limited"}, ("temporary_rejection", 60.0)),
        ("feishu", {"code": 19022, "msg": "Ip Not Allowed"}, ("connection_failed", None)),
        ("feishu", {"code": 19024, "msg": "Key Words Not Found"}, ("feishu_19024", None)),
        ("feishu", {"code": 99991400, "msg": "request trigger frequency limit"}, ("temporary_rejection", 60.0)),
        ("feishu", {"code": 9499, "msg": "too many request"}, ("temporary_rejection", 60.0)),
        ("feishu", {"code": 9499, "msg": "Bad Request"}, ("feishu_9499", None)),
        ("feishu", {"code": 19001, "msg": "param invalid"}, ("bad_recipient", None)),
    ],
)  # fmt: skip
def test_what_a_code_in_a_good_answer_says(
    vendor: Vendor, body: dict[str, Any], expected: tuple[str, float | None]
) -> None:
    with serve_web(lambda _: Reply(200, json.dumps(body).encode())) as web:
        receipt = deliver(Robot(vendor, web.url))
    assert (receipt.code, receipt.retry_after) == expected
    later = expected[0] in ("temporary_rejection", "connection_failed")
    assert receipt.outcome is (Outcome.TEMPORARY if later else Outcome.PERMANENT)


@pytest.mark.parametrize(
    "body", [b"", b"<html>welcome</html>", b"[]", b"{}", b'{"errcode":"0"}', b"[" * 100_000]
)
def test_an_answer_that_nobody_understands_leaves_it_in_doubt(body: bytes) -> None:
    with serve_web(lambda _: Reply(200, body)) as web:
        assert deliver(Robot("wecom", web.url)) == Receipt(Outcome.UNKNOWN, "connection_lost")


def test_other_statuses() -> None:
    with serve_web(lambda _: Reply(503, b"", {"Retry-After": "9"})) as web:
        assert deliver(Robot("wecom", web.url)).retry_after == 9.0
    assert deliver(Robot("wecom", "http://127.0.0.1:9/")).code == "connection_failed"
    assert deliver(Robot("wecom", "https://10.0.0.1/")).code == "address_refused"


def test_what_comes_too_fast_waits_without_having_been_tried() -> None:
    now = [1000.0]
    with serve_web(lambda _: say_code(0, "ok")) as web:
        robot = Robot("wecom", web.url, per_minute=3)
        channel = RobotChannel(robot, Poster(LOCAL, timeout=30), clock=lambda: now[0])
        receipts = channel.deliver_batch([TEXT] * 5)
        assert [receipt.outcome for receipt in receipts[:3]] == [Outcome.SENT] * 3
        assert receipts[3:] == [Receipt(Outcome.TEMPORARY, "rate_limited", retry_after=60.0)] * 2
        now[0] += 59.5
        assert channel.deliver(TEXT).retry_after == 0.5
        now[0] += 0.5
        assert channel.deliver(TEXT).outcome is Outcome.SENT
        # Set back by an hour, the clock says nothing about what was sent.
        now[0] -= 3600
        assert channel.deliver(TEXT).outcome is Outcome.SENT
    assert len(web.asked) == 5
    assert channel.promise is Promise.BLIND


def test_a_text_that_the_vendor_would_cut_is_not_sent() -> None:
    with serve_web() as web:
        robot = Robot("wecom", web.url, format="text")
        assert deliver(robot, replace(TEXT, text="字" * 683)).code == "content_error"
    assert web.asked == []


def test_a_request_that_is_too_large_as_a_whole_is_not_sent() -> None:
    with serve_web() as web:
        # Each line break takes two bytes more in the request.
        text = replace(TEXT, text="a\n" * 9_900)
        assert deliver(Robot("feishu", web.url), text).code == "content_error"
    assert web.asked == []


def test_the_address_of_a_robot_is_not_shown() -> None:
    shown = repr(Robot("wecom", "https://x.example/send?key=topsecret", "s3cret"))
    assert "topsecret" not in shown and "s3cret" not in shown
