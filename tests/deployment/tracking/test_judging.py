"""Machines are told from people, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.text import LANGUAGES
from aimwell.deployment.tracking.agents import MACHINES, classify_agent
from aimwell.deployment.tracking.judging import REASONS, Seen, Verdict, classify, rejudge
from tests.deployment.tracking.scene import PERSON

CHROME = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36"


@pytest.mark.parametrize(
    ("agent", "expected"),
    [
        (PERSON, "phone"),
        (CHROME, "desktop"),
        ("Mozilla/5.0 (iPad; CPU OS 17_0 like Mac OS X) AppleWebKit/605.1.15", "tablet"),
        ("Mozilla/5.0 (Linux; Android 14; SM-X700) AppleWebKit/537.36 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 Mobile Safari/537.36", "phone"),
        (PERSON + " MicroMessenger/8.0.49 NetType/WIFI Language/zh_CN", "wechat"),
        ("Microsoft Outlook 16.0.17628", "desktop"),
        ("Mozilla/5.0", "privacy_proxy"),
        (
            "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
            "image_proxy",
        ),
        ("YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html", "image_proxy"),
        ("Barracuda Sentinel (EE)", "scanner"),
        ("Mozilla/5.0 (Windows NT 10.0) Proofpoint-URL-Defense", "scanner"),
        ("facebookexternalhit/1.1", "preview"),
        ("Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)", "preview"),
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "bot"),
        ("Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)", "bot"),
        ("curl/8.5.0", "program"),
        ("python-requests/2.32", "program"),
        ("Go-http-client/2.0", "program"),
        (CHROME.replace("Chrome", "HeadlessChrome"), "program"),
        ("", "none"),
        ("   ", "none"),
        ("Something else entirely", "other"),
        ("\udcff\x00", "other"),
        ("x" * 1_000_000, "other"),
    ],
)
def test_programs_are_known_by_their_names(agent: str, expected: str) -> None:
    assert classify_agent(agent, {}) == expected


@pytest.mark.parametrize(
    "header", [{"purpose": "prefetch"}, {"sec-purpose": "prefetch;prerender"}, {"x-purpose": "preview"}]
)
def test_prefetching_is_no_visit(header: dict[str, str]) -> None:
    assert classify_agent(CHROME, header) == "preview"
    assert classify("click", "preview").machine


def test_one_request_by_itself() -> None:
    assert classify("click", "phone", since_sent_ms=60_000) == Verdict(False)
    assert classify("click", "phone", since_sent_ms=1_500) == Verdict(True, "too_soon")
    assert classify("click", "phone", since_sent_ms=-5) == Verdict(True, "too_soon")
    assert classify("open", "phone", since_sent_ms=1_500) == Verdict(False)
    assert classify("click", "phone", method="HEAD") == Verdict(True, "head")
    assert classify("open", "image_proxy") == Verdict(False, "image_proxy")
    assert classify("open", "privacy_proxy") == Verdict(True, "privacy_proxy")
    assert classify("honeypot", "phone") == Verdict(True, "honeypot")


def test_every_reason_has_words_in_both_languages() -> None:
    assert set(REASONS) >= MACHINES | {"head", "too_soon", "burst", "honeypot", "image_proxy"}
    for language in LANGUAGES:
        assert len({text.render(language) for text in REASONS.values()}) == len(REASONS)


def see(
    name: str, kind: str = "click", place: int = 0, at_ms: int = 0, visitor: str = "v", machine: bool = False
) -> Seen:
    return Seen(name, kind, place, at_ms, visitor, "phone", machine)


def test_two_links_within_a_second_are_a_machines() -> None:
    hits = [see("a", place=0, at_ms=0), see("b", place=1, at_ms=900), see("c", place=2, at_ms=5_000)]
    assert rejudge(hits) == {"a": Verdict(True, "burst"), "b": Verdict(True, "burst")}


def test_the_same_link_twice_is_a_double_click() -> None:
    assert rejudge([see("a", at_ms=0), see("b", at_ms=100)]) == {}


def test_two_people_who_click_at_once_are_people() -> None:
    assert rejudge([see("a", place=0, visitor="v"), see("b", place=1, visitor="w")]) == {}


def test_the_hidden_link_gives_a_visitor_away() -> None:
    hits = [
        see("a", at_ms=0),
        see("o", "open", at_ms=1),
        see("h", "honeypot", at_ms=90_000, machine=True),
        see("z", visitor="w", at_ms=2),
    ]
    assert rejudge(hits) == {"a": Verdict(True, "honeypot"), "o": Verdict(True, "honeypot")}


@st.composite
def visits(draw: st.DrawFn) -> list[Seen]:
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["open", "click", "click", "honeypot"]),
                st.integers(0, 3),
                st.integers(0, 4_000),
                st.sampled_from("vw"),
                st.booleans(),
            ),
            max_size=12,
        )
    )
    return [
        Seen(f"h{number}", kind, place, at, visitor, "phone", machine or kind == "honeypot")
        for number, (kind, place, at, visitor, machine) in enumerate(rows)
    ]


@given(hits=visits(), data=st.data())
def test_judging_in_any_order_ends_alike(hits: list[Seen], data: st.DataObject) -> None:
    once = rejudge(hits)
    shuffled = data.draw(st.permutations(hits))
    assert {name: verdict.machine for name, verdict in rejudge(shuffled).items()} == {
        name: verdict.machine for name, verdict in once.items()
    }
    # Judged one by one, as they came in, the same are machines in the end.
    known: dict[str, Seen] = {}
    for hit in shuffled:
        known[hit.hit_id] = hit
        for name, verdict in rejudge(list(known.values())).items():
            known[name] = Seen(**{**vars(known[name]), "machine": verdict.machine, "reason": verdict.reason})
    assert {hit.hit_id for hit in known.values() if hit.machine} == {
        hit.hit_id for hit in hits if hit.machine
    } | set(once)
    # And nobody is ever let off.
    assert all(verdict.machine for verdict in once.values())
    assert not set(once) & {hit.hit_id for hit in hits if hit.machine}
