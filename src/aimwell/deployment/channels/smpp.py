"""SMS over SMPP 3.4, on one connection with a window of unanswered packets, and an honest receipt for each message.

A blind channel (C): a centre cannot be asked by our id. What the centre refused, and what did not leave us as a whole,
was surely not taken; what left us and was never answered is unknown. A long message is parts that follow one another:
the next leaves when the centre has taken the one before, and a message of which only some were taken is unknown, too.
A throttled packet was not taken: everybody pauses, then it is tried again, and in the end given back to the ledger.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.smpp_pdu import (
    ESME_RINVBNDSTS,
    ESME_RINVDSTADR,
    ESME_RMSGQFUL,
    ESME_ROK,
    ESME_RSUBMITFAIL,
    ESME_RSYSERR,
    ESME_RTHROTTLED,
    ESME_RX_T_APPN,
    UDH_INDICATOR,
    ShortMessage,
    read_message_id,
)
from aimwell.deployment.channels.smpp_receipts import SmsReply, SmsReport, normalise_id, read_delivery
from aimwell.deployment.channels.smpp_session import Centre, Session
from aimwell.deployment.channels.sms_coding import Encoded, encode_sms, number_part

_THROTTLED = (ESME_RTHROTTLED, ESME_RMSGQFUL)
_TEMPORARY = (ESME_RINVBNDSTS, ESME_RSYSERR, ESME_RSUBMITFAIL, ESME_RX_T_APPN)
_NUMBER = re.compile(r"\+?([1-9][0-9]{5,14})")
_REPORT_WANTED = 1
_LONGEST_PAUSE = 30.0
_ABSENT = 0.5


class Book(Protocol):
    """Who keeps the centre's numbers and what it reports (``sms_reports.ReportBook``)."""

    def note_taken(self, message: Message, message_id: str, part: int, parts: int) -> None:
        """The centre took a part of the message under this id."""
        ...

    def note_report(self, report: SmsReport) -> None:
        """The centre says what became of it."""
        ...

    def note_reply(self, reply: SmsReply) -> None:
        """A person wrote to us."""
        ...


@dataclass(frozen=True)
class Manner:
    """How messages are written and how patient we are (seconds)."""

    source: str = ""
    source_ton: int = 5
    source_npi: int = 0
    long: Literal["parts", "payload"] = "parts"
    """A long message as parts with a header, or as one packet with message_payload."""
    always_ucs2: bool = False
    """For centres whose own alphabet is not GSM 03.38."""
    reports: bool = True
    decimal_ids: bool = False
    """The centre answers with hexadecimal ids and reports with decimal ones."""
    most_parts: int = 10
    window: int = 10
    pause: float = 1.0
    """After the first throttled packet; doubled at each that follows."""
    tries: int = 4
    """How often a throttled packet is tried before it goes back to the ledger."""


