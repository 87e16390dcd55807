"""Styles of an HTML template moved into its tags, once per template: many mail programs read no ``<style>``.

The template keeps its Liquid: what stands between ``{{ }}`` and ``{% %}`` is put aside while the page is parsed (as a
comment between tags, where a parser moves nothing even within a table; as a word in attributes and styles) and put
back afterwards. Rules for small screens (``@media``) stay in the head.
"""

from __future__ import annotations

import re
from collections import Counter

import css_inline

_LIQUID = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_STYLE = re.compile(r"<style[\s>]", re.IGNORECASE)
# Text in which a parser sees no comments, and tags with their quoted values.
_RAW = re.compile(r"<(style|title|textarea|script)\b[^>]*>.*?</\1\s*>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[a-zA-Z/](?:[^<>\"']|\"[^\"]*\"|'[^']*')*>")
_QUOTED = re.compile(r"\"[^\"]*\"|'[^']*'")
_MARK = re.compile(r"<!--lqd([0-9]+)q-->|lqd([0-9]+)q")
# What no parser closes, opens or leaves out by itself.
_STRICT = re.compile(r"<(/?(?:div|span|a|table|td|th|h[1-6]|strong|em|b|i|ul|ol|section))\b", re.IGNORECASE)

_INLINER = css_inline.CSSInliner(keep_at_rules=True, load_remote_stylesheets=False)


def inline_styles(source: str) -> str:
    """``source`` with its styles in its tags; without ``<style>`` as it is.

    ValueError when Liquid decides over attributes or over half a tag: the page then has no one shape.

    >>> inline_styles("<style>p{color:red}</style><p>{{ name }}</p>")
    '<html><head></head><body><p style="color: red;">{{ name }}</p></body></html>'
    """
    if not _STYLE.search(source):
        return source
    pieces = _LIQUID.findall(source)
    marked = _put_aside(source)
    try:
        inlined = _INLINER.inline(marked)
    except css_inline.InlineError as error:
        raise ValueError(f"the styles cannot be read: {error}") from error
    if _list_marks(inlined) != _list_marks(marked) or _count_tags(inlined) != _count_tags(marked):
        raise ValueError("the page has no one shape: a condition holds half a tag")
    return _MARK.sub(lambda match: pieces[int(match[1] or match[2])], inlined)


def _put_aside(source: str) -> str:
    """Liquid as marks, by where it stands."""
    numbers = iter(range(len(source)))
    # First as words, which are harmless anywhere; then those between tags become comments.
    worded = _LIQUID.sub(lambda _: f"lqd{next(numbers)}q", source)
    result, position = [], 0
    for kept in _find_kept(worded):
        if kept.re is _TAG and "lqd" in _QUOTED.sub("", kept[0]):
            raise ValueError(f"a condition stands between attributes: {kept[0][:60]}")
        result += [_comment(worded[position : kept.start()]), kept[0]]
        position = kept.end()
    return "".join([*result, _comment(worded[position:])])


def _find_kept(text: str) -> list[re.Match[str]]:
    raw = list(_RAW.finditer(text))
    tags = [
        tag for tag in _TAG.finditer(text) if not any(one.start() <= tag.start() < one.end() for one in raw)
    ]
    return sorted(raw + tags, key=lambda match: match.start())


def _comment(text: str) -> str:
    return re.sub(r"lqd([0-9]+)q", r"<!--lqd\1q-->", text)


def _list_marks(text: str) -> list[str]:
    """The marks in the body in their order; a style may be copied to many tags or to none."""
    body = _RAW.sub("", text)
    return [match[1] for match in _MARK.finditer(body) if match[1]]


def _count_tags(text: str) -> Counter[str]:
    return Counter(match[1].lower() for match in _STRICT.finditer(_RAW.sub("", text)))
