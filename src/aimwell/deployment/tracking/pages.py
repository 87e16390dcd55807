"""The pages for recipients: unsubscribing, undoing it, the preference centre, and what a bad link shows.

Only what is shown: nothing is decided or written here. The sentences of consent are functions of their own, as the
proof of a consent keeps the very words. Reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aimwell.core.text import LANGUAGES, Language, Text, current_language, say
from aimwell.deployment.tracking.markup import (
    LANGUAGE_NAMES,
    LANGUAGE_TAGS,
    Html,
    build_page,
    join,
    tag,
)
from aimwell.deployment.tracking.preferences import CAPS, OwnCap, Standing

CHANNEL_NAMES: dict[str, Text] = {
    "email": say("e-mail"),
    "sms": say("SMS"),
    "push": say("app notification"),
    "wechat": say("WeChat"),
    "call": say("phone call"),
    "mail": say("letter"),
    "web": say("messages on our website"),
    "ad": say("advertisements"),
}
"""As they stand within a sentence."""


@dataclass(frozen=True)
class Frame:
    """In which language, for whom, and whether the switch's choice must be carried along by the forms."""

    business: str
    language: Language

    def show(self, text: Text) -> str:
        """``text`` in the language of the page."""
        return text.render(self.language)

    def build(self, title: Text, *body: str) -> bytes:
        """The page."""
        shown = self.show(title)
        return build_page(title=shown, business=self.business, language=self.language, body=join(*body))


class Title(Text):
    """A text that the workspace's settings hold in both languages."""

    @classmethod
    def of(cls, *, en: str, zh: str) -> Title:
        """The text of the two."""
        return cls(en, (("zh", zh),))

    def render(self, language: Language | None = None) -> str:
        """The text in ``language``."""
        return str(self.parameters[0][1]) if (language or current_language()) == "zh" else self.id


def name_channel(channel: str) -> Text | str:
    """The channel within a sentence; one that we do not know is shown as it is."""
    return CHANNEL_NAMES.get(channel, channel)


def say_agreement(business: str, channel: str) -> Text:
    """The words of a consent."""
    return say(
        "I agree that {business} sends me marketing by {channel}. I can end this at any time.",
        business=business,
        channel=name_channel(channel),
    )


def show_question(frame: Frame, channel: str, *, preferences: str) -> bytes:
    """Before unsubscribing."""
    named = name_channel(channel)
    return frame.build(
        say("Unsubscribe"),
        tag("h1", frame.show(say("No more marketing by {channel}?", channel=named))),
        tag(
            "p",
            frame.show(
                say(
                    "{business} will send you no more marketing by {channel}. It takes effect at once.",
                    business=frame.business,
                    channel=named,
                )
            ),
        ),
        _button(frame, say("Unsubscribe"), action="unsubscribe"),
        _link_preferences(frame, say("Or choose what you receive"), preferences),
    )


def show_ended(
    frame: Frame, channel: str, *, ticket: str, preferences: str, done: bool, blocked: bool
) -> bytes:
    """After unsubscribing, and whenever the link is opened again. ``done``: it was done just now."""
    named = name_channel(channel)
    title = say("You are unsubscribed")
    effect = say(
        "{business} sends you no more marketing by {channel}. Messages about your orders and contracts may still come.",
        business=frame.business,
        channel=named,
    )
    status = tag("p", frame.show(say("Done. It takes effect at once.")), role="status") if done else Html("")
    undo = Html("")
    if not blocked:
        undo = tag(
            "div",
            tag("h2", frame.show(say("Was that a mistake?"))),
            tag("p", frame.show(say_agreement(frame.business, channel))),
            _button(frame, say("Agree and subscribe again"), action="subscribe", ticket=ticket, second=True),
            class_="apart",
        )
    return frame.build(
        title,
        tag("h1", frame.show(title)),
        status and tag("div", status, class_="done"),
        tag("p", frame.show(effect)),
        _link_preferences(frame, say("Choose what you receive"), preferences),
        undo,
    )


def show_begun(frame: Frame, channel: str, *, preferences: str) -> bytes:
    """After subscribing again."""
    title = say("You are subscribed again")
    effect = say(
        "{business} may send you marketing by {channel} again.",
        business=frame.business,
        channel=name_channel(channel),
    )
    return frame.build(
        title,
        tag("h1", frame.show(title)),
        tag("div", tag("p", frame.show(effect), role="status"), class_="done"),
        _button(frame, say("Unsubscribe"), action="unsubscribe", second=True),
        _link_preferences(frame, say("Choose what you receive"), preferences),
    )


def show_forgotten(frame: Frame, *, done: bool) -> bytes:
    """For a person who was erased. ``done``: contact was to end, which it had; else the wish needs a new start."""
    title = say("You are unsubscribed") if done else say("Nothing was changed.")
    status = tag("p", frame.show(say("Done. It takes effect at once.")), role="status") if done else Html("")
    kept = say(
        "{business} has erased your data and sends you no marketing. Nothing of what you chose here was stored.",
        business=frame.business,
    )
    again = say("To hear from us again, please sign up anew.")
    return frame.build(
        title,
        tag("h1", frame.show(title)),
        status and tag("div", status, class_="done"),
        tag("p", frame.show(kept)),
        tag("p", frame.show(again)) if not done else Html(""),
    )


