"""What providers tell by webhook, in one form for all channels; how a body is known to be the provider's.

A signature covers the instant and the body, so that an old message cannot be sent again later.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Literal

from aimwell.core.errors import NotAllowed
from aimwell.core.text import say

HookKind = Literal["delivered", "failed", "reply", "complaint", "bounced", "opened"]
TOLERANCE_MS = 300_000
"""How far the instant that was signed may lie from now."""


@dataclass(frozen=True)
class HookEvent:
    """One thing that a provider tells. ``event_id`` is the same when it is told again."""

    provider: str
    kind: HookKind
    event_id: str
    at_ms: int
    delivery_id: str | None = None
    customer_id: str | None = None
    recipient: str | None = None
    text: str | None = None
    code: str | None = None


def sign_body(secret: bytes, timestamp: str, body: bytes) -> str:
    """The signature of ``body`` at ``timestamp`` (seconds since 1970, as text), in hexadecimal digits."""
    return hmac.new(secret, timestamp.encode(errors="replace") + b"." + body, hashlib.sha256).hexdigest()


def check_signature(secret: bytes, timestamp: str, body: bytes, signature: str, *, now_ms: int) -> None:
    """NotAllowed unless whoever holds ``secret`` signed this body, and lately."""
    expected = sign_body(secret, timestamp, body)
    # Both compared as bytes: a header may hold what is no ASCII, on which comparing texts would stumble.
    genuine = hmac.compare_digest(expected.encode(), signature.strip().lower().encode(errors="replace"))
    recent = (
        timestamp.isdigit() and len(timestamp) <= 12 and abs(int(timestamp) * 1000 - now_ms) <= TOLERANCE_MS
    )
    if not (genuine and recent):
        raise NotAllowed(
            "deployment.hook_signature",
            say("This message is not signed by the provider, or is too old."),
            remedy=say("Compare the secret in the environment with the provider's, and both clocks."),
        )
