"""Texts that parts include: in both languages and each variant, within the sandbox's limits, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.content import Content, RenderError, lint_content
from aimwell.deployment.content.definition import Definition, read_definition
from aimwell.deployment.content.folder import list_folders, read_folder, write_folder
from aimwell.deployment.content.library import load_library, save_content
from aimwell.deployment.content.lint import lint_definition
from aimwell.deployment.content.sandbox import MOST_SOURCE
from aimwell.deployment.content.snippets import expand
from aimwell.engine.workspace import Workspace

HALVES = [{"name": "a", "share": 0.5}, {"name": "b", "share": 0.5}]
PARTS = {
    "en/sms.txt": "Hi {{ customer_name }}!{% include 'footer' %}",
    "en/_footer.liquid": '\n{% include "sign" %} STOP to opt out',
    "en/_sign.liquid": "{{ business }},",
    "en/b/_sign.liquid": "Yours, {{ business }},",
    "zh/sms.txt": "{{ customer_name }}您好{%- include 'footer' -%}   ",
    "zh/_footer.liquid": "，{{ business }} 拒收请回复R",
}


def define(parts: dict[str, str], **changes: Any) -> Definition:
    return read_definition("news", {"parts": parts, **changes})


def write_sms(text: str, **snippets: str) -> Content:
    return Content("en", {"sms.txt": text}, snippets=snippets)


def fail(text: str, **snippets: str) -> str:
    """The code of the error, after what it says."""
    with pytest.raises(BadInput) as caught:
        write_sms(text, **snippets)
    return f"{caught.value.code} {caught.value.message}"


def test_each_language_and_variant_has_its_own() -> None:
    definition = define(PARTS, variants=HALVES)
    values = {"customer_name": "Ann", "business": "Shop"}
    said = {
        (language, variant): definition.build(language, variant=variant).render("sms.txt", values)
        for language in definition.languages
        for variant in ("a", "b")
    }
    assert said == {
        ("en", "a"): "Hi Ann!\nShop, STOP to opt out",
        ("en", "b"): "Hi Ann!\nYours, Shop, STOP to opt out",
        ("zh", "a"): "Ann您好，Shop 拒收请回复R",
        ("zh", "b"): "Ann您好，Shop 拒收请回复R",
    }
    assert "business" in definition.build("en").templates["sms.txt"].names
    assert [finding.code for finding in lint_definition(definition) if finding.severity == "error"] == []


def test_a_snippet_alone_is_no_language() -> None:
    assert define({"en/sms.txt": "x", "zh/_footer.liquid": "y"}).languages == ("en",)
    with pytest.raises(BadInput):
        define({"zh/_footer.liquid": "y"})


@pytest.mark.parametrize(
    "name",
    [
        "../../secret",
        "/etc/passwd",
        "..",
        "a/b",
        "A",
        "",
        " footer",
        "footer.liquid",
        "_footer",
        "x" * 65,
        "ａ",
    ],
)
def test_a_name_is_no_path(name: str, tmp_path: Path) -> None:
    assert fail(f"{{% include '{name}' %}}", footer="f").startswith("deployment.no_snippet ")
    folder = tmp_path / "content" / "news"
    (folder / "en").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "_secret.liquid").write_text("secret")
    (folder / "en" / "sms.txt").write_text(f"{{% include '{name}' %}}")
    assert set(read_folder(folder).parts) == {"en/sms.txt"}


@pytest.mark.parametrize(
    "text",
    [
        "{% include name %}",
        "{% include customer_name %}",
        "{% render 'footer' %}",
        "{%- render 'footer' -%}",
        "{% include 'footer' with products %}",
        "{% include 'footer', a: 1 %}",
        "{% include 'foo\nter' %}",
        "{% include %}",
    ],
)
def test_nothing_but_a_name_that_is_written_out_is_included(text: str) -> None:
    assert "write include with a name in quotes" in fail(text, footer="f", name="n")


def test_what_a_customer_is_called_includes_nothing() -> None:
    content = write_sms("Hi {{ customer_name }}", footer="secret")
    assert (
        content.render("sms.txt", {"customer_name": "{% include 'footer' %}"}) == "Hi {% include 'footer' %}"
    )


@pytest.mark.parametrize(
    ("snippets", "circle"),
    [
        ({"a": "{% include 'a' %}"}, "a → a"),
        ({"a": "x {% include 'b' %}", "b": "{% include 'c' %}", "c": "{% include 'b' %}"}, "b → c → b"),
    ],
)
def test_what_includes_itself_is_refused(snippets: dict[str, str], circle: str) -> None:
    assert f"deployment.snippet_circle en/sms.txt: {circle} include each other." == fail(
        "{% include 'a' %}", **snippets
    )


def test_twice_is_no_circle() -> None:
    content = write_sms("{% include 'a' %}{% include 'b' %}{% include 'a' %}", a="1", b="{% include 'a' %}2")
    assert content.render("sms.txt", {}) == "1121"


def test_limits_hold_for_the_whole() -> None:
    many = {f"s{level}": f"{{% include 's{level + 1}' %}}" * 10 for level in range(9)} | {"s9": ""}
    assert "includes" in fail("{% include 's0' %}", **many)
    half = "x" * (MOST_SOURCE // 2 + 1)
    assert "longer than" in fail("{% include 'a' %}{% include 'a' %}", a=half)
    loops = "{% for i in (1..1000) %}{% for j in (1..1000) %}x{% endfor %}{% endfor %}"
    with pytest.raises(RenderError, match="limit reached"):
        write_sms("{% include 'a' %}{% include 'a' %}", a=loops).render("sms.txt", {})
    assert "deployment.template_invalid" in fail(
        "{% include 'a' %}", a="{% tablerow i in products %}{% endtablerow %}"
    )


def test_values_in_a_snippet_are_escaped_where_it_comes_to_stand() -> None:
    page = "<p>{% include 'name' %}</p><a href=\"{{ unsubscribe_url }}\">x</a>"
    content = Content("en", {"email.html": page}, snippets={"name": "{{ customer_name }}"})
    values = {"customer_name": "<img src=x onerror=alert(1)>", "unsubscribe_url": "https://x.example/u"}
    assert "&lt;img" in content.render("email.html", values)


def test_a_problem_is_named_where_it_stands() -> None:
    parts = {
        "en/sms.txt": "Hi\n{% include 'a' %}\n{{ nonsense }} STOP",
        "en/_a.liquid": "first\n{{ unknown }}\n",
    }
    found = {(one.code, one.place, one.line) for one in lint_content(define(parts).build("en"))}
    assert ("unknown_variable", "news/en/_a.liquid", 2) in found
    assert ("unknown_variable", "news/en/sms.txt", 3) in found
    said = define({"en/sms.txt": "STOP\n{% include 'a' %}", "en/_a.liquid": "1\n2 全网最低"}).build("en")
    assert ("forbidden_word", "news/en/_a.liquid", 2) in {
        (one.code, one.place, one.line) for one in lint_content(said)
    }
    with pytest.raises(BadInput) as caught:
        define({"en/sms.txt": "1\n2\n{% include 'a' %}", "en/_a.liquid": "x\n{% if %}"}).build("en")
    assert caught.value.where == {"file": "news/en/_a.liquid", "line": 2}


def test_a_missing_one_is_named_when_the_content_is_brought_in(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", name="Shop")
    definition = define(
        {"zh/sms.txt": "{% include 'footer' %} R", "en/_footer.liquid": "of the other language"}
    )
    with pytest.raises(BadInput, match=r"news/zh/sms\.txt includes 'footer', which there is not"):
        save_content(workspace.store, definition)
    workspace.close()


def test_shared_ones_become_part_of_a_version(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", name="Shop")
    root = tmp_path / "w" / "content"
    for place, text in {
        "news/zh/sms.txt": "新品{% include 'footer' %}",
        "_shared/zh/_footer.liquid": "，{% include 'stop' %}",
        "_shared/zh/_stop.liquid": "拒收请回复R",
        "_shared/zh/_unused.liquid": "不用",
        "_shared/en/_footer.liquid": "STOP",
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(text, encoding="utf-8")
    assert [path.name for path in list_folders(root)] == ["news"]
    definition = read_folder(root / "news")
    assert set(definition.parts) == {"zh/sms.txt", "zh/_footer.liquid", "zh/_stop.liquid"}
    assert save_content(workspace.store, definition) == 1
    before = load_library(workspace).list_sources(["news"])
    # What was kept stays as it was; brought in again it is a new version, which no approval of the old one covers.
    (root / "_shared/zh/_stop.liquid").write_text("退订回T", encoding="utf-8")
    kept = load_library(workspace).get("news", "zh")
    assert kept.render("sms.txt", {}) == "新品，拒收请回复R"
    assert save_content(workspace.store, read_folder(root / "news")) == 2
    assert load_library(workspace).get("news", "zh").render("sms.txt", {}) == "新品，退订回T"
    assert load_library(workspace).list_sources(["news"]) != before
    # An export stands for itself: it needs no shared folder.
    assert read_folder(write_folder(tmp_path / "out", definition)) == definition
    workspace.close()


def test_a_shared_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    for place in ("news/en", "_shared/en"):
        (tmp_path / place).mkdir(parents=True)
    (tmp_path / "news/en/sms.txt").write_text("{% include 'a' %} STOP")
    os.symlink(tmp_path / "secret", tmp_path / "_shared/en/_a.liquid")
    with pytest.raises(BadInput, match="no part of a content"):
        read_folder(tmp_path / "news")


@given(st.lists(st.sampled_from(["x\n", "y", "\n", "{% include 'a' %}", "{% include 'b' %}"]), max_size=8))
def test_each_line_is_known_by_its_own_text(pieces: list[str]) -> None:
    snippets = {"a": "a1\na2", "b": "b1\nb2\n"}
    expanded = expand("p", "".join(pieces), snippets)
    lines = expanded.text.split("\n")
    assert len(lines) == len(expanded.lines)
    for text, (name, line) in zip(lines, expanded.lines, strict=True):
        if name:
            assert text.startswith(snippets[name].split("\n")[line - 1])
