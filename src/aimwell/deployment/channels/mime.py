"""One mail as bytes: text and HTML parts, a Message-ID that a repeat cannot change, one-click unsubscribe.

Headers follow RFC 5322, 2369 (List-Unsubscribe) and 8058 (one click). Control characters in names and subjects
are removed before they reach a header, so that no customer's name can add one.
"""

from __future__ import annotations

import unicodedata
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr

from aimwell.core.time import now
from aimwell.deployment.channels.channel import Message

# Seven bits: not every server says 8BITMIME, and a relay that does not would spoil Chinese.
_POLICY = SMTP.clone(cte_type="7bit")


def identify_mail(delivery_id: str, sender: str) -> str:
    """The Message-ID of a delivery: the same at every attempt, so that a receiver can reject a repeat."""
    domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
    return f"<{delivery_id}@{domain}>"


def build_mail(message: Message, sender: str) -> bytes:
    """``message`` as it goes over the wire after DATA: CRLF lines, leading dots doubled, the closing dot."""
    mail = EmailMessage(policy=_POLICY)
    name, address = parseaddr(sender)
    mail["From"] = _build_address(name, address)
    mail["To"] = _build_address(message.name, message.recipient)
    mail["Subject"] = clean_header(message.subject)
    mail["Date"] = format_datetime(now())
    mail["Message-ID"] = identify_mail(message.delivery_id, sender)
    mail["Auto-Submitted"] = "auto-generated"
    mail["X-Campaign"] = clean_header(message.plan_id)
    if message.unsubscribe_url:
        mail["List-Unsubscribe"] = f"<{clean_header(message.unsubscribe_url)}>"
        mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(message.text)
    if message.html:
        mail.add_alternative(message.html, subtype="html")
    return _terminate(mail.as_bytes())


def clean_header(value: str) -> str:
    """``value`` on one line: control characters, line and paragraph separators become spaces."""
    kept = (" " if unicodedata.category(char) in ("Cc", "Zl", "Zp", "Cs") else char for char in value)
    return " ".join("".join(kept).split())


def _build_address(name: str, address: str) -> Address:
    return Address(display_name=clean_header(name), addr_spec=clean_header(address))


def _terminate(mail: bytes) -> bytes:
    body = mail.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    return body + (b"" if body.endswith(b"\r\n") else b"\r\n") + b".\r\n"
