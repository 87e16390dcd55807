"""From an addressee to the message that a channel takes. Reads no table, writes none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from aimwell.core.text import Language
from aimwell.deployment.audience import Addressee, Plan
from aimwell.deployment.channels.channel import Message
from aimwell.deployment.content import Content, Part, Value, show_fold
from aimwell.deployment.ledger_rows import identify_delivery
from aimwell.deployment.policy import Candidate
from aimwell.deployment.unsubscribe import build_link

_TEXT_PARTS: dict[str, Part] = {
    "email": "email.txt",
    "sms": "sms.txt",
    "call": "call.txt",
    "mail": "mail.txt",
}
_EVERYTHING: dict[Language, str] = {"en": "everything", "zh": "全场商品"}
_CHINESE_CURRENCIES = ("CNY", "HKD", "TWD", "MOP")


@dataclass(frozen=True)
class Composer:
    """Makes the messages of one plan. ``secret`` signs the unsubscribe links."""

    plan: Plan
    business: str
    language: Language
    contents: Mapping[Language, Content]
    secret: bytes
    addressees: Mapping[str, Addressee] = field(repr=False)

    def compose(self, candidate: Candidate) -> Message:
        """The message of a reserved delivery; LookupError or ValueError when it cannot be made."""
        addressee = self.addressees[candidate.delivery_id]
        if addressee.recipient is None:
            raise ValueError("no address")
        language = addressee.language or self.language
        content = self.contents[language]
        link = build_link(self.secret, customer_id=addressee.customer_id, channel=addressee.channel)
        values = self._fill(addressee, language, link)
        email = addressee.channel == "email"
        return Message(
            delivery_id=candidate.delivery_id,
            plan_id=self.plan.wave.plan_id,
            customer_id=addressee.customer_id,
            recipient=addressee.recipient,
            name=addressee.name,
            language=language,
            subject=content.render("subject.txt", values) if addressee.channel in ("email", "mail") else "",
            text=content.render(_TEXT_PARTS.get(addressee.channel, "sms.txt"), values),
            html=content.render("email.html", values) if email else "",
            unsubscribe_url=link if email else "",
            details=_describe(addressee, language),
        )

    def _fill(self, addressee: Addressee, language: Language, link: str) -> dict[str, Value]:
        return {
            "customer_name": addressee.name,
            "business": self.business,
            "department": addressee.department or _EVERYTHING[language],
            "discount_percent": round(addressee.discount * 100),
            "discount_fold": show_fold(addressee.discount),
            "products": list(addressee.products),
            "valid_until": _show_day(self.plan.as_of + timedelta(days=self.plan.days - 1), language),
            "unsubscribe_url": link,
            "best_hour": "" if addressee.best_hour is None else f"{addressee.best_hour}:00",
            "reason": addressee.reason.render(language) if addressee.reason else "",
        }


def index_addressees(plan_id: str, addressees: Sequence[Addressee]) -> dict[str, Addressee]:
    """The addressees by the id of their delivery."""
    return {identify_delivery(plan_id, item.customer_id, item.action_id): item for item in addressees}


def choose_language(*, zone_name: str, currency: str) -> Language:
    """The language of customers who named none: that of the business's market."""
    chinese = currency in _CHINESE_CURRENCIES or zone_name in ("Asia/Shanghai", "Asia/Taipei", "Asia/Urumqi")
    return "zh" if chinese else "en"


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
