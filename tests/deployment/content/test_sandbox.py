"""Hostile templates end soon, small and without having seen anything; hostile values change no markup."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.deployment.content import Content, RenderError
from aimwell.deployment.content.sandbox import Missing, MissingValue, Template, TemplateError
from aimwell.deployment.content.variables import is_web_link, purify_html

LOOP = "{% for i in (1..1000) %}"
HOSTILE = [
    "{% for i in (1..99999999) %}{% endfor %}",
    "{% for i in (1..99999999) reversed %}{% endfor %}",
    "{% assign n = 99999999 %}{% for i in (1..n) reversed %}{% endfor %}",
    "{% for i in (1..900) %}{% for j in (1..900) %}y{% endfor %}{% endfor %}",
    f"{LOOP}{{% endfor %}}" * 3_000,
    LOOP + "{% if 1 == 2 %}a{% endif %}" * 8_000 + "{% endfor %}",
    LOOP + "{% if " + "1 == 2 or " * 300 + "1 == 2 %}{% endif %}{% endfor %}",
    LOOP + "{{ 'a' " + "| upcase " * 3_000 + "}}{% endfor %}",
    LOOP + "{% cycle " + ",".join(["'a'"] * 20_000) + " %}{% endfor %}",
    LOOP + "{% case i %}" + "{% when 'a' %}" * 20_000 + "{% endcase %}{% endfor %}",
    "{% assign x = 'ab' %}{% for i in (1..900) %}{% assign x = x | append: x %}{% endfor %}",
    "{{ 'aaaaaaaaaaaaaaaa' " + "| replace: 'a', 'aaaaaaaaaaaaaaaa' " * 12 + "}}",
    "{{ l | join: x }}"
    + "{% capture x %}"
    + "a" * 99_000
    + "{% endcapture %}{{ '1,2,3' | split: ',' | join: x }}",
    "{% capture x %}"
    + "a" * 90_000
    + "{% endcapture %}{% for i in (1..900) %}{% assign y = x | upcase | downcase | upcase %}{% endfor %}",
    "{% assign x = 9 %}" + "{% assign x = x | times: x %}" * 40,
    "{{ 9 " + "| times: 999999999999999999 " * 2_000 + "}}",
    "{{ '" + "9" * 4_000 + "' | times: '" + "9" * 4_000 + "' }}",
    "{{ (1..999999999) | reverse }}",
    "{% if (1..99999999999) contains 'x' %}{% endif %}",
    "{% assign r = (1..99999999) %}{{ r | join: ',' }}",
    "{% cycle (1..99999999), 'a' %}",
    "{% if " + "a and " * 30_000 + "a %}{% endif %}",
    "{{ a" + "[a" * 5_000 + "]" * 5_000 + " }}",
    "{% if a %}" * 500 + "{% endif %}" * 500,
    "".join(f"{{% assign a{number} = 'x' %}}" for number in range(9_000)),
    "{% include 'secret' %}",
    "{% render 'secret' %}",
    "{% layout 'secret' %}",
    "{% tablerow i in (1..10) %}{% endtablerow %}",
    "{{ 'x' | safe }}",
    "{{ '2020-01-01' | date: '%99999999Y' }}",
    "{{ 'now' | date: '%Y' }}",
    "{{ 5 | divided_by: 0 }}",
    "{{ 1.5 | divided_by: '1e-320' | ceil }}",
    "{{ '1e999999999' | floor }}",
    "{{ name.__class__ }}",
    "{{ name.__class__.__mro__[1].__subclasses__ }}",
    "{{ l.__len__ }}",
    "{{ now }}",
    "{{ today.year }}",
    "{{ nobody }}",
    "x" * 300_001,
]


@pytest.mark.parametrize("source", HOSTILE, ids=range(len(HOSTILE)))
def test_what_would_not_end_or_would_tell_is_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        Template(source, html=False).render({"name": "N", "a": 1, "l": ["1", "2"]})


def test_a_hostile_template_takes_little_time_and_memory() -> None:
    """All of them in one process, which the kernel ends after 60 s of the processor, or at 3 GB of addresses."""
    script = (
        "import resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (60, 60))\n"
        "from tests.deployment.content.test_sandbox import HOSTILE\n"
        "from aimwell.deployment.content.sandbox import Template, TemplateError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))\n"
        "ended = 0\n"
        "for source in HOSTILE:\n"
        "    try:\n"
        "        Template(source, html=False).render({'name': 'N', 'a': 1, 'l': ['1', '2']})\n"
        "    except TemplateError:\n"
        "        ended += 1\n"
        "print(ended)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(len(HOSTILE)), done.stderr[-500:]


def test_usual_templates_are_not_hindered() -> None:
    source = (
        "{% for p in l limit: 2 %}{{ forloop.index }}{{ p.name | upcase }}{% unless forloop.last %}, {% endunless %}"
        "{% endfor %}{% assign n = l | size %}|{{ n | plus: 1 }}|{{ l | map: 'name' | join: '+' }}"
        "|{{ '2030-12-31' | date: '%d.%m.%Y' }}|{% case n %}{% when 3 %}three{% endcase %}|"
        "{{ 'a,b' | split: ',' | first }}"
        "|{% for p in l offset: continue %}{{ p.name }}{% endfor %}|{% for i in (1..3) %}{{ i }}{% endfor %}"
    )
    items = [{"name": "x"}, {"name": "y"}, {"name": "z"}]
    assert Template(source, html=False).render({"l": items}) == "1X, 2Y|4|x+y+z|31.12.2030|three|a|z|123"


def test_a_value_that_is_not_there_is_false_empty_and_never_written() -> None:
    values = {"gone": Missing("gone"), "here": "x"}
    source = (
        "{% if gone %}a{% else %}b{% endif %}{% if gone == '' %}c{% endif %}{% if gone == nil %}d{% endif %}"
        "{% unless gone %}e{% endunless %}{{ gone.size }}{{ gone | size }}{{ gone | default: 'f' }}"
        "{% for i in gone %}g{% endfor %}{% if gone contains 'x' %}h{% endif %}"
    )
    assert Template(source, html=False).render(values) == "bcde00f"
    for wrong in (
        "{{ gone }}",
        "{{ gone | upcase }}",
        "{{ here | append: gone }}",
        "{% capture x %}{{ gone }}{% endcapture %}",
    ):
        with pytest.raises(MissingValue) as error:
            Template(wrong, html=True).render(values)
        assert error.value.problem == "gone"


TAME = re.compile(r"[^<>]*")
WILD = st.text(
    st.one_of(st.sampled_from("<>&\"'`=/; \n\r\t\x00\u2028onerror="), st.characters()), max_size=60
) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        '" onmouseover="x',
        "' onload='x",
        "</p><img src=x onerror=y>",
        "javascript:x",
        "&lt;b&gt;",
        "%3Cb%3E",
    ]
)
FORMS = [
    "{{ reason }}",
    "{{ reason | upcase }}",
    "{{ reason | truncate: 12 }}",
    "{{ reason | escape }}",
    "{{ reason | replace: 'a', '<' }}",
    "{{ reason | split: ' ' | join: ' ' }}",
    "{{ reason | strip_newlines | append: reason }}",
    "{{ reason | newline_to_br | remove: 'lt;' | replace: '<br />', '' }}",
    "{% capture x %}{{ reason }}{% endcapture %}"
    "{{ x | replace: '&lt;', '<' | replace: '&quot;', '\"' | replace: '&#34;', '\"' }}",
    "{% capture x %}{{ reason }}{% endcapture %}{{ x | slice: 0, 9 }}{{ x | prepend: reason | downcase }}",
    "{% assign y = reason %}{{ y | remove: 'amp;' | capitalize }}",
    "{% for p in products %}{{ p }}{% endfor %}{{ products | first }}{{ products | join: reason }}",
    "{{ products | concat: products | uniq | sort | reverse | join }}",
    "{{ reason | url_encode }}{{ reason | default: reason | squish | lstrip | rstrip }}",
]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, sorted(name for name, _ in attrs)))


@settings(max_examples=150, deadline=None)
@given(WILD, st.lists(WILD, max_size=3), st.sampled_from(FORMS))
def test_no_value_ever_adds_markup(reason: str, products: list[str], form: str) -> None:
    source = f"<p title=\"{form}\" class='{form}'>{form}</p>"
    content = Content("en", {"email.html": source})
    try:
        html = content.render("email.html", {"reason": reason, "products": products})
    except RenderError as error:
        assert error.missing in ("reason", "products | first")
        return
    inner = html.removeprefix('<p title="').removesuffix("</p>")
    first, _, rest = inner.partition("\" class='")
    second, _, third = rest.partition("'>")
    for piece in (first, second, third):
        assert TAME.fullmatch(piece.replace("<br />", "")), piece
    reader = _Tags()
    reader.feed(html)
    assert [tag for tag in reader.found if tag[0] != "br"] == [("p", ["class", "title"])]


@settings(max_examples=100, deadline=None)
@given(WILD, WILD)
def test_a_subject_is_one_line(name: str, reason: str) -> None:
    content = Content(
        "en", {"subject.txt": "Hi {{ customer_name | default: 'you' }}\r\nBcc: {{ reason | default: '' }}\n"}
    )
    subject = content.render("subject.txt", {"customer_name": name, "reason": reason})
    assert len(subject.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f\x85\u2028\u2029\u202e]", subject)
    assert subject.startswith("Hi ")


@pytest.mark.parametrize(
    ("link", "usable"),
    [
        ("https://shop.example/a?b=c", True),
        ("http://shop.example", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//shop.example", False),
        ("/a", False),
        ('https://shop.example/"onclick=x', False),
        ("https://me:secret@shop.example/", False),
        ("https://shop.example/\nBcc: x", False),
        ("https://[", False),
    ],
)
def test_a_link_is_a_link_or_not_there(link: str, usable: bool) -> None:
    assert is_web_link(link) is usable


HARMFUL = [
    "<script>x</script>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href=' java\nscript:alert(1)'>x</a>",
    "<svg onload=alert(1)>",
    "<iframe src=//evil.example></iframe>",
    "<form action=//evil.example><input name=x></form>",
    '<p style="background:url(javascript:x);position:fixed;color:red">x</p>',
    "<style>*{display:none}</style>",
    '<math><mtext></p><style><a title="</style><img src onerror=alert(1)>">',
    "<base href=//evil.example>",
    "<meta http-equiv=refresh content=0>",
]


def test_pasted_html_keeps_its_looks_and_nothing_that_acts() -> None:
    kept = purify_html(
        "<p style='color:red;text-align:center'>Hi <b>you</b> <a href='https://a.example'>x</a></p>"
    )
    assert "color:red" in kept
    assert '<a href="https://a.example"' in kept
    for harmful in HARMFUL:
        clean = purify_html(harmful).lower()
        for word in (
            "script",
            "onerror",
            "onload",
            "iframe",
            "form",
            "position",
            "<style",
            "<base",
            "<meta",
            "url(",
        ):
            assert word not in clean, harmful
