"""One mail as bytes: text and HTML parts, a Message-ID that a repeat cannot change, one-click unsubscribe.

Headers follow RFC 5322, 2047, 2369 (List-Unsubscribe) and 8058 (one click). Control characters in names and subjects
are removed before they reach a header, so that no customer's name can add one. What all mails of a source have alike
is a skeleton that is made once; only what differs is put in, encoded here: a whole ``EmailMessage`` for each mail
took forty times as long, and the standard library's folding of one Chinese name more than all the rest.
"""

from __future__ import annotations

import re
import unicodedata
from binascii import b2a_base64
from collections.abc import Mapping
from dataclasses import dataclass
from email.errors import MessageError
from email.headerregistry import Address
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import lru_cache
from struct import Struct

from aimwell.core.time import now
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.channels.plain_text import extract_text

# Seven bits: not every server says 8BITMIME, and a relay that does not would spoil Chinese.
_POLICY = SMTP.clone(cte_type="7bit")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9-]{1,60}")
_OWN_HEADERS = frozenset(
    (
        "from", "to", "cc", "bcc", "sender", "subject", "date", "message-id", "auto-submitted", "x-campaign",
        "list-unsubscribe", "list-unsubscribe-post", "mime-version", "content-type", "content-transfer-encoding",
        "dkim-signature", "return-path", "received",
    )
)  # fmt: skip
# So that "Subject: =?utf-8?b?…?=" is no longer than the 76 characters of RFC 2047.
_WORD_BYTES = 39
_SHORT = 60
_BASE64_LINE = 76
_PART_HEAD = {
    kind: f'Content-Type: text/{kind}; charset="utf-8"\r\nContent-Transfer-Encoding: base64\r\n\r\n'.encode()
    for kind in ("plain", "html")
}


@dataclass(frozen=True)
class Skeleton:
    """What every mail of one sender and one source has alike."""

    opening: bytes
    campaign: bytes
    domain: str


def identify_mail(delivery_id: str, sender: str) -> str:
    """The Message-ID of a delivery: the same at every attempt, so that a receiver can reject a repeat."""
    return f"<{delivery_id}@{find_domain(sender)}>"


@lru_cache(maxsize=64)
def find_domain(sender: str) -> str:
    """The domain that ``sender`` writes from."""
    return parseaddr(sender)[1].rpartition("@")[2] or "localhost"


@lru_cache(maxsize=256)
def build_skeleton(sender: str, plan_id: str) -> Skeleton:
    """The skeleton of the mails of a source."""
    campaign = _line("Auto-Submitted", "auto-generated") + _fold("X-Campaign", clean_header(plan_id))
    return Skeleton(_fold_address("From", *parseaddr(sender)), campaign, find_domain(sender))


def build_mail(message: Message, sender: str) -> bytes:
    """``message`` as RFC 5322 bytes with CRLF; ValueError when an address cannot stand in a header."""
    skeleton = build_skeleton(sender, message.plan_id)
    pieces = [
        skeleton.opening,
        _fold_address("To", message.name, message.recipient),
        _encode_header("Subject", clean_header(message.subject)),
        _show_date(int(now().timestamp())),
        f"Message-ID: <{message.delivery_id}@{skeleton.domain}>\r\n".encode("ascii"),
        skeleton.campaign,
        *_build_unsubscribe(message.unsubscribe_url),
        *_build_further(message.headers),
        b"MIME-Version: 1.0\r\n",
    ]
    text = message.text or extract_text(message.html)
    if not message.html:
        return b"".join([*pieces, _PART_HEAD["plain"], _encode_body(text)])
    # A base64 body holds no "=_", so that no boundary needs to be looked for in it.
    boundary = f"=_{message.delivery_id[:32]}"
    mark = f"--{boundary}".encode("ascii")
    pieces += (
        f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n\r\n'.encode("ascii"),
        mark, b"\r\n", _PART_HEAD["plain"], _encode_body(text),
        mark, b"\r\n", _PART_HEAD["html"], _encode_body(message.html),
        mark, b"--\r\n",
    )  # fmt: skip
    return b"".join(pieces)