def show_preferences(
    frame: Frame,
    standing: Standing,
    topics: Mapping[str, Text],
    *,
    ticket: str,
    done: Sequence[Text] | None = None,
) -> bytes:
    """The preference centre. ``done``: what was changed just now; empty: nothing."""
    title = say("What you receive from us")
    intro = say(
        "Choose how {business} may send you marketing. Messages about your orders and contracts may still come.",
        business=frame.business,
    )
    form = tag(
        "form",
        _ask_channels(frame, standing, topics),
        _ask_frequency(frame, standing.cap),
        _ask_language(frame, standing.language or frame.language),
        *_hide(frame, "save", ticket),
        tag("button", frame.show(say("Save")), type="submit"),
        method="post",
    )
    stop = tag(
        "div",
        tag("h2", frame.show(say("No marketing at all"))),
        tag("p", frame.show(say("Ends marketing by all of these ways at once."))),
        _button(frame, say("Unsubscribe from everything"), action="stop", ticket=ticket, kind="stop"),
        class_="apart",
    )
    return frame.build(
        title,
        _show_done(frame, done),
        tag("h1", frame.show(title)),
        tag("p", frame.show(intro)),
        form,
        stop if any(standing.channels.values()) else Html(""),
    )


def show_problem(frame: Frame, title: Text, advice: Text) -> bytes:
    """A page for what cannot be done."""
    return frame.build(title, tag("h1", frame.show(title)), tag("p", frame.show(advice)))


def _show_done(frame: Frame, done: Sequence[Text] | None) -> Html:
    if done is None:
        return Html("")
    if not done:
        return tag("div", tag("p", frame.show(say("Nothing was changed.")), role="status"), class_="done")
    lines = [tag("li", frame.show(text)) for text in done]
    content = (tag("p", frame.show(say("Saved. It takes effect at once:"))), tag("ul", *lines))
    return tag("div", *content, class_="done", role="status")


def _ask_channels(frame: Frame, standing: Standing, topics: Mapping[str, Text]) -> Html:
    options = [_ask_channel(frame, channel, standing, topics) for channel in standing.channels]
    return tag("fieldset", tag("legend", frame.show(say("How we may reach you"))), tag("div", *options))


def _ask_channel(frame: Frame, channel: str, standing: Standing, topics: Mapping[str, Text]) -> Html:
    on, blocked = standing.channels[channel], channel in standing.blocked
    named = frame.show(say("Marketing by {channel}", channel=name_channel(channel)))
    agreement = say_agreement(frame.business, channel)
    note = frame.show(
        say("We have switched this off. Contact us to have it again.") if blocked else agreement
    )
    way = _option("checkbox", "channel", channel, named, checked=on, off=blocked, note=note)
    if not on:
        return way
    # Topics count only where the way itself is open.
    wanted = [
        _option(
            "checkbox",
            "topic",
            f"{channel}:{topic}",
            frame.show(title),
            checked=(channel, topic) not in standing.refused_topics,
        )
        for topic, title in topics.items()
    ]
    group = tag("div", *wanted, class_="inner", role="group", aria_label=named)
    return join(way, group) if wanted else way


def _ask_frequency(frame: Frame, cap: OwnCap | None) -> Html:
    known = cap is None or (cap.cap, cap.days) in CAPS
    offers = CAPS if known or cap is None else ((cap.cap, cap.days), *CAPS)
    options = [
        _option(
            "radio",
            "frequency",
            f"{most}/{days}",
            frame.show(say("At most {most} in {days} days", most=most, days=days)),
            checked=cap == OwnCap(most, days),
        )
        for most, days in offers
    ]
    free = _option("radio", "frequency", "", frame.show(say("No limit of my own")), checked=cap is None)
    return tag("fieldset", tag("legend", frame.show(say("How often"))), tag("div", free, *options))


def _ask_language(frame: Frame, chosen: Language) -> Html:
    options = [
        tag(
            "div",
            _option("radio", "language", one, LANGUAGE_NAMES[one], checked=one == chosen),
            lang=LANGUAGE_TAGS[one],
        )
        for one in LANGUAGES
    ]
    return tag("fieldset", tag("legend", frame.show(say("Language of our messages"))), tag("div", *options))


def _option(
    kind: str, name: str, value: str, label: str, *, checked: bool, off: bool = False, note: str = ""
) -> Html:
    box = tag("input", type=kind, name=name, value=value, checked=checked and not off, disabled=off)
    explained = (tag("span", note, class_="note"),) if note else ()
    return tag("label", box, tag("span", label, *explained), class_="option")


def _button(
    frame: Frame, label: Text, *, action: str, ticket: str = "", second: bool = False, kind: str = ""
) -> Html:
    button = tag("button", frame.show(label), type="submit", class_=kind or ("second" if second else "first"))
    return tag("form", *_hide(frame, action, ticket), button, method="post")


def _hide(frame: Frame, action: str, ticket: str) -> list[Html]:
    values = {"action": action, "lang": frame.language, "ticket": ticket}
    return [tag("input", type="hidden", name=name, value=value) for name, value in values.items() if value]


def _link_preferences(frame: Frame, label: Text, address: str) -> Html:
    return tag("p", tag("a", frame.show(label), href=f"{address}?lang={frame.language}"), class_="apart")
