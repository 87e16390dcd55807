"""Group robots of WeCom, DingTalk and Feishu (Lark): one message to a group of colleagues, such as a store's staff.

The vendors answer 200 whatever happened; what happened stands in the body. A robot takes about twenty messages a
minute: the pace is kept here, and what comes too fast waits without having been tried. Nothing tells a repeat, so the
channel is blind (C). DingTalk and Feishu sign with HMAC-SHA-256, each in its own way; WeCom's key is its address.

What the codes mean says WeCom's "Global error codes" (企业微信开发者中心, 全局错误码: 45009, 93000, 93004, 93008, -1),
Feishu's "Custom bot guide" (飞书开放平台, 自定义机器人使用指南: 11232, 9499, 19021, 19022, 19024, at most 20 KB and 100
a minute) and its "Server error codes" (服务端错误码说明: 99991400). DingTalk's "Custom robot access" (钉钉开放平台,
自定义机器人接入) gives twenty messages a minute and ten minutes of silence for more; 130101 and 310000 are as its users
report them, and 4001xx and 410100 as it listed them, which could not be read again.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.posting import Answer, NoAnswer, Poster, judge_answer

Vendor = Literal["wecom", "dingtalk", "feishu"]
Format = Literal["markdown", "text"]

_MINUTE = 60.0


@dataclass(frozen=True)
class _Rules:
    """What a vendor's codes mean, and what it takes."""

    code_names: tuple[str, ...]
    later: Mapping[int, float]
    """Code → seconds to wait."""
    gone: frozenset[int]
    """There is no such robot any more, or it was stopped."""
    barred: frozenset[int]
    """Our secret, clock or network address is refused, whatever the message says."""
    most_bytes: Mapping[Format, int]
    most_request: int | None = None
    """Bytes of a whole request."""


_RULES: dict[Vendor, _Rules] = {
    "wecom": _Rules(
        ("errcode",),
        later={-1: 10.0, 45009: _MINUTE, 45033: _MINUTE},
        gone=frozenset((93000, 93004, 93008)),
        barred=frozenset(),
        most_bytes={"markdown": 4096, "text": 2048},
    ),
    "dingtalk": _Rules(
        ("errcode",),
        # Whoever is too fast is shut out for ten minutes.
        later={-1: 10.0, 130101: 600.0, 410100: 600.0, 90018: _MINUTE},
        gone=frozenset((400013, 400101, 400102, 400106, 300001)),
        barred=frozenset(),
        most_bytes={"markdown": 20_000, "text": 20_000},
    ),
    "feishu": _Rules(
        ("code", "StatusCode"),
        later={11232: _MINUTE, 99991400: _MINUTE},
        gone=frozenset((19001,)),
        barred=frozenset((19021, 19022)),
        most_bytes={"markdown": 20_000, "text": 20_000},
        most_request=20 << 10,
    ),
}
# Codes change with the vendors' versions; these words do not.
_LATER_WORDS = ("too fast", "too many", "frequency limit", "freq out of limit", "system busy")
# DingTalk has one code for what it refuses for safety's sake: a text without its keywords, and these.
_BARRED_WORDS = ("sign not match", "签名不匹配", "invalid timestamp", "not in whitelist", "ip not allowed")


@dataclass(frozen=True)
class Robot:
    """One robot of a group. Its address is as secret as a key, and so not shown."""

    vendor: Vendor
    url: str = field(repr=False)
    secret: str = field(default="", repr=False)
    format: Format = "markdown"
    per_minute: int = 20


class RobotChannel(Channel):
    """Posts messages to the group of ``robot``, no faster than the vendor allows."""

    promise = Promise.BLIND

    def __init__(self, robot: Robot, poster: Poster, *, clock: Callable[[], float] = time.time) -> None:
        self.robot = robot
        self._poster = poster
        self._clock = clock
        self._pace = _Pace(robot.per_minute)

    def deliver(self, message: Message) -> Receipt:
        """Hand one message over, or say when the robot takes another."""
        rules = _RULES[self.robot.vendor]
        if len(message.text.encode("utf-8", "replace")) > rules.most_bytes[self.robot.format]:
            return Receipt(Outcome.PERMANENT, "content_error")
        wait = self._pace.take(self._clock())
        if wait > 0:
            return Receipt(Outcome.TEMPORARY, "rate_limited", retry_after=wait)
        url, body = build_request(self.robot, message, int(self._clock() * 1000))
        data = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        if rules.most_request is not None and len(data) > rules.most_request:
            return Receipt(Outcome.PERMANENT, "content_error")
        try:
            answer = self._poster.post(url, data, {"Content-Type": "application/json; charset=utf-8"})
        except NoAnswer as silence:
            return silence.receipt
        return _judge(self.robot.vendor, rules, answer)


