from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import BadInput
from aimwell.core.text import LANGUAGES
from aimwell.deployment.content import (
    Content,
    Part,
    RenderError,
    check_content,
    lint_content,
    load_all,
    load_packaged,
    show_fold,
)
from aimwell.deployment.content.lint import make_sample

LINK = {"unsubscribe_url": "https://shop.example/u", "valid_until": "31 December 2030"}


def change(part: Part, source: str) -> Content:
    content = load_packaged("en")
    return Content("en", {**content.sources, part: source})


def codes(content: Content) -> set[str]:
    return {finding.code for finding in lint_content(content)}


def test_our_own_templates_are_clean() -> None:
    assert check_content(load_all()) == []
    for language in LANGUAGES:
        content = load_packaged(language)
        for part in content.templates:
            assert content.render(part, make_sample(content))
            # A customer of whom nothing is known gets a whole message, too.
            plain = content.render(part, LINK)
            assert plain
            assert "{{" not in plain


def test_chinese_and_english_say_the_discount_their_way() -> None:
    values: dict[str, Any] = {
        **LINK,
        "department": "生鲜",
        "discount_percent": 15,
        "discount_fold": show_fold(0.15),
    }
    assert "生鲜8.5折" in load_packaged("zh").render("subject.txt", values)
    assert "15% off" in load_packaged("en").render("subject.txt", {**values, "department": "Produce"})


def test_html_is_escaped_and_text_is_not() -> None:
    content = load_packaged("en")
    values: dict[str, Any] = {**LINK, "customer_name": "<script>x</script>", "products": ["A & B"]}
    assert "<script>" not in content.render("email.html", values)
    assert "A &amp; B" in content.render("email.html", values)
    assert "A & B" in content.render("email.txt", values)


@pytest.mark.parametrize(
    ("part", "source", "code"),
    [
        ("email.txt", "Hello {{ customer_nam }} {{ unsubscribe_url }}", "unknown_variable"),
        ("email.html", "<p>Hello</p>", "no_unsubscribe"),
        ("email.txt", "Hello", "no_unsubscribe"),
        ("sms.txt", "Buy!", "no_opt_out"),
        ("sms.txt", "客" * 200 + "退订", "long_sms"),
        ("subject.txt", "  ", "empty"),
        ("subject.txt", "{% for i in (1..100000) %}x{% endfor %}", "cannot_render"),
        ("subject.txt", "x" * 79, "long_line"),
    ],
)
def test_lint_finds_what_is_wrong(part: Part, source: str, code: str) -> None:
    assert code in codes(change(part, source))


def test_an_error_stops_and_a_warning_is_told() -> None:
    with pytest.raises(BadInput) as error:
        check_content({"en": change("sms.txt", "Buy!")})
    assert error.value.code == "deployment.content_no_opt_out"
    assert len(check_content({"en": change("sms.txt", "STOP " * 100)})) == 1


def test_a_gap_is_never_sent() -> None:
    content = change("email.txt", "Dear {{ customer_name }},")
    assert content.render("email.txt", {"customer_name": "Ann"}) == "Dear Ann,"
    for missing in ({}, {"customer_name": None}, {"customer_name": "  "}, {"customer_name": "\u200f\x00"}):
        with pytest.raises(RenderError) as error:
            content.render("email.txt", missing)
        assert error.value.missing == "customer_name"
    kind = change("email.txt", "Dear {{ customer_name | default: 'customer' }},")
    assert kind.render("email.txt", {}) == "Dear customer,"
    asked = change(
        "email.txt", "{% if customer_name != '' %}Dear {{ customer_name }}{% else %}Hello{% endif %}"
    )
    assert asked.render("email.txt", {}) == "Hello"
    truthy = change("email.txt", "{% if customer_name %}Dear {{ customer_name }}{% else %}Hello{% endif %}")
    assert truthy.render("email.txt", {}) == "Hello"
    assert truthy.render("email.txt", {"customer_name": "Ann"}) == "Dear Ann"


def test_a_workspace_brings_its_own(tmp_path: Path) -> None:
    (tmp_path / "zh").mkdir()
    (tmp_path / "zh" / "subject.txt").write_text("特惠", encoding="utf-8-sig")
    contents = load_all(tmp_path)
    assert contents["zh"].render("subject.txt", {}) == "特惠"
    assert contents["en"].sources == load_packaged("en").sources
    (tmp_path / "zh" / "subject.txt").write_bytes("特惠".encode("gb18030"))
    with pytest.raises(BadInput):
        load_all(tmp_path)
    (tmp_path / "zh" / "subject.txt").write_text("{% if %}", encoding="utf-8")
    with pytest.raises(BadInput) as error:
        load_all(tmp_path)
    assert error.value.where == {"file": "zh/subject.txt", "line": 1}
