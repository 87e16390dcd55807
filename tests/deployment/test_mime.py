from __future__ import annotations

import email
from dataclasses import replace
from email.header import decode_header, make_header
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


def test_every_mail_has_words_without_html() -> None:
    html = (
        "<html><head><style>p{color:red}</style><title>x</title></head><body><h1>您好 &amp; 再见</h1>"
        '<ul><li>苹果</li><li>牛奶</li></ul><p>去<a href="https://shop.example/a">商店</a><br>再见</p>'
        '<img src="x.png" alt="图"><script>alert(1)</script></body></html>'
    )
    mail = read(build_mail(replace(MESSAGE, text="", html=html), SENDER))
    words = part(mail, "plain")
    assert words.split() == [
        "您好",
        "&",
        "再见",
        "-",
        "苹果",
        "-",
        "牛奶",
        "去商店",
        "(https://shop.example/a)",
        "再见",
        "图",
    ]
    assert "alert" not in words and "color" not in words


def test_further_headers_are_added_and_own_ones_kept() -> None:
    headers = {
        "Reply-To": "shop@shop.example",
        "X-Note": "李\r\nBcc: a@b.example",
        "subject": "other",
        "Bcc": "a@b.example",
    }
    mail = read(build_mail(replace(MESSAGE, headers=headers), SENDER))
    assert mail["Reply-To"] == "shop@shop.example" and mail["X-Note"] == "李 Bcc: a@b.example"
    assert mail["Subject"] == MESSAGE.subject and mail["Bcc"] is None
    with pytest.raises(ValueError):
        build_mail(replace(MESSAGE, headers={"X: y\r\nBcc": "a@b.example"}), SENDER)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1, max_size=120))
def test_subjects_and_names_read_back_whole(text: str) -> None:
    words = f"名{text}"
    raw = build_mail(replace(MESSAGE, subject=words, name=words), SENDER)
    # As RFC 2047 says it: the fold between two encoded words is no space.
    to = str(make_header(decode_header(email.message_from_bytes(raw)["To"])))
    assert read(raw)["Subject"] == words and to == f"{words} <li@customers.example>"
    assert [address.addr_spec for address in read(raw)["To"].addresses] == ["li@customers.example"]
    assert max(len(line) for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")) <= 200


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Zl", "Zp")), max_size=3000))
def test_bodies_read_back_whole(text: str) -> None:
    raw = build_mail(replace(MESSAGE, text=text + "。", html=""), SENDER)
    assert part(read(raw), "plain").rstrip("\r\n") == text + "。"
    assert max(len(line) for line in raw.split(b"\r\n\r\n", 1)[1].split(b"\r\n")) <= 76
