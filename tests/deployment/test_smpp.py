from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.deployment.channels.channel import Message, Outcome, Promise
from aimwell.deployment.channels.event_outbox import forward_events
from aimwell.deployment.channels.smpp import Manner, SmppChannel
from aimwell.deployment.channels.smpp_pdu import BadPacket, ShortMessage, read_header, read_short_message
from aimwell.deployment.channels.smpp_receipts import SmsReply, SmsReport, read_delivery
from aimwell.deployment.channels.smpp_session import BindRefused, Centre, Session
from aimwell.deployment.channels.sms import measure_sms
from aimwell.deployment.channels.sms_coding import decode_sms, encode_sms, number_part, split_header
from aimwell.deployment.channels.sms_reports import ReportBook, settle_doubts
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import Candidate
from aimwell.deployment.sending import work
from aimwell.engine.channel_tables import PROVIDER_MESSAGES
from aimwell.engine.store import Store
from tests.deployment.scene import count, count_reasons, fill, open_ledger, open_store
from tests.deployment.smsc import PASSWORD, Mood, Smsc, encode_tlv, run_smsc

NUMBER = "+8613800138000"


def compose(candidate: Candidate) -> Message:
    return write("【店】生鲜8折，拒收请回复R", candidate.delivery_id, candidate.customer_id)


def write(text: str, delivery: str = "d" * 64, customer: str = "c1", recipient: str = NUMBER) -> Message:
    return Message(delivery, "p1", customer, recipient, text, language="zh")


def reach(smsc: Smsc, *, timeout: float = 30.0, idle: float = 30.0, password: str = PASSWORD) -> Centre:
    return Centre("127.0.0.1", smsc.port, "aimwell", password, timeout=timeout, idle=idle)


def open_channel(smsc: Smsc, *, book: Any = None, timeout: float = 30.0, **manner: Any) -> SmppChannel:
    values = {"pause": 0.01, "source": "10690000", **manner}
    return SmppChannel(reach(smsc, timeout=timeout), Manner(**values), book=book)


def send_all(ledger: Ledger, channel: SmppChannel) -> None:
    work(ledger, plan_id="p1", channel_name="sms", channel=channel, compose=compose)


def wait_until(true: Any, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    assert true()


def test_a_wave_goes_out_once_each(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, [f"c{number}" for number in range(120)], channel="sms")
    with run_smsc() as smsc:
        send_all(ledger, open_channel(smsc))
        assert count(ledger) == {"sent": 120}
        assert len(smsc.taken) == 120 and smsc.binds == 1 and smsc.unbound == 1
        one = smsc.taken[0]
    assert (one.text, one.coding, one.destination, one.source) == (
        "【店】生鲜8折，拒收请回复R",
        8,
        NUMBER[1:],
        "10690000",
    )
    assert one.registered == 1
    assert {row["provider_id"] for row in ledger.read_rows()} == {
        message.message_id for message in smsc.taken
    }


def test_gsm_is_one_octet_a_character() -> None:
    with run_smsc() as smsc:
        channel = open_channel(smsc)
        assert channel.deliver(write("Sale ends today. Reply STOP")).outcome is Outcome.SENT
        assert channel.deliver(write("{5€}")).outcome is Outcome.SENT
        channel.finish()
        assert (smsc.taken[0].coding, smsc.taken[0].octets) == (0, b"Sale ends today. Reply STOP")
        assert smsc.taken[1].octets == bytes((0x1B, 0x28, 0x35, 0x1B, 0x65, 0x1B, 0x29))


@pytest.mark.parametrize("text", ["客" * 150, "a" * 400, "客" * 66 + "😀" + "客" * 30])
def test_long_messages_are_parts_that_fit_together(text: str) -> None:
    with run_smsc() as smsc:
        channel = open_channel(smsc)
        assert channel.deliver(write(text)).outcome is Outcome.SENT
        channel.finish()
        parts = smsc.taken
    assert len(parts) == measure_sms(text).segments
    assert "".join(part.text for part in parts) == text
    headers = [part.octets[:6] for part in parts]
    assert [header[:3] for header in headers] == [b"\5\0\3"] * len(parts)
    assert [(header[4], header[5]) for header in headers] == [
        (len(parts), place + 1) for place in range(len(parts))
    ]
    assert len({header[3] for header in headers}) == 1
    assert all(len(part.octets) <= (140 if part.coding == 8 else 159) for part in parts)


def test_a_long_message_may_be_one_payload() -> None:
    with run_smsc() as smsc:
        channel = open_channel(smsc, long="payload")
        assert channel.deliver(write("客" * 150)).outcome is Outcome.SENT
        channel.finish()
        assert [(part.text, part.octets, part.esm_class) for part in smsc.taken] == [("客" * 150, b"", 0)]


@pytest.mark.parametrize(("action", "taken"), [("drop", 40), ("drop_untaken", 39)])
def test_a_connection_lost_after_the_packet_leaves_a_doubt_and_no_double(
    tmp_path: Path, action: str, taken: int
) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, [f"c{number}" for number in range(40)], channel="sms")
    with run_smsc(Mood(lambda number, _: action if number == 7 else "take")) as smsc:
        send_all(ledger, open_channel(smsc, window=1))
        # Taken or not, nobody can say; so it is neither sent again nor called sent.
        assert count(ledger) == {"sent": 39, "in_doubt": 1}
        assert count_reasons(ledger)["connection_lost"] == 1
        assert len(smsc.taken) == taken and len(smsc.seen) == 40


