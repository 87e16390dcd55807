"""What is said for one mail, and what each answer means for its receipt.

What fails before the server has agreed to DATA was surely not sent; what fails after it is unknown.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from smtplib import quoteaddr

from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.channels.mime import is_plain
from aimwell.deployment.channels.smtp_lines import Dialogue, Line, Reply

NOT_CONNECTED = Receipt(Outcome.TEMPORARY, "connection_failed")
_LOST = Receipt(Outcome.UNKNOWN, "connection_lost")
_DATA_AGREED = 354
_CLOSING = 421
_OPENING = (((250,), False), ((250, 251), True), ((_DATA_AGREED,), False))
"""What MAIL, RCPT and DATA must be answered with, and whether a refusal is about the recipient."""
# Answers to RCPT that are about the address, not about us.
_BAD_RECIPIENT = (550, 551, 553, 554)


@dataclass(frozen=True)
class Envelope:
    """One mail on its way: from whom, to whom, and the bytes after DATA."""

    sender: str
    recipient: str
    data: bytes


@dataclass(frozen=True)
class _Refusal:
    code: int
    at_recipient: bool


def hand_over(line: Line, mail: Envelope) -> Dialogue:
    """Hand ``mail`` over on ``line``."""
    try:
        refusal = yield from _open_envelope(line, mail)
    except OSError:
        line.lost = True
        return NOT_CONNECTED
    if refusal is not None:
        if refusal.code == _CLOSING and line.carried:
            # A goodbye, said while the connection was idle or after so many mails.
            line.lost = True
            return NOT_CONNECTED
        yield from _keep_or_lose(line, refusal.code)
        return _judge_answer(refusal.code, at_recipient=refusal.at_recipient)
    try:
        code, answer = yield mail.data
    except OSError:
        line.lost = True
        return _LOST
    if 200 <= code < 300:
        return Receipt(Outcome.SENT, provider_id=answer.decode("utf-8", "replace")[:255])
    if not 400 <= code < 600:
        # The mail is out, and the answer cannot be read: sending it again might double it.
        line.lost = True
        return _LOST
    yield from _keep_or_lose(line, code)
    return _judge_answer(code, at_recipient=False)


def _open_envelope(line: Line, mail: Envelope) -> Generator[bytes, Reply, _Refusal | None]:
    sender, recipient = f"<{mail.sender}>", f"<{mail.recipient}>"
    plain = is_plain(mail.sender) and is_plain(mail.recipient)
    if not plain:
        sender, recipient = quoteaddr(mail.sender), quoteaddr(mail.recipient)
    commands = (f"MAIL FROM:{sender}\r\n", f"RCPT TO:{recipient}\r\n", "DATA\r\n")
    if plain and line.pipelining:
        return (yield from _open_at_once("".join(commands).encode("ascii")))
    for command, (expected, at_recipient) in zip(commands, _OPENING, strict=True):
        code, _ = yield command.encode("ascii")
        if code not in expected:
            return _Refusal(code, at_recipient)
    return None


def _open_at_once(commands: bytes) -> Generator[bytes, Reply, _Refusal | None]:
    """The same in one round trip instead of three (RFC 2920), where the server says that it can."""
    refusal: _Refusal | None = None
    code = 0
    try:
        for expected, at_recipient in _OPENING:
            code, _ = yield commands
            commands = b""
            if refusal is None and code not in expected:
                refusal = _Refusal(code, at_recipient)
        if refusal is not None and code == _DATA_AGREED:
            # It would take a mail for nobody: it gets an empty one.
            yield b".\r\n"
    except OSError:
        if refusal is None:
            raise
    return refusal


def _keep_or_lose(line: Line, code: int) -> Generator[bytes, Reply, None]:
    """The connection is good for another mail if the server says so."""
    try:
        line.lost = line.lost or code == _CLOSING or (yield b"RSET\r\n")[0] != 250
    except OSError:
        line.lost = True


def _judge_answer(code: int, *, at_recipient: bool) -> Receipt:
    """4xx may be tried again, 5xx not; anything else the server must not say here, so it took nothing."""
    if 500 <= code < 600:
        bad = at_recipient and code in _BAD_RECIPIENT
        return Receipt(Outcome.PERMANENT, "bad_recipient" if bad else "rejected")
    return Receipt(Outcome.TEMPORARY, "temporary_rejection")
