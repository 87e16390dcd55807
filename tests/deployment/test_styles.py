from __future__ import annotations

import pytest
from liquid import Environment

from aimwell.deployment.channels.styles import inline_styles

PAGE = """<!doctype html>
<html><head><title>{{ business }}</title>
<style>
p { color: {{ colour }}; margin: 0 }
td.price { font-weight: bold }
@media (max-width: 600px) { p { font-size: 18px } }
</style></head>
<body>
<p>{% if name != "" %}Dear {{ name | escape }},{% else %}Hello,{% endif %}</p>
<table>{% for row in rows %}<tr><td class="price" style="padding: 4px">{{ row }}</td></tr>{% endfor %}</table>
<a href="{{ link }}?a=1&b={{ name | url_encode }}">go</a>
</body></html>"""


def render(source: str, **values: object) -> str:
    return Environment().from_string(source).render(**values)


def test_styles_move_into_tags_and_liquid_stays() -> None:
    inlined = inline_styles(PAGE)
    page = render(
        inlined, business="Shop", colour="#333", name="王", rows=["1", "2"], link="https://a.example/u"
    )
    assert '<p style="color: #333;margin: 0;">Dear 王,</p>' in page
    assert page.count('style="font-weight: bold;padding: 4px') == 2
    assert page.index("<table") < page.index("<td") < page.index("</table>")
    assert 'href="https://a.example/u?a=1&amp;b=%E7%8E%8B"' in page
    assert "<title>Shop</title>" in page
    assert "@media (max-width: 600px)" in page and "td.price" not in page
    assert "lqd" not in page and "Hello" not in page


def test_a_loop_over_nothing_leaves_nothing() -> None:
    page = render(inline_styles(PAGE), name="", rows=[])
    assert "<td" not in page and "Hello," in page


def test_a_page_without_styles_is_left_alone() -> None:
    source = '<p {% if x %}class="a"{% endif %}>'
    assert inline_styles(source) is source


@pytest.mark.parametrize(
    "body",
    [
        '<p {% if x %}class="a"{% else %}class="b"{% endif %}>x</p>',
        "{% if x %}<div class='a'>{% else %}<div class='b'>{% endif %}x</div>",
        "<p {{ attributes }}>x</p>",
    ],
)
def test_a_page_without_one_shape_is_refused(body: str) -> None:
    with pytest.raises(ValueError):
        inline_styles(f"<style>p{{color:red}}</style>{body}")


def test_nothing_is_fetched_for_a_linked_stylesheet() -> None:
    page = inline_styles(
        '<link rel="stylesheet" href="http://127.0.0.1:9/x.css"><style>p{color:red}</style><p>x</p>'
    )
    assert "color: red" in page
