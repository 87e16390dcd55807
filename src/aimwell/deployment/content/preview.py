"""What one customer would get: every part of a content, with the customer's own values or with samples.

Nothing is reserved: a coupon is shown as a sample, links lead nowhere. Reads ``customers``, ``tags``,
``recommendations``, ``products`` and ``order_lines``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import LANGUAGES, Language, say
from aimwell.core.time import business_day, now
from aimwell.deployment.audience import find_name
from aimwell.deployment.channels.sms import SmsLength, measure_sms
from aimwell.deployment.content.definition import ProductBlock
from aimwell.deployment.content.library import Library
from aimwell.deployment.content.lint import make_sample
from aimwell.deployment.content.parts import Part
from aimwell.deployment.content.products import build_block, read_best_sellers, read_shelf
from aimwell.deployment.content.rendering import DEFAULT_CONTENT, Content, RenderError
from aimwell.deployment.content.values import read_values
from aimwell.deployment.tracking.short import Shorten
from aimwell.engine.workspace import Workspace

_SAMPLED = ("unsubscribe_url", "preferences_url", "coupon_code", "valid_until")
"""Of a real customer: what comes only with a delivery, and is shown as a sample."""


@dataclass(frozen=True)
class Preview:
    """A content in one language, as a customer would see it. ``problems``: parts that would not be written, and why."""

    language: Language
    variant: str | None
    probability: float | None
    parts: Mapping[Part, str]
    problems: Mapping[Part, str]
    sms: SmsLength | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "language": self.language,
            "variant": self.variant,
            "probability": self.probability,
            "parts": dict(self.parts),
            "problems": dict(self.problems),
            "sms": None
            if self.sms is None
            else {"encoding": self.sms.encoding, "segments": self.sms.segments},
        }


def preview_content(
    workspace: Workspace,
    library: Library,
    content_id: str,
    *,
    customer_id: str | None = None,
    variant: str | None = None,
) -> list[Preview]:
    """The content in every language that it has, for a customer (NotReady when unknown) or for a sample one.

    ``variant`` None: the one that the customer would see; of samples the first.
    """
    probability = None
    known: dict[str, Any] | None = None
    if content_id == DEFAULT_CONTENT:
        languages: tuple[Language, ...] = LANGUAGES
    else:
        definition = library.find(content_id)[1]
        languages = definition.languages
        drawn = None if customer_id is None else library.draw(content_id, customer_id)
        if variant is None and drawn is not None:
            variant, probability = drawn.variant, drawn.probability
        elif variant is None and definition.variants:
            variant = definition.variants[0].name
    if customer_id is not None:
        known = read_customer(workspace, library, content_id, customer_id)
    found = []
    for language in languages:
        content = library.get(content_id, language, variant=variant)
        shown = _show(content, known, variant, probability, workspace, library.shorten)
        found.append(shown)
    return found


def read_customer(
    workspace: Workspace, library: Library, content_id: str, customer_id: str
) -> dict[str, Any]:
    """What a content may say of a real customer; products under ``shelf``."""
    block = library.find_block(content_id) or ProductBlock()
    currency = workspace.settings.business.currency
    with workspace.read() as reader:
        rows = reader.query(
            "SELECT * FROM customers WHERE customer_id = $customer_id", {"customer_id": customer_id}
        ).to_pylist()
        if not rows:
            raise NotReady(
                "deployment.no_customer",
                say("There is no customer {customer}.", customer=customer_id),
                remedy=say("Take one from the table 'customers', or leave the customer out for a sample."),
                where={"table": "customers", "value": customer_id},
            )
        values = read_values(reader, [customer_id], library.list_variables(content_id))
        best = read_best_sellers(reader, business_day(now(), workspace.settings.business.zone))
        shelf = read_shelf(reader, [customer_id], best)
    products = {
        language: shelf.list_products(customer_id, block, language, currency) for language in LANGUAGES
    }
    return {**values.get(customer_id, {}), "customer_name": find_name(rows[0]), "shelf": products}


def _show(
    content: Content,
    known: Mapping[str, Any] | None,
    variant: str | None,
    probability: float | None,
    workspace: Workspace,
    shorten: Shorten | None,
) -> Preview:
    values = make_sample(content)
    if known is not None:
        values = {name: value for name, value in values.items() if name in _SAMPLED} | dict(known)
        products = values.pop("shelf")[content.language]
        values |= {"recommendations": products, "product_block": build_block(products, content.language)}
        values["products"] = [product["name"] for product in products]
    values["business"] = workspace.settings.business.name
    parts: dict[Part, str] = {}
    problems: dict[Part, str] = {}
    for part in content.templates:
        try:
            parts[part] = content.render(part, values)
        except RenderError as error:
            problems[part] = error.problem
    text = parts.get("sms.txt")
    sms = None if text is None else measure_sms(shorten(text) if shorten else text)
    return Preview(content.language, variant, probability, parts, problems, sms)
