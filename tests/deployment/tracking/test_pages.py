"""The pages: both languages, no scripts, every field labelled, everything escaped, the policy strict."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from aimwell.core.text import LANGUAGES, Language
from aimwell.deployment.tracking.answers import Answer
from aimwell.deployment.tracking.endpoints import Manner, Tracking
from aimwell.deployment.tracking.markup import Html, join, tag
from aimwell.deployment.tracking.pages import Title
from aimwell.deployment.unsubscribe import sign_preferences_token, sign_token
from aimwell.engine.permissions import Suppression, add_suppression
from tests.deployment.scene import open_store
from tests.deployment.tracking.scene import AT, RING, TOPICS, ask, open_tracking, permit

EMPTY = {"meta", "input", "br", "img", "link"}


class _Page(HTMLParser):
    """Elements in order with their attributes; fails on tags that do not close in order."""

    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.labelled: list[str] = []
        self._open: list[str] = []
        self.feed(body.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute twice: {attrs}"
        self.elements.append((tag, values))
        if tag == "input" and values.get("type") != "hidden":
            assert "label" in self._open, f"a field without a label: {values}"
        if tag in ("input", "button"):
            assert "form" in self._open
        if tag == "input" and values.get("type") == "radio":
            assert "fieldset" in self._open
        if tag not in EMPTY:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def list_tags(self) -> set[str]:
        return {name for name, _ in self.elements}

    def find(self, wanted: str) -> list[dict[str, str | None]]:
        return [values for name, values in self.elements if name == wanted]


def list_answers(folder: Path, language: Language, business: str = "Shop") -> dict[str, Answer]:
    """Every page that there is."""
    store = open_store(folder)
    tracking = Tracking(store, lambda: RING, Manner(business, language, topics=TOPICS), None)
    permit(store, "c1", "email", "sms", "wechat", "call", "mail", "push", "web")
    with store.begin() as connection:
        add_suppression(connection, Suppression("c1", "push", "cli", AT))
    token = sign_token(RING, customer_id="c1", channel="email", language=language)
    central = sign_preferences_token(RING, customer_id="c1", language=language)
    answers = {
        "question": tracking.show_unsubscribe(token, ask()),
        "centre": tracking.show_preferences(central, ask()),
        "ended": tracking.post_unsubscribe(token, ask(method="POST"), {"List-Unsubscribe": "One-Click"}),
        "ended before": tracking.show_unsubscribe(token, ask(AT + 1)),
    }
    ticket = _find_ticket(answers["ended before"])
    form = {"action": "subscribe", "ticket": ticket}
    answers["begun"] = tracking.post_unsubscribe(token, ask(AT + 2, "POST"), form)
    shown = _find_ticket(tracking.show_preferences(central, ask(AT + 3)))
    saved = {"action": "save", "ticket": shown, "channel": ["sms"], "frequency": "1/30", "language": "en"}
    answers["saved"] = tracking.post_preferences(central, ask(AT + 4, "POST"), {**saved, "lang": language})
    hit = ask(query={"lang": language})
    answers["stopped"] = tracking.post_preferences(
        central, ask(AT + 5, "POST", query={"lang": language}), {"action": "stop"}
    )
    answers["bad link"] = tracking.show_unsubscribe("x", hit)
    answers["bad form"] = tracking.post_unsubscribe(token, ask(method="POST", query={"lang": language}), {})
    return answers


def _find_ticket(answer: Answer) -> str:
    found = re.search(r'name="ticket" value="([^"]+)"', answer.body.decode())
    assert found is not None
    return found[1]


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_are_sound_documents_without_scripts(tmp_path: Path, language: Language) -> None:
    answers = list_answers(tmp_path, language)
    for name, answer in answers.items():
        page = _Page(answer.body)
        assert not page.list_tags() & {"script", "iframe", "img", "link", "object", "base"}, name
        assert not any(
            key.startswith("on") or key == "style" for _, values in page.elements for key in values
        )
        assert page.find("html")[0]["lang"] == {"en": "en", "zh": "zh-Hans"}[language], name
        assert len(page.find("h1")) == len(page.find("title")) == len(page.find("main")) == 1
        assert page.find("meta")[1]["content"] == "width=device-width, initial-scale=1"
        assert all(form["method"] == "post" and "action" not in form for form in page.find("form"))
        # The switch goes to the other language, and says so in it.
        switch = page.find("a")[0]
        assert switch["lang"] == switch["hreflang"] == {"en": "zh-Hans", "zh": "en"}[language]
    assert {name: answer.status for name, answer in answers.items() if answer.status != 200} == {
        "bad link": 404,
        "bad form": 400,
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_word_is_in_the_language_of_the_page(tmp_path: Path, language: Language) -> None:
    for name, answer in list_answers(tmp_path, language).items():
        text = re.sub(
            r"<style>.*?</style>|<header>.*?</header>|<title>.*?</title>|<[^>]+>",
            " ",
            answer.body.decode(),
            flags=re.S,
        )
        words = text.replace("English", "").replace("Shop", "").replace("中文", "")
        other = r"[a-zA-Z]{2,}" if language == "zh" else r"[\u4e00-\u9fff]"
        assert re.findall(other, words) == [], name
        assert re.search(r"[\u4e00-\u9fff]" if language == "zh" else r"[a-z]{3,}", words), name


def test_the_policy_allows_the_style_sheet_and_nothing_else(tmp_path: Path) -> None:
    for answer in list_answers(tmp_path, "en").values():
        headers = dict(answer.headers)
        style = re.search(r"<style>(.*?)</style>", answer.body.decode(), re.S)
        assert style is not None
        digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
        policy = headers["Content-Security-Policy"]
        assert policy.split("; ") == [
            "default-src 'none'",
            f"style-src 'sha256-{digest}'",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ]
        assert "url(" not in style[1] and "@import" not in style[1]
        assert headers["Cache-Control"] == "no-store" and headers["Referrer-Policy"] == "no-referrer"
        assert headers["X-Content-Type-Options"] == "nosniff" and headers["Content-Type"].endswith("utf-8")


def test_a_name_cannot_write_the_page(tmp_path: Path) -> None:
    evil = "\"><script>alert(1)</script><a href='javascript:x'>&amp;"
    for answer in list_answers(tmp_path, "en", business=evil).values():
        page = _Page(answer.body)
        assert "script" not in page.list_tags()
        assert not any("javascript" in str(values.get("href")) for values in page.find("a"))
        assert b"&lt;script&gt;" in answer.body


def test_topics_are_the_workspaces_words(tmp_path: Path) -> None:
    page = list_answers(tmp_path, "zh")["centre"].body.decode()
    assert "优惠" in page and "Offers" not in page
    assert Title.of(en="<b>", zh="粗").both() == {"en": "<b>", "zh": "粗"}


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-Hans"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("fr,de;q=0.9,zh;q=0.1", "zh-Hans"),
        ("en;q=0.2,zh;q=0.7", "zh-Hans"),
        ("zh;q=0,en;q=0.1", "en"),
        ("fr", "en"),
        (";;;q=x,,", "en"),
        ("zh" * 100_000, "en"),
        ("", "en"),
    ],
)
def test_the_browser_says_which_language_where_the_message_did_not(
    tmp_path: Path, accepted: str, language: str
) -> None:
    tracking = open_tracking(open_store(tmp_path))
    token = sign_token(RING, customer_id="c1", channel="email")
    answer = tracking.show_unsubscribe(token, ask(headers={"accept-language": accepted}))
    assert dict(answer.headers)["Content-Language"] == language


def test_the_message_and_the_switch_come_before_the_browser(tmp_path: Path) -> None:
    tracking = open_tracking(open_store(tmp_path))
    token = sign_token(RING, customer_id="c1", channel="email", language="zh")
    english = {"accept-language": "en"}
    for query, language in (({}, "zh-Hans"), ({"lang": "en"}, "en"), ({"lang": "xx"}, "zh-Hans")):
        answer = tracking.show_unsubscribe(token, ask(headers=english, query=query))
        assert dict(answer.headers)["Content-Language"] == language


def test_a_head_request_gets_headers_alone(tmp_path: Path) -> None:
    answer = open_tracking(open_store(tmp_path)).show_unsubscribe("x", ask(method="HEAD"))
    assert (answer.status, answer.body) == (404, b"")


def test_elements_escape_what_is_no_markup() -> None:
    assert tag("p", "<b>", Html("<i></i>"), title='"x"') == '<p title="&quot;x&quot;">&lt;b&gt;<i></i></p>'
    assert tag("input", type="checkbox", checked=True, disabled=False) == '<input type="checkbox" checked>'
    assert join("a & b", Html("&amp;")) == "a &amp; b&amp;"