def test_throttling_pauses_everybody_and_loses_nothing(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, [f"c{number}" for number in range(60)], channel="sms")
    with run_smsc(Mood(lambda number, _: 0x58 if number % 5 == 0 else "take")) as smsc:
        send_all(ledger, open_channel(smsc))
        assert count(ledger) == {"sent": 60}
        assert len(smsc.taken) == 60 < len(smsc.seen)


def test_endless_throttling_goes_back_to_the_ledger() -> None:
    with run_smsc(Mood(lambda number, _: 0x14)) as smsc:
        channel = open_channel(smsc, tries=3)
        receipt = channel.deliver(write("a"))
        channel.finish()
        assert (receipt.outcome, receipt.code, len(smsc.seen)) == (Outcome.TEMPORARY, "throttled", 3)


@pytest.mark.parametrize(
    ("status", "outcome", "code"),
    [
        (0x0B, Outcome.PERMANENT, "bad_recipient"),
        (0x08, Outcome.TEMPORARY, "temporary_rejection"),
        (0x45, Outcome.TEMPORARY, "temporary_rejection"),
        (0x401, Outcome.PERMANENT, "smpp_00000401"),
        ("nack", Outcome.PERMANENT, "smpp_00000003"),
    ],
)
def test_what_the_centre_refuses_was_not_taken(status: int | str, outcome: Outcome, code: str) -> None:
    with run_smsc(Mood(lambda number, _: status)) as smsc:
        channel = open_channel(smsc)
        receipt = channel.deliver(write("a"))
        channel.finish()
        assert (receipt.outcome, receipt.code, smsc.taken) == (outcome, code, [])


def test_of_a_message_taken_in_part_nothing_is_claimed() -> None:
    with run_smsc(Mood(lambda number, _: 0x45 if number == 2 else "take")) as smsc:
        channel = open_channel(smsc)
        receipt = channel.deliver(write("客" * 150))
        channel.finish()
        assert (receipt.outcome, receipt.code) == (Outcome.UNKNOWN, "partly_taken")
        assert len(smsc.taken) == 1, "what cannot be read without its beginning is not sent"


def test_answers_out_of_order_go_to_their_own_messages() -> None:
    messages = [
        write(str(number), f"{number:064d}", f"c{number}", f"+86138001380{number:02d}") for number in range(8)
    ]
    with run_smsc(Mood(lambda number, _: "take" if number % 8 == 0 else "hold")) as smsc:
        channel = open_channel(smsc, window=8)
        receipts = channel.deliver_batch(messages)
        channel.finish()
        ids = {message.text: message.message_id for message in smsc.taken}
    assert [receipt.provider_id for receipt in receipts] == [ids[str(number)] for number in range(8)]


def test_nobody_there_and_nobody_let_in() -> None:
    # Held, so that nobody else listens there.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        receipt = SmppChannel(Centre("127.0.0.1", port, "a", "b", timeout=10)).deliver(write("a"))
    assert (receipt.outcome, receipt.code) == (Outcome.TEMPORARY, "connection_failed")
    with run_smsc() as smsc:
        channel = SmppChannel(reach(smsc, password="wrong"))
        assert channel.deliver(write("a")).code == "connection_failed"
        with pytest.raises(BindRefused) as refused:
            Session(reach(smsc, password="wrong"), lambda message: None)
        assert refused.value.status == 0x0E