def build_request(robot: Robot, message: Message, at_ms: int) -> tuple[str, dict[str, Any]]:
    """The address, signed where the vendor wants it there, and the body, signed where it wants it there."""
    body = _BODIES[robot.vendor, robot.format](message)
    if not robot.secret or robot.vendor == "wecom":
        return robot.url, body
    if robot.vendor == "dingtalk":
        mark = "&" if "?" in robot.url else "?"
        signature = quote(sign_dingtalk(robot.secret, at_ms), safe="")
        return f"{robot.url}{mark}timestamp={at_ms}&sign={signature}", body
    second = at_ms // 1000
    return robot.url, {"timestamp": str(second), "sign": sign_feishu(robot.secret, second), **body}


def sign_dingtalk(secret: str, at_ms: int) -> str:
    """HMAC with the secret as key over instant and secret."""
    return _encode(hmac.new(secret.encode(), f"{at_ms}\n{secret}".encode(), hashlib.sha256).digest())


def sign_feishu(secret: str, at_second: int) -> str:
    """HMAC over nothing, with instant and secret as key."""
    return _encode(hmac.new(f"{at_second}\n{secret}".encode(), b"", hashlib.sha256).digest())


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _build_wecom_markdown(message: Message) -> dict[str, Any]:
    return {"msgtype": "markdown", "markdown": {"content": message.text}}


def _build_plain(message: Message) -> dict[str, Any]:
    """The same for WeCom and DingTalk."""
    return {"msgtype": "text", "text": {"content": message.text}}


def _build_dingtalk_markdown(message: Message) -> dict[str, Any]:
    title = message.subject or message.text.strip().partition("\n")[0][:40]
    return {"msgtype": "markdown", "markdown": {"title": title, "text": message.text}}


def _build_feishu_text(message: Message) -> dict[str, Any]:
    return {"msg_type": "text", "content": {"text": message.text}}


def _build_feishu_markdown(message: Message) -> dict[str, Any]:
    card: dict[str, Any] = {"elements": [{"tag": "markdown", "content": message.text}]}
    if message.subject:
        card["header"] = {"title": {"tag": "plain_text", "content": message.subject}}
    return {"msg_type": "interactive", "card": card}


_BODIES: dict[tuple[Vendor, Format], Callable[[Message], dict[str, Any]]] = {
    ("wecom", "markdown"): _build_wecom_markdown,
    ("wecom", "text"): _build_plain,
    ("dingtalk", "markdown"): _build_dingtalk_markdown,
    ("dingtalk", "text"): _build_plain,
    ("feishu", "markdown"): _build_feishu_markdown,
    ("feishu", "text"): _build_feishu_text,
}


def _judge(vendor: Vendor, rules: _Rules, answer: Answer) -> Receipt:
    body = _read_body(answer.body)
    code = next((body[name] for name in rules.code_names if isinstance(body.get(name), int)), None)
    if code is None:
        if 200 <= answer.status < 300:
            # Somebody else answered, or the vendor changed: nobody knows what became of it.
            return Receipt(Outcome.UNKNOWN, "connection_lost")
        return judge_answer(answer, blind=True)
    if code == 0:
        return Receipt(Outcome.SENT)
    words = str(body.get("errmsg", body.get("msg", ""))).lower()
    if code in rules.later or any(word in words for word in _LATER_WORDS):
        wait = answer.retry_after or rules.later.get(code, _MINUTE)
        return Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=wait)
    if code in rules.barred or any(word in words for word in _BARRED_WORDS):
        # Not the message is wrong: nobody's delivery may be lost over our secret or clock, so it waits.
        return Receipt(Outcome.TEMPORARY, "connection_failed")
    return Receipt(Outcome.PERMANENT, "bad_recipient" if code in rules.gone else f"{vendor}_{code}")


def _read_body(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


class _Pace:
    """At most so many in any minute."""

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        self._taken: deque[float] = deque()
        self._lock = threading.Lock()

    def take(self, now: float) -> float:
        """Take a turn: 0; or the seconds until there is one."""
        with self._lock:
            # A clock that was set back must not stop the robot.
            while self._taken and not 0 <= now - self._taken[0] < _MINUTE:
                self._taken.popleft()
            if len(self._taken) >= self._most:
                return self._taken[0] + _MINUTE - now
            self._taken.append(now)
            return 0.0
