"""Wrapped messages: every web link leads through ours to where it led, and nothing else is touched."""

from __future__ import annotations

import html
from html.parser import HTMLParser
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.tracking.address import find_base
from aimwell.deployment.tracking.links import (
    Signer,
    Wrapped,
    append_to_body,
    make_pixel,
    make_trap,
    wrap_html,
    wrap_text,
)
from aimwell.deployment.tracking.targets import add_parameter, read_target
from aimwell.deployment.tracking.tokens import read_click
from tests.deployment.tracking.scene import BASE, RING, identify

SIGNER = Signer(RING, BASE)
DELIVERY = identify()
WORDS = st.text("abcAZ019-._~", min_size=1, max_size=8)
QUERIES = st.lists(
    st.tuples(WORDS, st.text(st.characters(codec="ascii", categories=("L", "N", "P")))), max_size=4
)


class _Links(HTMLParser):
    """What a mail program sees: addresses of links, and the text around them."""

    def __init__(self, body: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(body)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value for name, value in attrs if tag == "a" and name == "href" and value]


def follow(link: str, wrapped: Wrapped) -> str:
    assert link.startswith(f"{BASE}/c/")
    return wrapped.targets[read_click(RING, link.removeprefix(f"{BASE}/c/")).link_id]


@st.composite
def urls(draw: st.DrawFn) -> str:
    query = "&".join(f"{name}={value}" for name, value in draw(QUERIES))
    url = f"{draw(st.sampled_from(['http', 'https', 'HTTPS']))}://shop.example/{draw(WORDS)}?utm_source=x&{query}"
    return url if read_target(url) else "https://shop.example/"


@given(targets=st.lists(urls(), max_size=5), quote=st.sampled_from("\"'"), text=st.text(max_size=20))
def test_links_of_a_page_lead_where_they_led(targets: list[str], quote: str, text: str) -> None:
    between = html.escape(text)
    body = between.join(
        f"<p><a class=x href={quote}{html.escape(url)}{quote} id=y>&amp;</a></p>" for url in targets
    )
    wrapped = wrap_html(body, SIGNER, DELIVERY)
    links = _Links(wrapped.body).addresses
    assert [follow(link, wrapped) for link in links] == targets
    assert wrapped.places == len(targets)
    for url, link in zip(targets, links, strict=True):
        assert parse_qsl(urlsplit(follow(link, wrapped)).query) == parse_qsl(urlsplit(url).query)
    # Putting the addresses back gives the page as it was.
    restored = wrapped.body
    for url, link in zip(targets, links, strict=True):
        restored = restored.replace(html.escape(link), html.escape(url), 1)
    assert restored == body
    assert wrap_html(wrapped.body, SIGNER, DELIVERY).body == wrapped.body


@given(
    body=st.text(st.sampled_from("<>/ahref=\"'!-[]&;:?#. \n\r\tscriptCDATA客https://x.example")),
    close=st.booleans(),
)
def test_any_text_is_taken_as_a_page(body: str, close: bool) -> None:
    wrapped = wrap_html(body + ("</a>" if close else ""), SIGNER, DELIVERY)
    if not wrapped.targets:
        assert wrapped.body == body + ("</a>" if close else "")
    assert all(read_target(target) == target for target in wrapped.targets.values())


