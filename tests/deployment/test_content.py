from __future__ import annotations

from pathlib import Path

import pytest

from aimwell.core.errors import BadInput
from aimwell.core.text import LANGUAGES
from aimwell.deployment.content import PARTS, Content, Part, check_content, load_all, load_content, show_fold


def change(part: Part, source: str) -> Content:
    content = load_content("en")
    return Content("en", {**content.sources, part: source})


def codes(content: Content) -> set[str]:
    return {finding.code for finding in content.lint()}


def test_our_own_templates_are_clean() -> None:
    assert check_content(load_all()) == []
    for language in LANGUAGES:
        content = load_content(language)
        for part in PARTS:
            assert content.render(part, {"discount_percent": 20, "discount_fold": "8"})
            assert "{{" not in content.render(part, {})


def test_chinese_and_english_say_the_discount_their_way() -> None:
    values: dict[str, str | int | float | list[str]] = {
        "department": "生鲜",
        "discount_percent": 15,
        "discount_fold": show_fold(0.15),
    }
    assert "生鲜8.5折" in load_content("zh").render("subject.txt", values)
    assert "15% off" in load_content("en").render("subject.txt", {**values, "department": "Produce"})


def test_html_is_escaped_and_text_is_not() -> None:
    content = load_content("en")
    values: dict[str, str | int | float | list[str]] = {
        "customer_name": "<script>x</script>",
        "products": ["A & B"],
    }
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
        ("subject.txt", "{% include 'secret' %}", "cannot_render"),
    ],
)
def test_lint_finds_what_is_wrong(part: Part, source: str, code: str) -> None:
    assert code in codes(change(part, source))


def test_an_error_stops_and_a_warning_is_told() -> None:
    with pytest.raises(BadInput) as error:
        check_content({"en": change("sms.txt", "Buy!")})
    assert error.value.code == "deployment.content_no_opt_out"
    assert len(check_content({"en": change("sms.txt", "STOP " * 100)})) == 1


def test_the_sandbox_ends_what_does_not_end() -> None:
    for source in (
        "{% for i in (1..99999999) %}{% endfor %}",
        "{% assign x = 'ab' %}{% for i in (1..900) %}{% assign x = x | append: x %}{% endfor %}",
        "{{ customer_name.__class__.__mro__ }}x{% for i in (1..900) %}{% for j in (1..900) %}y{% endfor %}{% endfor %}",
    ):
        with pytest.raises(ValueError, match="en/"):
            change("subject.txt", source).render("subject.txt", {})
    assert change("subject.txt", "a{{ customer_name.__class__ }}").render("subject.txt", {}) == "a"


def test_a_workspace_brings_its_own(tmp_path: Path) -> None:
    (tmp_path / "zh").mkdir()
    (tmp_path / "zh" / "subject.txt").write_text("特惠", encoding="utf-8")
    contents = load_all(tmp_path)
    assert contents["zh"].render("subject.txt", {}) == "特惠"
    assert contents["en"].sources == load_content("en").sources
    (tmp_path / "zh" / "subject.txt").write_bytes("特惠".encode("gb18030"))
    with pytest.raises(BadInput):
        load_all(tmp_path)
    (tmp_path / "zh" / "subject.txt").write_text("{% if %}", encoding="utf-8")
    with pytest.raises(BadInput):
        load_all(tmp_path)
