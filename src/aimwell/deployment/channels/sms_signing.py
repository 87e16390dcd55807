"""How requests to SMS providers are signed with HMAC-SHA256: three schemes, each a function of request and key.

``acs3`` and ``tc3`` are the schemes that Alibaba Cloud and Tencent Cloud publish; ``plain`` is for providers and
gateways that take any: method, path with query, instant, nonce and the digest of the body, one a line. Reads and writes
nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote


@dataclass(frozen=True)
class Key:
    """Who we are for the provider, and what proves it."""

    id: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True)
class SmsRequest:
    """A request to a provider before it is signed. ``headers`` have names in lower case."""

    method: str
    host: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def target(self) -> str:
        """Path and query as they go over the wire, and into the signature."""
        return f"{self.path}?{encode_query(self.query)}" if self.query else self.path


def encode_query(query: Mapping[str, str]) -> str:
    """Sorted, and encoded as RFC 3986 has it: what is signed is what is sent."""
    return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in sorted(query.items()))


def sign_acs3(request: SmsRequest, key: Key, at: datetime, nonce: str) -> dict[str, str]:
    """The headers of ``request`` signed by ACS3-HMAC-SHA256."""
    digest = hashlib.sha256(request.body).hexdigest()
    headers = {
        **request.headers,
        "host": request.host,
        "x-acs-content-sha256": digest,
        "x-acs-date": at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "x-acs-signature-nonce": nonce,
    }
    # Of the others only the content's type is signed.
    signed = sorted(name for name in headers if name.startswith("x-acs-") or name in ("host", "content-type"))
    canonical = _write_canonical(request, encode_query(request.query), headers, signed, digest)
    told = f"ACS3-HMAC-SHA256\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = hmac.new(key.secret, told.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"ACS3-HMAC-SHA256 Credential={key.id},SignedHeaders={';'.join(signed)},Signature={signature}"
    )
    return headers


def sign_tc3(request: SmsRequest, key: Key, at: datetime, service: str = "sms") -> dict[str, str]:
    """The headers of ``request`` signed by TC3-HMAC-SHA256."""
    seconds = int(at.timestamp())
    day = at.astimezone(UTC).strftime("%Y-%m-%d")
    headers = {**request.headers, "host": request.host, "x-tc-timestamp": str(seconds)}
    signed = sorted(name for name in headers if name in ("content-type", "host", "x-tc-action"))
    lowered = headers | {"x-tc-action": headers.get("x-tc-action", "").lower()}
    digest = hashlib.sha256(request.body).hexdigest()
    canonical = _write_canonical(request, encode_query(request.query), lowered, signed, digest)
    scope = f"{day}/{service}/tc3_request"
    told = f"TC3-HMAC-SHA256\n{seconds}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    secret = b"TC3" + key.secret
    for part in (day, service, "tc3_request"):
        secret = hmac.new(secret, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(secret, told.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = (
        f"TC3-HMAC-SHA256 Credential={key.id}/{scope}, SignedHeaders={';'.join(signed)}, Signature={signature}"
    )
    return headers


def sign_plain(request: SmsRequest, key: Key, at: datetime, nonce: str) -> dict[str, str]:
    """The headers of ``request`` signed over its lines."""
    timestamp = str(int(at.timestamp()))
    digest = hashlib.sha256(request.body).hexdigest()
    told = "\n".join((request.method, request.target, timestamp, nonce, digest))
    signature = hmac.new(key.secret, told.encode(), hashlib.sha256).hexdigest()
    return {
        **request.headers,
        "x-key-id": key.id,
        "x-timestamp": timestamp,
        "x-nonce": nonce,
        "x-signature": signature,
    }


def _write_canonical(
    request: SmsRequest, query: str, headers: Mapping[str, str], signed: list[str], digest: str
) -> str:
    lines = "".join(f"{name}:{headers[name].strip()}\n" for name in signed)
    return "\n".join((request.method, request.path, query, lines, ";".join(signed), digest))


def _encode(value: str) -> str:
    return quote(value, safe="-_.~")