class SmppChannel(Channel):
    """Sends through ``centre``. ``book`` keeps its numbers, its reports and what people answer."""

    promise = Promise.BLIND

    def __init__(self, centre: Centre, manner: Manner | None = None, *, book: Book | None = None) -> None:
        self.centre = centre
        self.manner = manner or Manner()
        self.window = self.manner.window
        self._book = book
        self._session: Session | None = None
        self._opening = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._throttle = _Throttle(self.manner.pause)
        self._listening = 0
        self._absent_until = 0.0

    def deliver(self, message: Message) -> Receipt:
        """Hand one message over, all its parts."""
        number = _NUMBER.fullmatch(message.recipient.replace(" ", ""))
        if number is None:
            return Receipt(Outcome.PERMANENT, "bad_recipient")
        try:
            bodies = self._build(message, number[1])
        except ValueError:
            return Receipt(Outcome.PERMANENT, "content_error")
        first = None
        for place, body in enumerate(bodies, 1):
            receipt = self._submit(message, body, place, len(bodies))
            if receipt.outcome is not Outcome.SENT:
                # Of a message that was taken in part nobody can say what its recipient sees.
                return (
                    receipt if first is None else Receipt(Outcome.UNKNOWN, "partly_taken", first.provider_id)
                )
            first = first or receipt
        return first or Receipt(Outcome.PERMANENT, "content_error")

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Hand up to ``window`` messages over at once; each has one unanswered packet at most."""
        if len(messages) == 1:
            return [self.deliver(messages[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.window, thread_name_prefix="smpp")
        return list(self._pool.map(self.deliver, messages))

    def finish(self) -> None:
        """Unbind, unless somebody listens for reports and replies."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        with self._opening:
            if self._session is not None and not self._listening:
                self._session.close()
                self._session = None

    def listen(self, stop: threading.Event, *, pause: float = 1.0) -> None:
        """Stay bound for reports and replies until ``stop`` is set; bind again whenever the connection broke."""
        self._listening += 1
        wait = pause
        try:
            while not stop.is_set():
                try:
                    self._open()
                    wait = pause
                except OSError:
                    wait = min(wait * 2, _LONGEST_PAUSE)
                stop.wait(wait)
        finally:
            self._listening -= 1
            self.finish()

    def _build(self, message: Message, number: str) -> list[bytes]:
        manner = self.manner
        encoded = encode_sms(message.text, always_ucs2=manner.always_ucs2)
        if not message.text or len(encoded.parts) > manner.most_parts:
            raise ValueError("the text is empty or too long")
        whole = ShortMessage(
            source=manner.source,
            destination=number,
            octets=b"",
            coding=encoded.coding,
            registered=_REPORT_WANTED if manner.reports else 0,
            source_ton=manner.source_ton if manner.source else 0,
            source_npi=manner.source_npi if manner.source else 0,
        )
        return [part.encode() for part in _split(whole, encoded, message.delivery_id, manner.long)]

    def _submit(self, message: Message, body: bytes, part: int, parts: int) -> Receipt:
        for _ in range(self.manner.tries):
            self._throttle.wait()
            try:
                slot = self._open().submit(body)
            except OSError:
                return Receipt(Outcome.TEMPORARY, "connection_failed")
            if not slot.wait(self.centre.timeout, self._note_late(message, part, parts)):
                return Receipt(Outcome.UNKNOWN, "connection_lost")
            status = slot.status or ESME_ROK
            if status not in _THROTTLED:
                self._throttle.relax()
                return self._judge(status, slot.body, message, part, parts)
            self._throttle.pause()
        return Receipt(Outcome.TEMPORARY, "throttled")

    def _judge(self, status: int, body: bytes, message: Message, part: int, parts: int) -> Receipt:
        if status == ESME_ROK:
            identity = read_message_id(body)
            self._note_taken(message, identity, part, parts)
            return Receipt(Outcome.SENT, provider_id=identity or None)
        if status in _TEMPORARY:
            return Receipt(Outcome.TEMPORARY, "temporary_rejection")
        if status == ESME_RINVDSTADR:
            return Receipt(Outcome.PERMANENT, "bad_recipient")
        return Receipt(Outcome.PERMANENT, f"smpp_{status:08x}")

    def _note_taken(self, message: Message, identity: str, part: int, parts: int) -> None:
        if self._book is not None and identity:
            self._book.note_taken(message, normalise_id(identity), part, parts)

    def _note_late(self, message: Message, part: int, parts: int) -> Callable[[int, bytes], None]:
        """An answer that came after we gave up still tells that the centre has the message."""

        def note(status: int, body: bytes) -> None:
            if status == ESME_ROK:
                self._note_taken(message, read_message_id(body), part, parts)

        return note

    def _open(self) -> Session:
        with self._opening:
            if self._session is not None and self._session.alive:
                return self._session
            broken, self._session = self._session, None
            if broken is not None:
                broken.close()
            # Of all who wait here one tries; if it finds nobody there, the others need not find out one by one.
            if time.monotonic() < self._absent_until:
                raise ConnectionError("the centre was not there a moment ago")
            try:
                self._session = Session(self.centre, self._take)
            except OSError:
                self._absent_until = time.monotonic() + _ABSENT
                raise
            return self._session

    def _take(self, delivery: ShortMessage) -> None:
        found = read_delivery(delivery, decimal_ids=self.manner.decimal_ids)
        if self._book is None or found is None:
            return
        if isinstance(found, SmsReport):
            self._book.note_report(found)
        else:
            self._book.note_reply(found)


class _Throttle:
    """One pause for all who send: the centre counts packets of the account, not of a thread."""

    def __init__(self, first: float) -> None:
        self._first = first
        self._length = first
        self._until = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        while (left := self._until - time.monotonic()) > 0:
            time.sleep(min(left, 0.5))

    def pause(self) -> None:
        """The centre throttled. Those who were throttled together make one pause."""
        with self._lock:
            now = time.monotonic()
            if now >= self._until:
                self._until = now + self._length
                self._length = min(self._length * 2, _LONGEST_PAUSE)

    def relax(self) -> None:
        """The centre took a packet."""
        self._length = self._first


def _split(whole: ShortMessage, encoded: Encoded, delivery_id: str, long: str) -> list[ShortMessage]:
    parts = encoded.parts
    if len(parts) == 1:
        return [replace(whole, octets=parts[0])]
    if long == "payload":
        return [replace(whole, octets=b"".join(parts), in_payload=True)]
    # The same at every attempt: a handset that has a part already takes the repeat for the same part.
    reference = hashlib.sha256(delivery_id.encode()).digest()[0]
    return [
        replace(whole, octets=number_part(part, reference, place, len(parts)), esm_class=UDH_INDICATOR)
        for place, part in enumerate(parts, 1)
    ]
