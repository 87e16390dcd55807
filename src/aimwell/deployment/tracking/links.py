"""Wraps the links of a message into signed ones of ours; makes the pixel and the hidden link.

Only http and https links are wrapped, and nothing but their addresses changes: mailto, tel, anchors, relative
addresses, what stands in comments and scripts, and links of our own (unsubscribing) stay as they are. The addresses
that were wrapped are given back, for ``hits.remember_links``. Reads and writes no table.
"""

from __future__ import annotations

import html
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from html.entities import html5

from aimwell.deployment.tracking.address import find_base, is_own_link
from aimwell.deployment.tracking.keys import Keyring
from aimwell.deployment.tracking.targets import read_target
from aimwell.deployment.tracking.tokens import identify_link, sign_click, sign_delivery

_TAGS = ("a", "area")
_RAW_TAGS = ("script", "style", "textarea", "title", "xmp", "iframe", "noembed", "noframes", "plaintext")
# A comment, an end tag or declaration, a start tag, or one that never closes. Quotes count only after an equals sign.
# Nothing is tried twice: a page that was made to be slow is not.
_MARKUP = re.compile(
    r"""<!--(?:.*?-->|.*+)|<[!?/][^>]*+>?"""
    r"""|<(?P<name>[A-Za-z][^\s/>]*+)(?P<rest>(?>[^>"'=]++|=\s*+(?>"[^"]*+"|'[^']*+')?+|["'])*+)>"""
    r"""|<[A-Za-z].*+""",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(
    r"""[\s/]*(?P<name>[^\s/>=]+)(?:\s*=\s*(?:"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<bare>[^\s>"']+)))?"""
)
_REFERENCE = re.compile(r"&(?:#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[A-Za-z][A-Za-z0-9]*;?)")
_TEXT_LINK = re.compile(r"https?://[!-~]+", re.IGNORECASE)
_PAIRS = {")": "(", "]": "[", "}": "{", ">": "<"}
_BODY_END = re.compile(r"</body\s*>", re.IGNORECASE)


@dataclass(frozen=True)
class Signer:
    """Makes the links of deliveries. ``base``: where the service is reached, without a slash at its end."""

    keys: Keyring
    base: str = field(default_factory=find_base)

    def make_link(self, delivery_id: str, target: str, place: int) -> str:
        """The signed link to ``target``."""
        return f"{self.base}/c/{sign_click(self.keys, delivery_id, target, place)}"


@dataclass(frozen=True)
class Wrapped:
    """A text whose links lead through ours. ``targets``: id of a link → where it leads; ``links``: (ours, id) each."""

    body: str
    targets: dict[str, str]
    links: tuple[tuple[str, str], ...]

    @property
    def places(self) -> int:
        """How many links were wrapped."""
        return len(self.links)


@dataclass(frozen=True)
class _Change:
    start: int
    end: int
    url: str


def wrap_html(
    body: str, signer: Signer, delivery_id: str, *, leave: Collection[str] = (), first: int = 0
) -> Wrapped:
    """``body`` with its links (``<a>``, ``<area>``) wrapped, but for those in ``leave``; places begin at ``first``."""
    return _replace(body, _find_links(body), signer, delivery_id, leave, first, escape=True)


def wrap_text(
    body: str, signer: Signer, delivery_id: str, *, leave: Collection[str] = (), first: int = 0
) -> Wrapped:
    """``body`` with its http and https addresses wrapped; one that letters follow directly stays, as it is unclear."""
    found = []
    for match in _TEXT_LINK.finditer(body):
        url = _trim(match.group())
        end = match.start() + len(url)
        if end == match.end() and end < len(body) and body[end].isalnum():
            continue
        found.append(_Change(match.start(), end, url))
    return _replace(body, found, signer, delivery_id, leave, first, escape=False)


def make_pixel(signer: Signer, delivery_id: str) -> str:
    """The picture of one point whose loading says that the mail was opened."""
    address = f"{signer.base}/o/{sign_delivery(signer.keys, 'open', delivery_id)}.gif"
    return f'<img src="{html.escape(address)}" width="1" height="1" alt="" style="border:0;width:1px;height:1px">'


def make_trap(signer: Signer, delivery_id: str) -> str:
    """A link without text that no eye sees and no screen reader reads: who follows it is a machine."""
    address = f"{signer.base}/h/{sign_delivery(signer.keys, 'trap', delivery_id)}"
    return (
        f'<a href="{html.escape(address)}" rel="nofollow" tabindex="-1" aria-hidden="true"'
        ' style="display:none;max-height:0;overflow:hidden;font-size:0;line-height:0"></a>'
    )


def append_to_body(body: str, addition: str) -> str:
    """``addition`` at the end of the document's body."""
    ends = list(_BODY_END.finditer(body))
    place = ends[-1].start() if ends else len(body)
    return body[:place] + addition + body[place:]


def _replace(
    body: str,
    found: list[_Change],
    signer: Signer,
    delivery_id: str,
    leave: Collection[str],
    place: int,
    *,
    escape: bool,
) -> Wrapped:
    parts, last, targets = [], 0, {}
    links: list[tuple[str, str]] = []
    for change in found:
        target = read_target(change.url)
        if target is None or change.url in leave or is_own_link(change.url, signer.base):
            continue
        link = signer.make_link(delivery_id, target, place + len(links))
        parts += [body[last : change.start], html.escape(link) if escape else link]
        last = change.end
        targets[identify_link(target)] = target
        links.append((link, identify_link(target)))
    return Wrapped("".join([*parts, body[last:]]), targets, tuple(links))


def _find_links(body: str) -> list[_Change]:
    """Where the addresses of links stand in a document, read as browsers read it."""
    found = []
    place = 0
    while (match := _MARKUP.search(body, place)) is not None:
        place = match.end()
        name = (match["name"] or "").lower()
        if name in _TAGS:
            found += _find_address(body, match.start("rest"), match.end("rest"))
        elif name in _RAW_TAGS:
            # What stands within is no markup, until its own end tag.
            end = re.compile(f"</{name}", re.IGNORECASE).search(body, place)
            place = end.start() if end else len(body)
    return found


def _find_address(body: str, start: int, end: int) -> list[_Change]:
    for match in _ATTRIBUTE.finditer(body, start, end):
        if match["name"].lower() == "href":
            group = next((name for name in ("double", "single", "bare") if match[name] is not None), None)
            # Of several the first counts. Our links need no quotes where there were none.
            return [_Change(*match.span(group), _unescape(match[group]).strip())] if group else []
    return []


def _unescape(value: str) -> str:
    """Character references as they count within an attribute: ``&copy=1`` stays what it is."""

    def replace(match: re.Match[str]) -> str:
        text = match.group()
        if text[1] == "#":
            return html.unescape(text)
        name = text[1:]
        following = value[match.end() : match.end() + 1]
        known = name in html5 and (name.endswith(";") or not (following.isalnum() or following == "="))
        return html5[name] if known else text

    return _REFERENCE.sub(replace, value)


def _trim(url: str) -> str:
    """``url`` without the punctuation of the sentence that it stands in."""
    while url:
        last = url[-1]
        unpaired = last in _PAIRS and url.count(last) > url.count(_PAIRS[last])
        if last not in ".,;:!?'\"*_~`" and not unpaired:
            break
        url = url[:-1]
    # What encloses an address ends it: <https://…>, "https://…".
    return re.split(r"[<>\"]", url, maxsplit=1)[0]
