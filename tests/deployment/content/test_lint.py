"""Lint says what is wrong, how grave it is and where."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from aimwell.deployment.content import Content, lint_content
from aimwell.deployment.content.definition import Definition, read_definition
from aimwell.deployment.content.findings import Finding
from aimwell.deployment.content.links import judge_link
from aimwell.deployment.content.lint import count_columns, lint_definition, measure_content
from aimwell.deployment.content.wording import find_forbidden

MAIL = '<p>Hi {{ customer_name | default: "you" }}</p>\n%s\n<a href="{{ unsubscribe_url }}">leave</a>'


def define(**body: Any) -> Definition:
    return read_definition("news", {"parts": {"en/sms.txt": "Sale! Reply STOP to opt out."}, **body})


def lint_mail(html: str) -> list[Finding]:
    return lint_content(Content("en", {"email.html": MAIL % html}))


@pytest.mark.parametrize(
    ("html", "code", "severity"),
    [
        ('<a href="/sale">x</a>', "relative_link", "error"),
        ('<a href="http://localhost:8000/sale">x</a>', "local_link", "error"),
        ('<a href="https://192.168.1.4/sale">x</a>', "local_link", "error"),
        ('<a href="https://shop example/sale">x</a>', "broken_link", "error"),
        ('<a href="https://shop">x</a>', "broken_link", "error"),
        ('<a href="htps://shop.example">x</a>', "broken_link", "error"),
        ('<a href="#">x</a>', "relative_link", "error"),
        ('<a href="http://shop.example/sale">x</a>', "unsafe_link", "warning"),
        ('<img src="https://shop.example/a.png">', "no_alt", "warning"),
        ('<img src="a.png" alt="">', "relative_link", "error"),
        ("<script>1</script>", "active", "error"),
        ('<p onclick="x()">x</p>', "active", "error"),
        ('<a href="javascript:x()">x</a>', "active", "error"),
        ("<form></form>", "active", "error"),
        ("<p title={{ business }}>x</p>", "bare_value", "error"),
        ('<a href="{{ business }}">x</a>', "open_link", "error"),
        ('<a href="https://shop.example/{{ nothing }}">x</a>', "unknown_variable", "error"),
        ("<p>{{ reason }}</p>", "may_be_missing", "warning"),
        ("<p>全网最低</p>", "forbidden_word", "warning"),
    ],
)
def test_what_is_wrong_is_found_on_its_line(html: str, code: str, severity: str) -> None:
    findings = [finding for finding in lint_mail(html) if finding.code == code]
    assert findings, [finding.code for finding in lint_mail(html)]
    assert {finding.severity for finding in findings} == {severity}
    assert findings[0].place == "en/email.html"
    assert findings[0].line == 2
    assert findings[0].message.render("zh") != findings[0].message.render("en")


def test_a_right_mail_has_no_findings() -> None:
    right = (
        '<a href="https://shop.example/{{ business | url_encode }}?a=1#b">x</a><a href="mailto:a@shop.example">m</a>'
        '<img src="https://shop.example/a.png" alt="">{% if reason != "" %}{{ reason }}{% endif %}'
    )
    assert lint_mail(right) == []


def test_large_mails_are_found_before_gmail_clips_them() -> None:
    assert [finding.code for finding in lint_mail("<p>x</p>" * 9_000)] == []
    assert [finding.code for finding in lint_mail("<p>x</p>" * 11_500)] == ["long_mail"]
    assert [finding.code for finding in lint_mail("<p>x</p>" * 13_500)] == ["too_long_mail"]


def test_an_sms_is_measured_at_its_longest_with_its_cost() -> None:
    text = "{{ city }}：{{ business }} 新品上市，回复TD退订"
    definition = define(
        parts={"zh/sms.txt": text, "en/sms.txt": "Sale in {{ city }}! Reply STOP to opt out."},
        variables={
            "city": {"from": "customers.city", "default": "本地", "longest": "乌" * 60, "example": "上海"}
        },
    )
    longest = measure_content(definition.build("zh"), Decimal("0.05"))
    assert longest is not None
    assert (longest.length.encoding, longest.length.segments, longest.cost) == ("UCS-2", 2, Decimal("0.10"))
    short = measure_content(Content("en", {"sms.txt": "Sale! Reply STOP to opt out."}), Decimal("0.05"))
    assert short is not None
    assert (short.length.encoding, short.length.segments, short.cost) == ("GSM-7", 1, Decimal("0.05"))


def test_one_curly_apostrophe_is_named() -> None:
    findings = lint_content(Content("en", {"sms.txt": "It’s on! Reply STOP to opt out."}))
    assert [(finding.code, finding.severity) for finding in findings] == [("one_sign", "warning")]
    assert "’" in findings[0].message.render("en")


def test_a_content_is_linted_in_all_its_languages_and_variants() -> None:
    definition = define(
        parts={
            "en/subject.txt": "Hello",
            "en/b/subject.txt": "Hello {{ nick }}",
            "en/email.txt": "Hi. {{ unsubscribe_url }}",
            "zh/sms.txt": "特惠",
        },
        variants=[{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}],
        variables={"spare": {}},
    )
    found = {(finding.code, finding.place) for finding in lint_definition(definition)}
    assert found == {
        ("unknown_variable", "news/en/b/subject.txt"),
        ("no_part", "news/en/email.html"),
        ("no_opt_out", "news/zh/sms.txt"),
        ("unused_variable", "news/content.toml"),
    }


def test_words_of_advertising_law_are_found_longest_first() -> None:
    assert find_forbidden("全网最低\n国家级产品，最好", ["仙丹"]) == [
        ("全网最低", 1),
        ("国家级", 2),
        ("最好", 2),
    ]
    assert find_forbidden("这是仙丹", ["仙丹"]) == [("仙丹", 1)]
    assert find_forbidden("好产品") == []


def test_columns_are_counted_as_they_are_shown() -> None:
    assert (count_columns("abc"), count_columns("中文"), count_columns("，")) == (3, 4, 2)


@pytest.mark.parametrize(
    "address", ["https://shop.example", "tel:+861012345678", "https://商店.example/a", "sms:10086"]
)
def test_right_links_are_right(address: str) -> None:
    assert judge_link(address) is None
