"""From a delivery to the message that a channel takes: one way for campaigns, journeys, live decisions and tests.

``MessageMaker`` finds the content of a delivery, in the customer's language and variant, and fills it with what the
source knows, the customer's attributes and tags that the content names, recommended products, the coupon that was
reserved, and the links to unsubscribe and to choose. Reads the warehouse's ``customers``, ``tags``,
``recommendations``, ``products`` and ``order_lines`` where a content asks for them, and the store's coupons; writes
nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from threading import Lock
from typing import Any

from aimwell.core.errors import AimwellError
from aimwell.core.text import Language
from aimwell.core.time import business_day, now
from aimwell.deployment.audience import Addressee, Plan
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.content import DEFAULT_CONTENT, Content, Library, Part, load_library, show_fold
from aimwell.deployment.content.definition import ProductBlock
from aimwell.deployment.content.parts import find_channel, list_channel_parts
from aimwell.deployment.content.products import Shelf, build_block, read_best_sellers, read_shelf
from aimwell.deployment.content.values import read_values
from aimwell.deployment.coupons import POOL_KEY, read_issued
from aimwell.deployment.ledger_rows import identify_delivery
from aimwell.deployment.policy import Candidate
from aimwell.deployment.tracking.keys import Keyring, load_keyring
from aimwell.deployment.unsubscribe import build_link, build_preferences_link, load_secret
from aimwell.engine.workspace import Reader, Workspace

_EVERYTHING: dict[Language, str] = {"en": "everything", "zh": "全场商品"}
_CHINESE_CURRENCIES = ("CNY", "HKD", "TWD", "MOP")


_MOST_PREPARED = 100_000


@dataclass(frozen=True)
class Person:
    """Whom a message goes to; nothing of it is logged."""

    customer_id: str
    recipient: str | None
    name: str = ""
    language: Language | None = None


@dataclass
class _Prepared:
    """What was read for one delivery: values, and where its message shows products, the shelf and how many."""

    values: dict[str, Any] = field(default_factory=dict)
    shelf: Shelf | None = None
    block: ProductBlock = field(default_factory=ProductBlock)


class MessageMaker:
    """Makes the messages of one workspace; threads may share it.

    ``track`` is given every message with the kind of its channel before it is returned: links and pixel
    (``tracking.message.Tracker.track``).
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        library: Library | None = None,
        track: Callable[[Message, str], Message] | None = None,
    ) -> None:
        business = workspace.settings.business
        self._workspace = workspace
        self.library = library or load_library(workspace)
        self.business = business.name
        self.language = choose_language(zone_name=business.zone, currency=business.currency)
        self._track = track
        self._prepared: dict[str, _Prepared] = {}
        self._best: tuple[date, Sequence[Mapping[str, Any]]] | None = None
        self._lock = Lock()
        with workspace.store.snapshot() as connection:
            self._keys = load_keyring(connection, load_secret(workspace.path))

    def prepare(self, candidates: Sequence[Candidate]) -> None:
        """Read at once what the messages of ``candidates`` need beyond their source; outside any transaction."""
        found = {row.delivery_id: _Prepared() for row in candidates}
        coupons = [row.delivery_id for row in candidates if (row.detail or {}).get(POOL_KEY)]
        if coupons:
            with self._workspace.store.snapshot() as connection:
                for delivery_id, code in read_issued(connection, coupons).items():
                    found[delivery_id].values["coupon_code"] = code
        self._read_warehouse(candidates, found)
        with self._lock:
            if len(self._prepared) > _MOST_PREPARED:
                # Of deliveries that were reserved and given back, again and again.
                self._prepared.clear()
            self._prepared |= found

    def make(
        self,
        candidate: Candidate,
        person: Person,
        values: Mapping[str, Any],
        *,
        details: Mapping[str, str] | None = None,
        contents: Mapping[Language, Content] | None = None,
    ) -> Message:
        """The message of a reserved delivery; LookupError or ValueError when it cannot be made.

        ``values``: what the source knows. ``contents`` replaces the default content.
        """
        if candidate.delivery_id not in self._prepared:
            self.prepare([candidate])
        with self._lock:
            prepared = self._prepared.pop(candidate.delivery_id, _Prepared())
        language = person.language or self.language
        try:
            content = self._find_content(candidate, language, contents)
        except AimwellError as error:
            # A content that is not there, or that cannot be read: this delivery fails, the others go on.
            raise ValueError(error.code) from error
        own = {"business": self.business, "customer_name": person.name, **values, **prepared.values}
        own |= self._show_products(candidate.customer_id, prepared, content.language)
        own |= self._build_links(candidate, person, content)
        message = build_message(content, candidate, person, own, details=details)
        return message if self._track is None else self._track(message, find_channel(candidate.channel))

    def _find_content(
        self, candidate: Candidate, language: Language, contents: Mapping[Language, Content] | None
    ) -> Content:
        content_id = _name_content(candidate)
        if content_id == DEFAULT_CONTENT and contents is not None:
            return contents[language]
        detail = candidate.detail or {}
        variant = detail.get("variant")
        if variant is None and (choice := self.library.draw(content_id, candidate.customer_id)):
            variant = choice.variant
        return self.library.get(content_id, language, variant=variant, version=detail.get("content_version"))

    def _build_links(self, candidate: Candidate, person: Person, content: Content) -> dict[str, str]:
        terms = {
            "customer_id": person.customer_id,
            "channel": candidate.channel,
            "language": person.language or self.language,
            "delivery_id": candidate.delivery_id,
        }
        links = {"unsubscribe_url": build_link(self._keys, **terms)}
        # Sealing a link takes as long as filling a text: only where one is read.
        if content.reads("preferences_url"):
            links["preferences_url"] = build_preferences_link(self._keys, **terms)
        return links

    def _read_warehouse(self, candidates: Sequence[Candidate], found: Mapping[str, _Prepared]) -> None:
        wanted = []
        for (content_id, version), rows in _group_contents(candidates).items():
            # A content that is not there fails its own deliveries, when they are made.
            with suppress(AimwellError):
                variables = self.library.list_variables(content_id, version)
                block = self.library.find_block(content_id, version)
                if variables or block is not None:
                    wanted.append((rows, variables, block))
        if not wanted:
            return
        with self._workspace.read() as reader:
            for rows, variables, block in wanted:
                people = [row.customer_id for row in rows]
                values = read_values(reader, people, variables)
                shelf = read_shelf(reader, people, self._read_best(reader)) if block is not None else None
                for row in rows:
                    prepared = found[row.delivery_id]
                    prepared.values |= values.get(row.customer_id, {})
                    prepared.shelf, prepared.block = shelf, block or prepared.block

    def _read_best(self, reader: Reader) -> Sequence[Mapping[str, Any]]:
        """What sells best, looked up once a business day."""
        day = business_day(now(), self._workspace.settings.business.zone)
        if self._best is None or self._best[0] != day:
            self._best = (day, read_best_sellers(reader, day))
        return self._best[1]

    def _show_products(self, customer_id: str, prepared: _Prepared, language: Language) -> dict[str, Any]:
        if prepared.shelf is None:
            return {}
        currency = self._workspace.settings.business.currency
        products = prepared.shelf.list_products(customer_id, prepared.block, language, currency)
        return {"recommendations": products, "product_block": build_block(products, language)}