@pytest.mark.parametrize("recipient", ["", "abc", "+86138001380001234567", "138\r\n", "+0123456"])
def test_what_is_no_number_never_reaches_the_wire(recipient: str) -> None:
    with run_smsc() as smsc:
        channel = open_channel(smsc)
        assert channel.deliver(write("a", recipient=recipient)).code == "bad_recipient"
        assert channel.deliver(write("")).code == "content_error"
        assert channel.deliver(write("\ud800")).code == "content_error"
        assert channel.deliver(write("a" * 5000)).code == "content_error"
        assert smsc.binds == 0


def test_an_idle_connection_is_kept_and_a_dead_one_noticed() -> None:
    with run_smsc() as smsc:
        session = Session(reach(smsc, idle=0.5), lambda message: None)
        wait_until(lambda: smsc.enquired >= 3)
        assert session.alive
        smsc.mood.answers_enquire = False
        wait_until(lambda: not session.alive)
        with pytest.raises(ConnectionError):
            session.submit(b"")
        session.close()


def test_a_broken_connection_is_opened_again() -> None:
    with run_smsc() as smsc:
        channel = open_channel(smsc)
        assert channel.deliver(write("a")).outcome is Outcome.SENT
        smsc.drop()
        wait_until(lambda: not channel._session or not channel._session.alive)
        assert channel.deliver(write("b")).outcome is Outcome.SENT
        channel.finish()
        assert smsc.binds == 2


def read_events(store: Store) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    forward_events(store, events.extend)
    return events


@pytest.mark.parametrize("action", ["take", "receipt_first"])
def test_receipts_find_their_delivery_whatever_comes_first(tmp_path: Path, action: str) -> None:
    store = open_store(tmp_path)
    mood = Mood(lambda number, _: action, receipts=True)
    with run_smsc(mood) as smsc:
        channel = open_channel(smsc, book=ReportBook(store, "smsc"))
        assert channel.deliver(write("客" * 100)).outcome is Outcome.SENT
        wait_until(lambda: len(mood.deliver_statuses) == 2)
        channel.finish()
    assert mood.deliver_statuses == [0, 0]
    events = read_events(store)
    assert [(event["event"], event["userId"], event["properties"]["delivery_id"]) for event in events] == [
        ("Message Delivered", "c1", "d" * 64)
    ]
    assert read_events(store) == []


def test_a_part_that_failed_fails_the_message_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    book = ReportBook(store, "smsc")
    for part in (1, 2):
        book.note_taken(write("x"), f"m{part}", part, 2)
    for report in (SmsReport("m2", "waiting", "ENROUTE"), SmsReport("m2", "failed", "UNDELIV 21"),
                   SmsReport("m1", "delivered", "DELIVRD"), SmsReport("m2", "delivered", "DELIVRD")):  # fmt: skip
        book.note_report(report)
    events = read_events(store)
    assert [(event["event"], event["properties"]["code"]) for event in events] == [
        ("Message Failed", "UNDELIV 21")
    ]


def test_our_own_failure_lets_the_centre_report_again(tmp_path: Path) -> None:
    class Broken(ReportBook):
        def note_report(self, report: SmsReport) -> None:
            raise sa.exc.OperationalError("disk full", None, Exception())

    mood = Mood(receipts=True)
    with run_smsc(mood) as smsc:
        channel = open_channel(smsc, book=Broken(open_store(tmp_path), "smsc"))
        assert channel.deliver(write("a")).outcome is Outcome.SENT
        wait_until(lambda: mood.deliver_statuses == [0x64])
        channel.finish()


