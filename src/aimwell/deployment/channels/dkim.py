"""DKIM signatures (RFC 6376, relaxed/relaxed): rsa-sha256, and ed25519-sha256 (RFC 8463) beside it where wanted.

Signed are the headers that a reader sees, those of one-click unsubscribe (RFC 8058 asks for it) and the whole body;
``From``, ``To``, ``Subject`` and ``Date`` are named once more than they occur, so that nobody can add a second one.
A key is read from a PEM text and never shown: the signer's repr names domain and selector only.
"""

from __future__ import annotations

import hashlib
import re
import time
from binascii import b2a_base64
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from aimwell.core.errors import BadInput
from aimwell.core.text import say

_SIGNED = (
    "from", "to", "reply-to", "subject", "date", "message-id", "mime-version", "content-type",
    "content-transfer-encoding", "auto-submitted", "list-unsubscribe", "list-unsubscribe-post",
)  # fmt: skip
_ONCE_MORE = ("from", "to", "subject", "date")
_SPACES = re.compile(rb"[ \t]+")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_SMALLEST_RSA = 1024
_LINE = 70

Key = RSAPrivateKey | Ed25519PrivateKey


@dataclass(frozen=True)
class Signer:
    """Signs for ``domain``; the public key stands in the DNS at ``<selector>._domainkey.<domain>``."""

    domain: str
    selector: str
    key: Key = field(repr=False)

    @property
    def algorithm(self) -> str:
        """As the signature names it."""
        return "rsa-sha256" if isinstance(self.key, RSAPrivateKey) else "ed25519-sha256"

    def describe_record(self) -> str:
        """The text of the DNS record that receivers verify with."""
        public = self.key.public_key()
        if isinstance(self.key, RSAPrivateKey):
            raw, kind = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), "rsa"
        else:
            raw, kind = public.public_bytes(Encoding.Raw, PublicFormat.Raw), "ed25519"
        return f"v=DKIM1; k={kind}; p={_encode(raw)}"


def load_signer(pem: bytes, *, domain: str, selector: str) -> Signer:
    """A signer with the private key in ``pem``; BadInput when that is no RSA or Ed25519 key, or a weak one."""
    for name in (domain, selector):
        if not _NAME.fullmatch(name):
            raise BadInput(
                "deployment.dkim_name",
                say("'{name}' cannot be the domain or selector of a DKIM key.", name=name),
                remedy=say("Use letters, digits, dots and hyphens, as in DNS."),
            )
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if isinstance(key, RSAPrivateKey) and key.key_size < _SMALLEST_RSA:
        key = None
    if not isinstance(key, RSAPrivateKey | Ed25519PrivateKey):
        # Nothing of the text is repeated: it may be most of a key.
        raise BadInput(
            "deployment.dkim_key",
            say("The DKIM key cannot be used: it must be an RSA key (1024 bits or more) or an Ed25519 key, as PEM."),
            remedy=say("Make one with: openssl genrsa 2048, or openssl genpkey -algorithm ed25519."),
        )  # fmt: skip
    return Signer(domain.lower(), selector, key)


def sign_mail(mail: bytes, signers: Sequence[Signer], *, at: int | None = None) -> bytes:
    """``mail`` with a signature of each signer before it. ``at``: the second since 1970 that the signatures name."""
    if not signers:
        return mail
    head, _, body = mail.partition(b"\r\n\r\n")
    headers = _index_headers(head)
    body_hash = _encode(hashlib.sha256(_relax_body(body)).digest())
    names = [name for name in _SIGNED for _ in headers.get(name, ())]
    names += [name for name in _ONCE_MORE if name in headers]
    signed = _canonize(headers, names)
    when = int(time.time()) if at is None else at
    return b"".join(_sign(signer, signed, names, body_hash, when) for signer in signers) + mail


def _sign(signer: Signer, signed: bytes, names: Sequence[str], body_hash: str, at: int) -> bytes:
    # The lines are as they go out: relaxed canonicalisation makes one space of each fold.
    lines = [
        f"v=1; a={signer.algorithm}; c=relaxed/relaxed; d={signer.domain};",
        f"s={signer.selector}; t={at};",
        *_fold_names(names),
        f"bh={body_hash};",
        "b=",
    ]
    to_sign = signed + f"dkim-signature:{' '.join(lines)}".encode("ascii")
    signature = _encode(_make_signature(signer.key, to_sign))
    parts = [signature[start : start + _LINE] for start in range(0, len(signature), _LINE)]
    return b"DKIM-Signature: " + "\r\n ".join([*lines[:-1], "b=" + "\r\n ".join(parts)]).encode() + b"\r\n"


def _make_signature(key: Key, data: bytes) -> bytes:
    if isinstance(key, RSAPrivateKey):
        return key.sign(data, PKCS1v15(), SHA256())
    # RFC 8463: Ed25519 signs the SHA-256 of what is signed.
    return key.sign(hashlib.sha256(data).digest())


def _fold_names(names: Sequence[str]) -> list[str]:
    half = (len(names) + 1) // 2
    return [f"h={':'.join(names[:half])}:", f"{':'.join(names[half:])};"]


def _index_headers(head: bytes) -> dict[str, list[bytes]]:
    """Name → relaxed lines, the last first: verifiers count from the bottom."""
    headers: dict[str, list[bytes]] = defaultdict(list)
    for line in head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ").split(b"\r\n"):
        name, _, value = line.partition(b":")
        low = name.strip().lower()
        headers[low.decode("ascii")].insert(0, low + b":" + _SPACES.sub(b" ", value.strip(b" \t")))
    return headers


def _canonize(headers: dict[str, list[bytes]], names: Sequence[str]) -> bytes:
    seen: dict[str, int] = defaultdict(int)
    lines = []
    for name in names:
        found = headers[name]
        if seen[name] < len(found):
            lines.append(found[seen[name]] + b"\r\n")
        seen[name] += 1
    return b"".join(lines)


def _relax_body(body: bytes) -> bytes:
    # Our own bodies are base64: nothing in them needs to be relaxed.
    if b"  " in body or b" \r\n" in body or b"\t" in body:
        lines = (_SPACES.sub(b" ", line).rstrip(b" ") for line in body.split(b"\r\n"))
        body = b"\r\n".join(lines)
    while body.endswith(b"\r\n"):
        body = body[:-2]
    return body + b"\r\n" if body else b""


def _encode(raw: bytes) -> str:
    return b2a_base64(raw, newline=False).decode("ascii")
