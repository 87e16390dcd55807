from __future__ import annotations

import email
from dataclasses import replace
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.deployment.channels.channel import Message
from aimwell.deployment.channels.mime import build_mail, identify_mail, prepare_data

MESSAGE = Message(
    delivery_id="ab" * 32,
    plan_id="plan 1",
    customer_id="c",
    recipient="li@customers.example",
    text="您好\n.\n再见",
    subject="生鲜8折",
    html="<p>您好</p>",
    name="李雷",
    unsubscribe_url="https://shop.example/unsubscribe/abc",
)
SENDER = "Aimwell 店 <news@shop.example>"


def read(mail: bytes) -> EmailMessage:
    parsed = email.message_from_bytes(mail, policy=default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def test_a_chinese_mail_reads_back() -> None:
    mail = read(build_mail(MESSAGE, SENDER))
    assert mail["Subject"] == "生鲜8折"
    assert mail["To"].addresses[0].display_name == "李雷"
    assert mail["From"].addresses[0].display_name == "Aimwell 店"
    assert part(mail, "plain").splitlines() == ["您好", ".", "再见"]
    assert part(mail, "html").strip() == "<p>您好</p>"
    assert mail["Message-ID"] == identify_mail(MESSAGE.delivery_id, SENDER) == f"<{'ab' * 32}@shop.example>"
    assert not mail.defects


def test_one_click_unsubscribe() -> None:
    mail = read(build_mail(MESSAGE, SENDER))
    assert mail["List-Unsubscribe"] == "<https://shop.example/unsubscribe/abc>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


def test_the_wire_form_is_seven_bit_and_doubles_dots() -> None:
    data = prepare_data(b"a\r\n.b\r\n")
    assert data == b"a\r\n..b\r\n.\r\n"
    built = prepare_data(build_mail(MESSAGE, SENDER))
    assert built.isascii() and b"\n" not in built.replace(b"\r\n", b"")
    assert max(len(line) for line in built.split(b"\r\n")) <= 998


@pytest.mark.parametrize(
    "evil", ["Li\r\nBcc: all@x.example", "Li\nSubject: x", "Li\r\n\r\nbody", "Li\u2028Bcc: a@b.example"]
)
def test_a_name_cannot_add_a_header(evil: str) -> None:
    mail = read(build_mail(replace(MESSAGE, name=evil, subject=evil, plan_id=evil), SENDER))
    assert mail["Bcc"] is None
    assert len(mail.get_all("Subject", [])) == 1
    assert part(mail, "plain").startswith("您好")


@pytest.mark.parametrize(
    "name",
    ["李雷", "Ann Lee", 'O"Neil, Ann', "a@b", "名" * 60, "Σ" * 30 + " x", "", "<x>", "=?utf-8?b?eA==?="],
)
def test_odd_names_survive(name: str) -> None:
    mail = read(build_mail(replace(MESSAGE, name=name), SENDER))
    assert mail["To"].addresses[0].addr_spec == "li@customers.example"
    assert len(mail["To"].addresses) == 1


@given(name=st.text(max_size=40), subject=st.text(max_size=80), text=st.text(max_size=200))
def test_any_text_makes_one_mail_with_the_same_headers(name: str, subject: str, text: str) -> None:
    mail = read(
        build_mail(replace(MESSAGE, name=name, subject=subject, text=text.replace("\ud800", "")), SENDER)
    )
    assert [address.addr_spec for address in mail["To"].addresses] == ["li@customers.example"]
    assert list(mail.keys()) == [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "X-Campaign",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "MIME-Version",
        "Content-Type",
    ]


@pytest.mark.parametrize(
    "address", ["a b@x.example", "a@x.example\r\nRCPT TO:<b@x.example>", "a@x.example, b@x.example", ""]
)
def test_a_bad_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError):
        build_mail(replace(MESSAGE, recipient=address), SENDER)