def is_plain(address: str) -> bool:
    """Whether ``address`` needs no quotes anywhere, and can end neither a header nor a command."""
    return _PLAIN_ADDRESS.fullmatch(address) is not None


def prepare_data(mail: bytes) -> bytes:
    """``mail`` as it goes over the wire after DATA: leading dots doubled, the closing dot."""
    body = mail.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    return body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def clean_header(value: str) -> str:
    """``value`` on one line: control characters, line and paragraph separators become spaces."""
    if value.isprintable():
        return value.strip()
    kept = (" " if unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") else char for char in value)
    return " ".join("".join(kept).split())


def _build_unsubscribe(url: str) -> list[bytes]:
    # Not folded: a link that is broken in two does not open in every mail program.
    link = clean_header(url)
    if not link:
        return []
    if not link.isascii() or " " in link or ">" in link:
        raise ValueError("an unsubscribe link must be a plain URL")
    return [
        _line("List-Unsubscribe", f"<{link}>"),
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    ]


def _build_further(headers: Mapping[str, str]) -> list[bytes]:
    for name in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError("this is no header's name")
    return [
        _encode_header(name, clean_header(value))
        for name, value in headers.items()
        if name.lower() not in _OWN_HEADERS
    ]


def _encode_body(text: str) -> bytes:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    raw = text.encode("utf-8").rstrip(b"\n").replace(b"\n", b"\r\n") + b"\r\n"
    encoded = b2a_base64(raw, newline=False)
    return b"\r\n".join((*_rule_lines(len(encoded)).unpack(encoded), b""))


@lru_cache(maxsize=1024)
def _rule_lines(length: int) -> Struct:
    # A quarter of the time of a slice for each line.
    full, rest = divmod(length, _BASE64_LINE)
    return Struct(f"{_BASE64_LINE}s" * full + (f"{rest}s" if rest else ""))


def _line(name: str, value: str) -> bytes:
    return f"{name}: {value}\r\n".encode("ascii")


@lru_cache(maxsize=2)
def _show_date(second: int) -> bytes:
    return _line("Date", format_datetime(now()))


def _fold_address(name: str, display: str, address: str) -> bytes:
    clean = clean_header(display)
    if _PLAIN_ADDRESS.fullmatch(address):
        # What needs neither quotes nor folding goes the short way, and so does what must be encoded anyway.
        if not clean:
            return _line(name, address)
        if not clean.isascii():
            return _encode_words(name, clean, f" <{address}>")
        if clean.replace(" ", "").isalnum() and len(clean) + len(address) < _SHORT:
            return _line(name, f"{clean} <{address}>")
    try:
        return _fold(name, str(Address(display_name=clean, addr_spec=clean_header(address))))
    except (IndexError, MessageError) as error:
        raise ValueError("this address cannot stand in a header") from error


def _encode_header(name: str, value: str) -> bytes:
    if not value.isascii():
        return _encode_words(name, value, "")
    return _line(name, value) if len(value) < _SHORT and "=?" not in value else _fold(name, value)


def _encode_words(name: str, value: str, after: str) -> bytes:
    """RFC 2047: words of base64, none of which ends within a character, each on a line of its own."""
    raw = value.encode("utf-8")
    words, start = [], 0
    while start < len(raw):
        end = min(start + _WORD_BYTES, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        words.append(b"=?utf-8?b?" + b2a_base64(raw[start:end], newline=False) + b"?=")
        start = end
    tail = after.encode("ascii")
    fits = len(words[-1]) + len(name) + 2 + len(tail) <= _BASE64_LINE
    return b"".join(
        (name.encode("ascii"), b": ", b"\r\n ".join(words), tail if fits else b"\r\n" + tail, b"\r\n")
    )


@lru_cache(maxsize=4096)
def _fold(name: str, value: str) -> bytes:
    header = _POLICY.header_factory(name, value)
    return str(header.fold(policy=_POLICY)).encode("ascii")