@dataclass(frozen=True)
class Composer:
    """Makes the messages of one plan. ``secret`` signs the unsubscribe links; ``maker`` knows contents and coupons."""

    plan: Plan
    business: str
    language: Language
    contents: Mapping[Language, Content]
    secret: bytes
    addressees: Mapping[str, Addressee] = field(repr=False)
    maker: MessageMaker | None = None
    further: Mapping[str, Any] = field(default_factory=dict)
    """Values beyond those of the plan."""

    def compose(self, candidate: Candidate) -> Message:
        """The message of a reserved delivery; LookupError or ValueError when it cannot be made."""
        addressee = self.addressees[candidate.delivery_id]
        language = addressee.language or self.language
        # Whose record the plan's customer is by now.
        person = Person(candidate.customer_id, addressee.recipient, addressee.name, language)
        values = {**self._fill(addressee, language), **self.further}
        details = _describe(addressee, language)
        if self.maker is not None:
            return self.maker.make(candidate, person, values, details=details, contents=self.contents)
        keys = Keyring.of(self.secret)
        terms = {"customer_id": candidate.customer_id, "channel": candidate.channel}
        links = {
            "unsubscribe_url": build_link(keys, **terms),
            "preferences_url": build_preferences_link(keys, **terms),
        }
        return build_message(self.contents[language], candidate, person, values | links, details=details)

    def _fill(self, addressee: Addressee, language: Language) -> dict[str, Any]:
        return {
            "customer_name": addressee.name,
            "business": self.business,
            "department": addressee.department or _EVERYTHING[language],
            "discount_percent": round(addressee.discount * 100),
            "discount_fold": show_fold(addressee.discount),
            "products": list(addressee.products),
            "valid_until": _show_day(self.plan.as_of + timedelta(days=self.plan.days - 1), language),
            "best_hour": "" if addressee.best_hour is None else f"{addressee.best_hour}:00",
            "reason": addressee.reason.render(language) if addressee.reason else "",
        }


