"""One mail as bytes: text and HTML parts, a Message-ID that a repeat cannot change, one-click unsubscribe.

Headers follow RFC 5322, 2369 (List-Unsubscribe) and 8058 (one click). Control characters in names and subjects
are removed before they reach a header, so that no customer's name can add one. Headers are folded and encoded by
the standard library's header classes and remembered (a wave has few subjects); the body is put together here: a
whole ``EmailMessage`` for each mail took eight times as long, and more than the sending itself.
"""

from __future__ import annotations

import base64
import re
import unicodedata
from email.errors import MessageError
from email.headerregistry import Address
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from functools import lru_cache

from aimwell.core.time import now
from aimwell.deployment.channels.channel import Message

# Seven bits: not every server says 8BITMIME, and a relay that does not would spoil Chinese.
_POLICY = SMTP.clone(cte_type="7bit")
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+")


def identify_mail(delivery_id: str, sender: str) -> str:
    """The Message-ID of a delivery: the same at every attempt, so that a receiver can reject a repeat."""
    return f"<{delivery_id}@{_find_domain(sender)}>"


def build_mail(message: Message, sender: str) -> bytes:
    """``message`` as RFC 5322 bytes with CRLF; ValueError when an address cannot stand in a header."""
    head = [
        _fold_address("From", *parseaddr(sender)),
        _fold_address("To", message.name, message.recipient),
        _fold("Subject", clean_header(message.subject)),
        _line("Date", format_datetime(now())),
        _line("Message-ID", identify_mail(message.delivery_id, sender)),
        _line("Auto-Submitted", "auto-generated"),
        _fold("X-Campaign", clean_header(message.plan_id)),
        *_build_unsubscribe(message.unsubscribe_url),
        _line("MIME-Version", "1.0"),
    ]
    body = _build_part("plain", message.text)
    if message.html:
        boundary = f"=_{message.delivery_id[:32]}"
        head.append(_line("Content-Type", f'multipart/alternative; boundary="{boundary}"'))
        mark = boundary.encode("ascii")
        parts = (body, _build_part("html", message.html))
        body = b"\r\n" + b"".join(b"--" + mark + b"\r\n" + part for part in parts) + b"--" + mark + b"--\r\n"
    return b"".join(head) + body


def prepare_data(mail: bytes) -> bytes:
    """``mail`` as it goes over the wire after DATA: leading dots doubled, the closing dot."""
    body = mail.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    return body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n"


def clean_header(value: str) -> str:
    """``value`` on one line: control characters, line and paragraph separators become spaces."""
    if value.isascii() and value.isprintable():
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
        _line("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"),
    ]


def _build_part(subtype: str, text: str) -> bytes:
    lines = "\r\n".join(text.splitlines()) + "\r\n"
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: base64\r\n\r\n'
    return head.encode("ascii") + base64.encodebytes(lines.encode("utf-8")).replace(b"\n", b"\r\n")


def _line(name: str, value: str) -> bytes:
    return f"{name}: {value}\r\n".encode("ascii")


def _fold_address(name: str, display: str, address: str) -> bytes:
    clean = clean_header(display)
    # What needs neither quotes nor encoding nor folding goes the short way.
    plain = (
        clean.isascii() and (not clean or clean.replace(" ", "").isalnum()) and len(clean) + len(address) < 60
    )
    if plain and _PLAIN_ADDRESS.fullmatch(address):
        return _line(name, f"{clean} <{address}>" if clean else address)
    try:
        return _fold(name, str(Address(display_name=clean, addr_spec=clean_header(address))))
    except (IndexError, MessageError) as error:
        raise ValueError("this address cannot stand in a header") from error


@lru_cache(maxsize=4096)
def _fold(name: str, value: str) -> bytes:
    header = _POLICY.header_factory(name, value)
    return str(header.fold(policy=_POLICY)).encode("ascii")


@lru_cache(maxsize=64)
def _find_domain(sender: str) -> str:
    return parseaddr(sender)[1].rpartition("@")[2] or "localhost"
