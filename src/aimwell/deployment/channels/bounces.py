"""What comes back after a mail was taken: bounces (RFC 3462, 3464) and complaints of readers (ARF, RFC 5965).

A bounce is found back by the signed return path that it was sent to, else by the Message-ID of our mail that it
carries. Whether an address is gone for good is read from the enhanced status code (RFC 3463) and the reply beside it,
never from words alone. Answers of holiday programs, and reports that a mail is merely late, are told apart. Reads
and writes no table; nothing of a mail's text is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.errors import MessageError
from email.message import Message as Mail
from email.utils import getaddresses
from typing import Literal

from aimwell.deployment.channels.return_path import ReturnPath

Kind = Literal["hard", "soft", "late", "complaint"]

_MOST_BYTES = 10 * 1024 * 1024
_MOST_PARTS = 50
_READ_OF_TEXT = 20_000
_STATUS = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_REPLY = re.compile(r"(?<![\d.])(4\d\d|5\d\d)(?![\d.])")
_MESSAGE_ID = re.compile(r"<?([0-9a-f]{64})@([A-Za-z0-9.-]+)>?")
# The address does not exist or was closed (RFC 3463 and its registry); all else may pass.
_GONE = frozenset(("5.1.0", "5.1.1", "5.1.2", "5.1.3", "5.1.4", "5.1.6", "5.1.10", "5.2.1", "5.4.4", "5.0.0"))
_GONE_REPLIES = frozenset(("550", "551", "553"))
_REPORTERS = ("mailer-daemon", "postmaster", "mail-daemon", "mdaemon")
_NOT_SPAM = frozenset(("not-spam",))


@dataclass(frozen=True)
class Bounce:
    """One report about one of our mails.

    ``delivery_id`` is whole when the report carries our Message-ID; ``id_start`` is always there. ``verified``: it
    came to a return path that we signed (a complaint: names one), so that nobody else can have made it up.
    """

    kind: Kind
    id_start: str
    delivery_id: str | None = None
    status: str | None = None
    verified: bool = False


def read_bounce(raw: bytes, path: ReturnPath | None = None) -> Bounce | None:
    """The bounce or complaint in ``raw``; None when it is neither, or is about none of our mails.

    With ``path`` the addresses that it signed are recognised.
    """
    if len(raw) > _MOST_BYTES:
        return None
    try:
        mail = message_from_bytes(raw)
        parts = _list_parts(mail)
        kind, status = _judge(mail, parts)
        return None if kind is None else _identify(mail, parts, kind, status, path)
    except (MessageError, ValueError, LookupError, RecursionError, TypeError, AttributeError):
        # Anybody may send anything to the address for bounces.
        return None


def classify_status(status: str | None, reply: str | None = None) -> Literal["hard", "soft"]:
    """Whether the address is gone for good.

    >>> classify_status("5.1.1"), classify_status("5.2.2"), classify_status("4.4.7"), classify_status("5.7.1")
    ('hard', 'soft', 'soft', 'soft')
    >>> classify_status("5.0.0", "550"), classify_status("5.0.0", "552")
    ('hard', 'soft')
    """
    if status is None:
        return "hard" if reply in _GONE_REPLIES else "soft"
    if status not in _GONE:
        return "soft"
    # "Other": the reply of the server says more.
    if status == "5.0.0":
        return "hard" if reply in _GONE_REPLIES else "soft"
    return "soft" if reply is not None and reply.startswith("4") else "hard"


def _list_parts(mail: Mail) -> list[Mail]:
    parts = []
    for part in mail.walk():
        parts.append(part)
        if len(parts) >= _MOST_PARTS:
            break
    return parts


def _judge(mail: Mail, parts: list[Mail]) -> tuple[Kind | None, str | None]:
    for part in parts:
        kind = part.get_content_type()
        if kind in ("message/delivery-status", "message/global-delivery-status"):
            return _read_status(_read_fields(part))
        if kind == "message/feedback-report":
            return _read_feedback(_read_fields(part))
    return _read_words(mail, parts)


def _read_status(fields: list[dict[str, str]]) -> tuple[Kind | None, str | None]:
    """The gravest of what is reported of each recipient; our mails have one."""
    best: tuple[Kind | None, str | None] = (None, None)
    for block in fields:
        action = block.get("action", "").split(" ")[0].lower()
        found = _STATUS.search(block.get("status", ""))
        status = found[0] if found else None
        if action == "delayed" and best[0] is None:
            best = ("late", status)
        if action != "failed":
            continue
        kind = classify_status(status, _find_reply(block.get("diagnostic-code", "")))
        if best[0] != "hard":
            best = (kind, status)
    return best


def _find_reply(diagnostic: str) -> str | None:
    words = diagnostic.partition(";")[2] or diagnostic
    found = _REPLY.search(_STATUS.sub(" ", words))
    return found[1] if found else None


def _read_feedback(fields: list[dict[str, str]]) -> tuple[Kind | None, str | None]:
    kinds = {block.get("feedback-type", "").strip().lower() for block in fields} - {""}
    return ("complaint", None) if kinds and not kinds & _NOT_SPAM else (None, None)


def _read_words(mail: Mail, parts: list[Mail]) -> tuple[Kind | None, str | None]:
    """A bounce of a server that follows no standard: only of a mail daemon, only with a code in it."""
    sender = str(mail.get("From", "")).lower()
    daemon = any(name in sender for name in _REPORTERS) or str(mail.get("Return-Path", "")).strip() == "<>"
    if not daemon or "auto-replied" in str(mail.get("Auto-Submitted", "")).lower():
        return None, None
    text = _read_text(parts)
    status = _STATUS.search(text)
    reply = _REPLY.search(_STATUS.sub(" ", text))
    if status is None and reply is None:
        return None, None
    code = status[0] if status else None
    if code is not None and code.startswith("2"):
        return None, None
    return classify_status(code, reply[1] if reply else None), code


def _read_text(parts: list[Mail]) -> str:
    for part in parts:
        if part.get_content_type() in ("text/plain", "text/html"):
            payload = part.get_payload(decode=True)
            if isinstance(payload, bytes):
                # What follows is our own mail, in which any number may stand.
                own = re.split(rb"(?i)message-id:", payload[:_READ_OF_TEXT])[0]
                return own.decode("utf-8", "replace")
    return ""


def _read_fields(part: Mail) -> list[dict[str, str]]:
    """The blocks of ``name: value`` lines in a report, as the parser or the raw text give them."""
    payload = part.get_payload()
    if isinstance(payload, list):
        blocks = [block for block in payload if isinstance(block, Mail)]
        fields = [_fold_block(block.items()) for block in blocks]
        # Feedback reports are parsed as a mail whose body may hold the fields.
        inner = [block.get_payload() for block in blocks]
        return fields + [read for text in inner if isinstance(text, str) for read in _split_blocks(text)]
    return list(_split_blocks(payload if isinstance(payload, str) else ""))


def _split_blocks(text: str) -> Iterator[dict[str, str]]:
    for block in re.split(r"\r?\n\r?\n", text.strip()):
        lines = re.sub(r"\r?\n[ \t]+", " ", block).splitlines()
        yield _fold_block(
            (name, value) for name, mark, value in (line.partition(":") for line in lines) if mark
        )


def _fold_block(items: Iterable[tuple[str, str]]) -> dict[str, str]:
    return {str(name).strip().lower(): " ".join(str(value).split()) for name, value in items}


def _identify(
    mail: Mail, parts: list[Mail], kind: Kind, status: str | None, path: ReturnPath | None
) -> Bounce | None:
    whole = next((found for part in parts for found in _find_ids(part, returned=part is not mail)), None)
    signed = next(_find_signed(mail, parts, path), None) if path is not None else None
    if whole is None and signed is None:
        # Beside the parts: some servers only name the mail in a header of the report.
        whole = next((m[1] for name in ("In-Reply-To", "References") for m in
                      _MESSAGE_ID.finditer(str(mail.get(name, "")))), None)  # fmt: skip
    if signed is not None:
        whole = whole if whole is not None and whole.startswith(signed) else None
        return Bounce(kind, signed, whole, status, verified=True)
    return None if whole is None else Bounce(kind, whole[:32], whole, status)


def _find_ids(part: Mail, *, returned: bool) -> Iterator[str]:
    """Message-IDs of ours in a returned mail or its headers; that of the report itself says nothing."""
    texts = [str(part.get("Message-ID", ""))] if returned else []
    kind = part.get_content_type()
    if kind in ("text/rfc822-headers", "message/feedback-report", "message/delivery-status", "text/plain"):
        payload = part.get_payload(decode=True)
        body = payload if isinstance(payload, bytes) else str(part).encode("utf-8", "replace")
        texts += re.findall(
            r"(?im)^(?:original-)?message-id:\s*(\S+)", body[:_READ_OF_TEXT].decode("utf-8", "replace")
        )
    for text in texts:
        found = _MESSAGE_ID.search(text)
        if found:
            yield found[1]


def _find_signed(mail: Mail, parts: list[Mail], path: ReturnPath) -> Iterator[str]:
    """Deliveries whose signed return path the report was sent to, or that a complaint names."""
    names = ("Delivered-To", "X-Original-To", "Envelope-To", "To", "Return-Path")
    headers = [
        str(value) for part in (mail, *parts[1:]) for name in names for value in part.get_all(name, [])
    ]
    fields = [
        value
        for part in parts
        if part.get_content_type() in ("message/feedback-report", "text/rfc822-headers")
        for block in (
            _read_fields(part) if part.get_content_maintype() == "message" else _split_blocks(_as_text(part))
        )
        for name, value in block.items()
        if name in ("original-mail-from", "return-path")
    ]
    for _, address in getaddresses([*headers, *fields]):
        half = path.read(address)
        if half is not None:
            yield half


def _as_text(part: Mail) -> str:
    payload = part.get_payload(decode=True)
    return payload[:_READ_OF_TEXT].decode("utf-8", "replace") if isinstance(payload, bytes) else ""