def build_message(
    content: Content,
    candidate: Candidate,
    person: Person,
    values: Mapping[str, Any],
    *,
    details: Mapping[str, str] | None = None,
) -> Message:
    """The message of ``candidate.channel`` out of ``content``; LookupError or ValueError when it cannot be made."""
    if person.recipient is None:
        raise ValueError("no address")
    channel = find_channel(candidate.channel)
    parts = {part: content.render(part, values) for part in list_channel_parts(channel)}
    heads: tuple[Part, ...] = ("subject.txt", "push_title.txt", "inapp_title.txt")
    # By these the call desk orders its list, and the inbox forgets.
    further = {"priority": str(candidate.priority), **(details or {})}
    if candidate.expires_ms is not None:
        further["expires_at_ms"] = str(candidate.expires_ms)
    if "push_url.txt" in content.templates and channel in ("push", "web"):
        further["link"] = content.render("push_url.txt", values)
    if values.get("coupon_code"):
        further["coupon"] = str(values["coupon_code"])
    texts: Iterable[Part] = (part for part in parts if part not in heads and part != "email.html")
    return Message(
        delivery_id=candidate.delivery_id,
        plan_id=candidate.plan_id,
        customer_id=person.customer_id,
        recipient=person.recipient,
        name=person.name,
        language=content.language,
        subject=next((parts[part] for part in heads if part in parts), ""),
        text=parts[next(iter(texts))],
        html=parts.get("email.html", ""),
        unsubscribe_url=str(values.get("unsubscribe_url", "")) if channel == "email" else "",
        details=further,
    )


def index_addressees(plan_id: str, addressees: Sequence[Addressee]) -> dict[str, Addressee]:
    """The addressees by the id of their delivery."""
    return {identify_delivery(plan_id, item.customer_id, item.action_id): item for item in addressees}


def choose_language(*, zone_name: str, currency: str) -> Language:
    """The language of customers who named none: that of the business's market."""
    chinese = currency in _CHINESE_CURRENCIES or zone_name in ("Asia/Shanghai", "Asia/Taipei", "Asia/Urumqi")
    return "zh" if chinese else "en"


def _name_content(candidate: Candidate) -> str:
    return candidate.content_id or DEFAULT_CONTENT


def _group_contents(candidates: Sequence[Candidate]) -> dict[tuple[str, int | None], list[Candidate]]:
    """The deliveries of each content and version that people wrote."""
    groups: dict[tuple[str, int | None], list[Candidate]] = defaultdict(list)
    for row in candidates:
        if _name_content(row) != DEFAULT_CONTENT:
            groups[_name_content(row), (row.detail or {}).get("content_version")].append(row)
    return groups


def _describe(addressee: Addressee, language: Language) -> dict[str, str]:
    hour = addressee.best_hour
    return {
        "offer": addressee.title.render(language),
        "reason": addressee.reason.render(language) if addressee.reason else "",
        "best_hour": "" if hour is None else f"{hour}:00–{(hour + 1) % 24}:00",
        "products": ("、" if language == "zh" else ", ").join(addressee.products),
    }


def _show_day(day: date, language: Language) -> str:
    return f"{day.year}年{day.month}月{day.day}日" if language == "zh" else f"{day.day} {day:%B %Y}"
