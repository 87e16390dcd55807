"""A content that people wrote, as it is kept in the store: titles, variables, variants, coupon pool, texts.

Kept as a definition of kind ``content`` with all its versions; what cannot be used is refused when it is saved.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.text import LANGUAGES, Language, say
from aimwell.deployment.content.parts import Part, is_part, read_part
from aimwell.deployment.content.rendering import DEFAULT_CONTENT, Content
from aimwell.deployment.content.snippets import name_snippet
from aimwell.deployment.content.variables import BUILT_IN, KINDS, Variable
from aimwell.deployment.content.variants import Variant, check_variants

KIND = "content"
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SOURCE = re.compile(r"(customers|tags)\.[^\s.'\"]{1,100}")
_PRODUCT_LINK = re.compile(r"https?://[^\s\"'<>]{1,500}")
_TOP = frozenset(("title", "coupon", "salt", "variables", "variants", "products", "forbidden", "parts"))


@dataclass(frozen=True)
class ProductBlock:
    """How many recommended products a message shows; ``link`` and ``image`` are addresses with {product_id}."""

    count: int = 3
    link: str = ""
    image: str = ""


@dataclass(frozen=True)
class Definition:
    """One content. ``parts``: ``<language>/<part>`` for all, ``<language>/<variant>/<part>`` for one variant.

    Snippets stand among them, as ``<language>[/<variant>]/_<name>.liquid``.
    """

    content_id: str
    title: Mapping[Language, str]
    parts: Mapping[str, str]
    variables: Mapping[str, Variable] = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    coupon: str | None = None
    products: ProductBlock = ProductBlock()
    salt: str = ""
    forbidden: tuple[str, ...] = ()
    """Words that its texts must not hold, beside the usual ones."""

    @property
    def languages(self) -> tuple[Language, ...]:
        """The languages in which there are texts."""
        written = {path.split("/")[0] for path in self.parts if is_part(path.rpartition("/")[2])}
        return tuple(language for language in LANGUAGES if language in written)

    def list_sources(self, language: Language, variant: str | None = None) -> dict[Part, str]:
        """The texts of one language and variant."""
        files = self._choose_files(language, variant)
        return {read_part(name): source for name, source in files.items() if is_part(name)}

    def list_snippets(self, language: Language, variant: str | None = None) -> dict[str, str]:
        """The texts that its parts in this language and variant may include, by name."""
        files = self._choose_files(language, variant)
        named = ((name_snippet(file), source) for file, source in files.items())
        return {name: source for name, source in named if name is not None}

    def _choose_files(self, language: Language, variant: str | None) -> dict[str, str]:
        found: dict[str, str] = {}
        for path, source in self.parts.items():
            first, *middle, name = path.split("/")
            # A variant's own text goes before the one that all of them have.
            if first == language and (middle == [variant] or (not middle and name not in found)):
                found[name] = source
        return found

    def build(self, language: Language, *, variant: str | None = None, version: int = 0) -> Content:
        """The content to render; BadInput when a text cannot be read."""
        return Content(
            language,
            self.list_sources(language, variant),
            variables=self.variables,
            content_id=self.content_id,
            version=version,
            variant=variant,
            snippets=self.list_snippets(language, variant),
            own=frozenset(
                path.rsplit("/", 1)[1] for path in self.parts if path.startswith(f"{language}/{variant}/")
            ),
        )

    def to_body(self) -> dict[str, Any]:
        """The form in which the store keeps it."""
        return {
            "title": dict(self.title),
            "coupon": self.coupon,
            "salt": self.salt,
            "forbidden": list(self.forbidden),
            "products": {
                "count": self.products.count,
                "link": self.products.link,
                "image": self.products.image,
            },
            "variables": {name: write_variable(variable) for name, variable in self.variables.items()},
            "variants": [{"name": variant.name, "share": variant.share} for variant in self.variants],
            "parts": dict(self.parts),
        }


def read_definition(content_id: str, body: Mapping[str, Any]) -> Definition:
    """The definition in ``body``; BadInput when it says what cannot be used."""
    if not _ID.fullmatch(content_id) or content_id == DEFAULT_CONTENT:
        raise _refuse(content_id, "id", content_id)
    unknown = sorted(set(body) - _TOP)
    if unknown:
        raise _refuse(content_id, "key", unknown[0])
    variants = [
        Variant(str(item.get("name", "")), _read_share(content_id, item))
        for item in _list(content_id, body, "variants")
    ]
    definition = Definition(
        content_id=content_id,
        title=_read_both(content_id, "title", body.get("title") or content_id),
        parts={str(path): str(source) for path, source in _table(content_id, body, "parts").items()},
        variables={
            name: read_variable(content_id, name, item)
            for name, item in _table(content_id, body, "variables").items()
        },
        variants=check_variants(content_id, variants),
        coupon=None if body.get("coupon") is None else str(body["coupon"]),
        products=_read_products(content_id, _table(content_id, body, "products")),
        salt=str(body.get("salt") or ""),
        forbidden=tuple(str(word) for word in body.get("forbidden") or ()),
    )
    _check_parts(definition)
    return definition


def read_variable(content_id: str, name: str, item: Any) -> Variable:
    """One declared variable; BadInput when its name, kind or source cannot be used."""
    if not isinstance(item, Mapping) or not _NAME.fullmatch(name) or name in BUILT_IN:
        raise _refuse(content_id, "variable", name)
    unknown = sorted(set(item) - {"kind", "from", "default", "example", "longest"})
    kind, source = item.get("kind", "text"), str(item.get("from") or "")
    if unknown or kind not in KINDS or (source and not _SOURCE.fullmatch(source)):
        raise _refuse(content_id, f"variables.{name}", unknown[0] if unknown else str(source or kind))
    texts = {
        key: None if item.get(key) is None else _read_both(content_id, f"variables.{name}.{key}", item[key])
        for key in ("default", "example", "longest")
    }
    return Variable(
        name,
        kind,
        default=texts["default"],
        example=texts["example"],
        longest=texts["longest"],
        source=source,
    )


def write_variable(variable: Variable) -> dict[str, Any]:
    """What ``read_variable`` reads."""
    texts = {"default": variable.default, "example": variable.example, "longest": variable.longest}
    written: dict[str, Any] = {"kind": variable.kind}
    if variable.source:
        written["from"] = variable.source
    return written | {name: dict(text) for name, text in texts.items() if text is not None}


def _read_both(content_id: str, place: str, value: Any) -> Mapping[Language, str]:
    """One text for both languages, or one for each."""
    if isinstance(value, Mapping):
        if not value or not set(value) <= set(LANGUAGES):
            raise _refuse(content_id, place, ", ".join(map(str, value)))
        first = next(iter(value.values()))
        return {language: str(value.get(language, first)) for language in LANGUAGES}
    return dict.fromkeys(LANGUAGES, str(value).lower() if isinstance(value, bool) else str(value))


def _read_share(content_id: str, item: Any) -> float:
    try:
        return float(item["share"])
    except (KeyError, TypeError, ValueError) as error:
        raise _refuse(content_id, "variants", str(item)[:60]) from error


def _read_products(content_id: str, item: Mapping[str, Any]) -> ProductBlock:
    block = ProductBlock()
    count, link, image = item.get("count", block.count), item.get("link", ""), item.get("image", "")
    usable = isinstance(count, int) and 1 <= count <= 20 and set(item) <= {"count", "link", "image"}
    for address in (link, image):
        usable = (
            usable and isinstance(address, str) and (not address or bool(_PRODUCT_LINK.fullmatch(address)))
        )
    if not usable:
        raise _refuse(content_id, "products", str(dict(item))[:60])
    return ProductBlock(count, link, image)


def _check_parts(definition: Definition) -> None:
    names = {variant.name for variant in definition.variants}
    for path in definition.parts:
        first, *middle, name = path.split("/")
        known = is_part(name) or name_snippet(name) is not None
        placed = first in LANGUAGES and known and len(middle) <= 1
        if not placed or (middle and middle[0] not in names):
            raise _refuse(definition.content_id, "file", path)
    if not definition.languages:
        raise _refuse(definition.content_id, "file", f"{definition.content_id}/zh/…")


def _table(content_id: str, body: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = body.get(key) or {}
    if not isinstance(value, Mapping):
        raise _refuse(content_id, key, str(value)[:60])
    return value


def _list(content_id: str, body: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    value = body.get(key) or []
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise _refuse(content_id, key, str(value)[:60])
    return value


def _refuse(content_id: str, place: str, value: str) -> BadInput:
    return BadInput(
        "deployment.bad_content",
        say(
            "The content '{content}' cannot be used: {place} '{value}'.",
            content=content_id,
            place=place,
            value=value,
        ),
        remedy=say("Compare it with docs/content.md, or with what aimwell content export writes."),
        where={"value": content_id, "field": place},
    )
