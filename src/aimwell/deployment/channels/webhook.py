"""Signed webhooks after the Standard Webhooks specification, both ways: messages out, reports in.

Out: each delivery is one POST whose ``webhook-id`` is the delivery's id at every attempt, so that the receiver rejects
repeats (class A). In: a report counts when one of our secrets signed its id, its instant and its body, and the instant
is near; whoever takes it in keeps out ids that came before (``RecentIds``, or the intake by its message id).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aimwell.core.errors import BadInput, NotAllowed
from aimwell.core.text import say
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.posting import NoAnswer, Poster, judge_answer

TOLERANCE_SECONDS = 300
_PREFIX = "whsec_"
_SHORTEST, _LONGEST = 24, 64
_VERSION = "v1"
_MOST_SIGNATURES = 20
_LONGEST_ID = 256
_GONE = 410


@dataclass(frozen=True)
class HookSecret:
    """What both sides know. Never shown."""

    key: bytes = field(repr=False)

    @classmethod
    def read(cls, text: str) -> HookSecret:
        """``whsec_…``: 24 to 64 bytes in base 64; BadInput when it is anything else."""
        try:
            key = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
        except (ValueError, binascii.Error):
            key = b""
        if not _SHORTEST <= len(key) <= _LONGEST:
            raise BadInput(
                "deployment.hook_secret",
                say("A webhook secret is not usable: it must be 24 to 64 bytes in base 64, after 'whsec_'."),
                remedy=say(
                    "Take the one that the other side shows, or make one with: openssl rand -base64 32."
                ),
            )
        return cls(key)

    @classmethod
    def create(cls) -> HookSecret:
        """A new random secret."""
        return cls(secrets.token_bytes(32))

    def show(self) -> str:
        """As the other side needs it."""
        return _PREFIX + base64.b64encode(self.key).decode("ascii")

    def sign(self, hook_id: str, second: int, body: bytes) -> str:
        """The signature, base 64."""
        signed = f"{hook_id}.{second}.".encode() + body
        return base64.b64encode(hmac.new(self.key, signed, hashlib.sha256).digest()).decode("ascii")


def read_secrets(text: str) -> tuple[HookSecret, ...]:
    """Several secrets, separated by spaces or commas: the newest first, the one that it replaces behind it."""
    return tuple(HookSecret.read(part) for part in text.replace(",", " ").split())


def sign_hook(hook_id: str, body: bytes, keys: Sequence[HookSecret], *, at: int) -> dict[str, str]:
    """The headers that sign ``body`` with each of ``keys``, at the second ``at`` since 1970."""
    signatures = " ".join(f"{_VERSION},{key.sign(hook_id, at, body)}" for key in keys)
    return {"webhook-id": hook_id, "webhook-timestamp": str(at), "webhook-signature": signatures}


def verify_hook(
    headers: Mapping[str, str],
    body: bytes,
    keys: Sequence[HookSecret],
    *,
    at: float | None = None,
    tolerance: float = TOLERANCE_SECONDS,
) -> str:
    """The id of a webhook that one of ``keys`` signed within ``tolerance`` seconds; NotAllowed otherwise.

    ``headers`` have names in lower case. Every key is tried against every signature, so that the time says nothing.
    """
    hook_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    given = headers.get("webhook-signature", "").split(" ")[:_MOST_SIGNATURES]
    usable = 0 < len(hook_id) <= _LONGEST_ID and "." not in hook_id and stamp.isascii() and stamp.isdecimal()
    if not usable or len(stamp) > 12:
        raise _refuse()
    instant = time.time() if at is None else at
    signatures = [
        part.removeprefix(f"{_VERSION},").encode() for part in given if part.startswith(f"{_VERSION},")
    ]
    expected = [key.sign(hook_id, int(stamp), body).encode() for key in keys]
    matches = [hmac.compare_digest(one, other) for one in expected for other in signatures]
    if not any(matches) or abs(instant - int(stamp)) > tolerance:
        raise _refuse()
    return hook_id


class RecentIds:
    """The ids of the last minutes in one process: ``add`` says whether an id is new.

    >>> ids = RecentIds()
    >>> ids.add("a", at=0), ids.add("a", at=1), ids.add("a", at=1000)
    (True, False, True)
    """

    def __init__(self, *, keep: float = 2 * TOLERANCE_SECONDS, most: int = 100_000) -> None:
        self._keep = keep
        self._most = most
        self._seen: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, hook_id: str, *, at: float | None = None) -> bool:
        """Whether ``hook_id`` did not come within the time that a signature is good for."""
        instant = time.time() if at is None else at
        with self._lock:
            while self._seen and next(iter(self._seen.values())) < instant - self._keep:
                self._seen.popitem(last=False)
            if hook_id in self._seen:
                return False
            self._seen[hook_id] = instant
            if len(self._seen) > self._most:
                self._seen.popitem(last=False)
            return True


class WebhookChannel(Channel):
    """Posts each message as JSON to ``url``, signed with all of ``keys`` (two while one replaces the other)."""

    promise = Promise.REJECTS_REPEATS

    def __init__(
        self, url: str, keys: Sequence[HookSecret], poster: Poster, *, clock: Callable[[], float] = time.time
    ) -> None:
        self.url = url
        self._keys = tuple(keys)
        self._poster = poster
        self._clock = clock

    def deliver(self, message: Message) -> Receipt:
        """Hand one message over; the receiver's 2xx is its acknowledgement."""
        body = build_hook(message, self._clock())
        headers = sign_hook(message.delivery_id, body, self._keys, at=int(self._clock()))
        try:
            answer = self._poster.post(self.url, body, {"Content-Type": "application/json", **headers})
        except NoAnswer as silence:
            return silence.receipt
        if answer.status == _GONE:
            return Receipt(Outcome.PERMANENT, "bad_recipient")
        return judge_answer(answer, blind=False)

    def finish(self) -> None:
        """Close the connections."""
        self._poster.close()


def build_hook(message: Message, at: float) -> bytes:
    """The body of a message's webhook: JSON with type, instant and data, as the specification recommends."""
    data = {
        "delivery_id": message.delivery_id,
        "plan_id": message.plan_id,
        "customer_id": message.customer_id,
        "recipient": message.recipient,
        "language": message.language,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "unsubscribe_url": message.unsubscribe_url,
        "details": dict(message.details),
    }
    instant = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    body = {"type": "message.delivered", "timestamp": instant, "data": data}
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _refuse() -> NotAllowed:
    # One answer for all causes: whoever forges one learns nothing from it.
    return NotAllowed(
        "deployment.hook_refused",
        say("The webhook's signature is not valid, or too old."),
        remedy=say("Check the secret on both sides, and the clocks."),
    )