def test_a_late_answer_settles_the_doubt(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ledger = open_ledger(store, terms=Terms())
    fill(ledger, ["a"], channel="sms")
    mood = Mood(lambda number, _: "late")
    with run_smsc(mood) as smsc:
        channel = open_channel(smsc, book=ReportBook(store, "smsc"), timeout=1.0)
        stop = threading.Event()
        listener = threading.Thread(target=channel.listen, args=(stop,), kwargs={"pause": 0.05})
        listener.start()
        send_all(ledger, channel)
        assert count(ledger) == {"in_doubt": 1}
        with store.begin() as connection:
            assert settle_doubts(connection, 1) == 0
        mood.answers_late.set()
        wait_until(lambda: _count_known(store) == 1)
        stop.set()
        listener.join()
    with store.begin() as connection:
        assert settle_doubts(connection, 1) == 1
    assert count(ledger) == {"sent": 1}


def _count_known(store: Store) -> int:
    with store.begin() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(PROVIDER_MESSAGES)).scalar_one()


def test_listening_binds_again_and_brings_replies() -> None:
    heard: list[str] = []

    class Ear(ReportBook):
        def note_reply(self, reply: SmsReply) -> None:
            heard.append(f"{reply.sender} {reply.text}")

    with run_smsc() as smsc:
        channel = open_channel(smsc, book=Ear(None, "smsc"))  # type: ignore[arg-type]
        stop = threading.Event()
        listener = threading.Thread(target=channel.listen, args=(stop,), kwargs={"pause": 0.02})
        listener.start()
        wait_until(lambda: smsc.binds == 1)
        smsc.deliver("退订", coding=8)
        wait_until(lambda: len(heard) == 1)
        smsc.drop()
        wait_until(lambda: smsc.binds == 2 and len(smsc.connections) == 1)
        smsc.deliver("STOP")
        wait_until(lambda: len(heard) == 2)
        channel.finish()
        assert smsc.unbound == 0, "who listens stays bound"
        stop.set()
        listener.join()
        assert smsc.unbound == 1
    assert heard == ["8613800138000 退订", "8613800138000 STOP"]


def test_receipts_in_parameters_and_in_text() -> None:
    def build(text: str, parameters: dict[int, bytes] | None = None, esm_class: int = 4) -> ShortMessage:
        return ShortMessage("1", "2", text.encode(), esm_class=esm_class, parameters=parameters or {})

    assert read_delivery(build("id:00AB stat:DELIVRD err:000")) == SmsReport("ab", "delivered", "DELIVRD")
    assert read_delivery(build("id: 7 Stat: undeliv err: 21 text: id:8")) == SmsReport(
        "7", "failed", "UNDELIV 21"
    )
    told = {0x001E: b"ff\0", 0x0427: b"\x02", 0x0423: b"\x03\x00\x07"}
    assert read_delivery(build("", told, esm_class=0)) == SmsReport("ff", "delivered", "DELIVRD 7")
    assert read_delivery(build("id:255 stat:EXPIRED"), decimal_ids=True) == SmsReport(
        "ff", "failed", "EXPIRED"
    )
    assert read_delivery(build("nothing here")) is None


@given(st.binary(max_size=80))
def test_no_octets_from_outside_break_the_reader(octets: bytes) -> None:
    try:
        message = read_short_message(octets)
    except BadPacket:
        return
    read_delivery(message)
    if len(octets) >= 16:
        with suppress(BadPacket):
            assert 16 <= read_header(octets[:16])[0] <= 70_000


@given(st.text(alphabet="aZ9@£^€[客户😀 \n", max_size=700))
def test_parts_are_as_measured_and_read_back(text: str) -> None:
    encoded = encode_sms(text)
    assert len(encoded.parts) == max(1, measure_sms(text).segments)
    read = []
    for place, part in enumerate(encoded.parts, 1):
        header, octets = split_header(number_part(part, 7, place, len(encoded.parts)))
        assert header[-3:] == bytes((7, len(encoded.parts), place))
        read.append(decode_sms(encoded.coding, octets))
    assert "".join(read) == text, "no character is cut in two"


@given(st.builds(ShortMessage, source=st.from_regex("[0-9]{0,20}", fullmatch=True),
                 destination=st.from_regex("[0-9]{1,20}", fullmatch=True), octets=st.binary(max_size=254),
                 coding=st.integers(0, 255), esm_class=st.integers(0, 255)))  # fmt: skip
def test_a_short_message_is_read_as_it_was_written(message: ShortMessage) -> None:
    assert read_short_message(message.encode()) == message


def test_the_promise_is_what_it_says() -> None:
    assert SmppChannel.promise is Promise.BLIND
    assert encode_tlv(0x0427, b"\2") == b"\x04\x27\0\1\2"