@pytest.mark.parametrize(
    "unit", ["<a ", '<a href="', "<a href='https://x.example/", "<!--", '<a ="', "<", "<script>", "=\"'"]
)
def test_no_page_takes_long(unit: str) -> None:
    # Twenty times the largest page that a template may make; squared, it would not end.
    page = unit * (4_000_000 // len(unit))
    assert wrap_html(page, SIGNER, DELIVERY).body == page


@pytest.mark.parametrize(
    "page",
    [
        '<a href="mailto:a@b.example">x</a>',
        '<a href="tel:+8613800138000">x</a>',
        '<a href="#top">x</a>',
        '<a href="/relative?a=1">x</a>',
        '<a href="//shop.example/">x</a>',
        '<a href="javascript:alert(1)">x</a>',
        '<a href="java&#115;cript:alert(1)">x</a>',
        '<a href="data:text/html,x">x</a>',
        '<a href="weixin://dl/chat">x</a>',
        '<a href="https://user:pass@shop.example/">x</a>',
        '<a href="https://shop.example\\@evil.example/">x</a>',
        '<a href="https://shop.example/a&#10;Set-Cookie:x">x</a>',
        '<a href="https://shop.example:port/">x</a>',
        '<a href="https://">x</a>',
        '<a name="x" data-href="https://shop.example/">x</a>',
        "<!-- <a href='https://shop.example/'>x</a> -->",
        "<script>var a = '<a href=\"https://shop.example/\">';</script>",
        '<link href="https://shop.example/style.css"><img src="https://shop.example/a.png">',
        f'<a href="{BASE}/unsubscribe/abc">x</a><a href="{BASE}/preferences/abc">x</a>',
        "plain https://shop.example/ text",
        "<!-- never closed <a href='https://shop.example/'>",
        "<img alt=\"<a href='https://shop.example/'>\" src=x>",
        '<title><a href="https://shop.example/"></title>',
        '<style>a{content:"<a href=https://shop.example/>"}</style >',
        '<textarea><a href="https://shop.example/">',
        '<a href="https://shop.example/',
        '<abbr href="https://shop.example/">',
    ],
)
def test_what_is_no_web_link_of_the_page_stays(page: str) -> None:
    assert wrap_html(page, SIGNER, DELIVERY) == Wrapped(page, {}, ())


@pytest.mark.parametrize(
    ("written", "target"),
    [
        ('<a href="https://x.example/?a=1&amp;b=2#c">', "https://x.example/?a=1&b=2#c"),
        ('<a href="https://x.example/?a=1&b=2">', "https://x.example/?a=1&b=2"),
        ('<a href="https://x.example/?a=1&copy=2">', "https://x.example/?a=1&copy=2"),
        ('<a href="https://x.example/?a=1&notit;=2">', "https://x.example/?a=1&notit;=2"),
        ('<a href="&#104;ttps://x.example/&#x26;">', "https://x.example/&"),
        ("<A HREF = 'https://x.example/it&#39;s'>", "https://x.example/it's"),
        ("<a href=https://x.example/bare>", "https://x.example/bare"),
        ('<a\n title="a > b" href="https://x.example/">', "https://x.example/"),
        ('<a href="  https://x.example/  ">', "https://x.example/"),
        ('<a href="https://x.example/1" href="https://x.example/2">', "https://x.example/1"),
        ('<area shape=rect href="https://x.example/area">', "https://x.example/area"),
        ('<a href="https://商店.example/商品?名=值">', None),
        ('<a href="HTTPS://x.example/">', "HTTPS://x.example/"),
    ],
)
def test_references_and_spellings_are_read_as_browsers_do(written: str, target: str | None) -> None:
    wrapped = wrap_html(f"前\r\n<p>{written}文</a>", SIGNER, DELIVERY)
    expected = target or "https://xn--czrs0t.example/%E5%95%86%E5%93%81?%E5%90%8D=%E5%80%BC"
    assert list(wrapped.targets.values()) == [expected]
    assert wrapped.body.startswith("前\r\n<p>") and wrapped.body.endswith(">文</a>")
    assert f"{BASE}/c/" in wrapped.body


@pytest.mark.parametrize(
    ("text", "targets"),
    [
        ("看这里：https://x.example/a。谢谢", ["https://x.example/a"]),
        ("(https://x.example/a_(b)), more", ["https://x.example/a_(b)"]),
        ("<https://x.example/?a=1&b=2>.", ["https://x.example/?a=1&b=2"]),
        ("https://x.example/a,\nhttp://y.example!", ["https://x.example/a", "http://y.example"]),
        ("https://x.example/a点击", []),
        ("mailto:a@b.example ftp://x.example", []),
        (f"{BASE}/unsubscribe/abc", []),
        ("https://x.example/keep", []),
    ],
)
def test_links_of_a_text_end_where_the_sentence_goes_on(text: str, targets: list[str]) -> None:
    wrapped = wrap_text(text, SIGNER, DELIVERY, leave=["https://x.example/keep"])
    assert list(wrapped.targets.values()) == targets
    for place, target in enumerate(targets):
        assert SIGNER.make_link(DELIVERY, target, place) in wrapped.body
    restored = wrapped.body
    for place, target in enumerate(targets):
        restored = restored.replace(SIGNER.make_link(DELIVERY, target, place), target)
    assert restored == text


@given(url=urls(), value=st.text(ALNUM := "abcXYZ019-_", min_size=1))
def test_a_parameter_leaves_the_rest_of_an_address(url: str, value: str) -> None:
    base, _, fragment = url.partition("#")
    added = add_parameter(url, "aw", value)
    assert parse_qsl(urlsplit(added).query)[-1] == ("aw", value)
    kept = [part for part in base.partition("?")[2].split("&") if part.partition("=")[0] != "aw"]
    assert added.startswith(base.partition("?")[0] + "?" + "&".join(kept))
    assert urlsplit(added).fragment == fragment
    assert add_parameter(added, "aw", value) == added
    assert read_target(added) is not None and set(ALNUM) >= set(value)


def test_pixel_and_trap_stand_at_the_end_of_the_body() -> None:
    page = "<html><body><p>x</p></BODY ></html>"
    added = append_to_body(append_to_body(page, make_trap(SIGNER, DELIVERY)), make_pixel(SIGNER, DELIVERY))
    assert added.startswith("<html><body><p>x</p><a href=") and added.endswith('px"></BODY ></html>')
    assert 'aria-hidden="true"' in added and 'tabindex="-1"' in added and 'alt=""' in added
    assert append_to_body("x", "y") == "xy"
    assert wrap_html(added, SIGNER, DELIVERY).body == added


@pytest.mark.parametrize(
    "address",
    ["shop.example", "ftp://shop.example", "https://", 'https://x.example/"', "https://x.example/?a=1"],
)
def test_links_start_with_an_address(address: str) -> None:
    with pytest.raises(BadInput) as caught:
        find_base(address)
    assert caught.value.code == "deployment.bad_public_address"


def test_the_address_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", "https://x.example/path/")
    assert find_base() == Signer(RING).base == "https://x.example/path"
