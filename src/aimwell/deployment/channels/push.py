"""Web push (RFC 8030): a notification for a browser that subscribed, even while no page of ours is open.

The recipient is the subscription as the browser gave it (JSON). Its endpoint comes from outside: it is spoken to only
where it is a public https address. A subscription that the push service no longer knows is a bad recipient for good.
Nothing tells a repeat, so the channel is blind (C); the notification's tag is the delivery's id, so that a browser
which should get one twice replaces the first.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.posting import Answer, NoAnswer, Poster, judge_answer
from aimwell.deployment.channels.push_encryption import (
    SenderKey,
    Subscription,
    encode_base64url,
    encrypt,
)

Urgency = Literal["very-low", "low", "normal", "high"]

_TOKEN_SECONDS = 12 * 3600
_TOKEN_SPARE = 3600
_MOST_TOKENS = 1000
_TOPIC_BYTES = 24
_GONE = (404, 410)
_TOO_LONG = 413
_LONGEST_TTL = 28 * 24 * 3600


@dataclass(frozen=True)
class PushTerms:
    """Who sends (``subject``: mailto: or https:), and how long a push service keeps what it cannot deliver yet."""

    subject: str
    ttl: int = 24 * 3600
    urgency: Urgency = "normal"


class PushChannel(Channel):
    """Sends notifications, encrypted for each browser and signed with ``key``."""

    promise = Promise.BLIND

    def __init__(
        self, key: SenderKey, terms: PushTerms, poster: Poster, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._terms = terms
        self._poster = poster
        self._clock = clock
        self._tokens: dict[str, tuple[int, str]] = {}
        self._lock = threading.Lock()

    def deliver(self, message: Message) -> Receipt:
        """Hand one notification to the push service of the customer's browser."""
        try:
            subscription = Subscription.read(message.recipient)
        except ValueError:
            return Receipt(Outcome.PERMANENT, "bad_recipient")
        try:
            body = encrypt(build_notification(message), subscription)
        except ValueError:
            return Receipt(Outcome.PERMANENT, "content_error")
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Encoding": "aes128gcm",
            "TTL": str(min(self._terms.ttl, _LONGEST_TTL)),
            "Urgency": self._terms.urgency,
            "Topic": make_topic(message.delivery_id),
            "Authorization": f"vapid t={self._find_token(subscription.endpoint)}, k={self._key.public}",
        }
        try:
            return _judge(self._poster.post(subscription.endpoint, body, headers))
        except NoAnswer as silence:
            return silence.receipt

    def _find_token(self, endpoint: str) -> str:
        """The token for the endpoint's push service: made twice a day, not for each message."""
        parts = urlsplit(endpoint)
        audience = f"{parts.scheme}://{parts.netloc}"
        now = int(self._clock())
        with self._lock:
            expires, token = self._tokens.get(audience, (0, ""))
            if not _TOKEN_SPARE < expires - now <= _TOKEN_SECONDS:
                expires = now + _TOKEN_SECONDS
                token = self._key.make_token(audience=audience, subject=self._terms.subject, expires=expires)
                if len(self._tokens) >= _MOST_TOKENS:
                    self._tokens.clear()
                self._tokens[audience] = (expires, token)
            return token


def build_notification(message: Message) -> bytes:
    """What the page's service worker shows: title, body, the link that a click opens, and a tag for repeats."""
    notification = {
        "title": message.subject,
        "body": message.text,
        "url": message.details.get("link", ""),
        "tag": message.delivery_id,
    }
    return json.dumps(notification, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def make_topic(delivery_id: str) -> str:
    """At most 32 characters: a message that waits is replaced by a later one with the same topic."""
    try:
        return encode_base64url(bytes.fromhex(delivery_id)[:_TOPIC_BYTES])
    except ValueError:
        return encode_base64url(delivery_id.encode()[:_TOPIC_BYTES])


def _judge(answer: Answer) -> Receipt:
    if answer.status in _GONE:
        return Receipt(Outcome.PERMANENT, "bad_recipient")
    if answer.status == _TOO_LONG:
        return Receipt(Outcome.PERMANENT, "content_error")
    receipt = judge_answer(answer, blind=True)
    if receipt.outcome is not Outcome.SENT:
        return receipt
    return Receipt(Outcome.SENT, provider_id=answer.headers.get("location", "")[:255] or None)
