"""The parts of a content: which texts there are, which channel needs which, how long they may be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from aimwell.core.text import Text, say

Part: TypeAlias = Literal[
    "subject.txt",
    "email.txt",
    "email.html",
    "sms.txt",
    "call.txt",
    "mail.txt",
    "push_title.txt",
    "push_body.txt",
    "push_url.txt",
    "inapp_title.txt",
    "inapp_body.txt",
    "robot.md",
]
BASIC_PARTS: tuple[Part, ...] = (
    "subject.txt",
    "email.txt",
    "email.html",
    "sms.txt",
    "call.txt",
    "mail.txt",
    "push_title.txt",
    "push_body.txt",
    "inapp_title.txt",
    "inapp_body.txt",
    "robot.md",
)
"""What the package itself brings in both languages."""
PARTS: tuple[Part, ...] = (*BASIC_PARTS, "push_url.txt")

CHANNEL_PARTS: Mapping[str, tuple[Part, ...]] = {
    "email": ("subject.txt", "email.txt", "email.html"),
    "sms": ("sms.txt",),
    "call": ("call.txt",),
    "mail": ("subject.txt", "mail.txt"),
    "push": ("push_title.txt", "push_body.txt"),
    "web": ("inapp_title.txt", "inapp_body.txt"),
    "robot": ("robot.md",),
}
"""What a message of a channel is made of; an address to open (``push_url.txt``) may be left out."""

ONE_LINE: frozenset[Part] = frozenset(("subject.txt", "push_title.txt", "push_url.txt", "inapp_title.txt"))
"""Parts that are brought into one line, so that no value can add a header."""
LONGEST: Mapping[Part, int] = {
    "subject.txt": 78,
    "push_title.txt": 50,
    "push_body.txt": 180,
    "inapp_title.txt": 80,
}
"""Columns after which devices cut; a Chinese character takes two."""


def is_part(name: str) -> bool:
    """Whether a file of this name is a part."""
    return name in PARTS


def read_part(name: str) -> Part:
    """``name`` as a part; KeyError when it is none."""
    if name not in PARTS:
        raise KeyError(name)
    return name


def find_channel(channel: str) -> str:
    """The kind of a channel's name: ``robot:sales`` is a robot."""
    return channel.partition(":")[0]


def list_channel_parts(channel: str) -> tuple[Part, ...]:
    """What a message of ``channel`` is made of; a channel that is not known gets the text of an SMS."""
    return CHANNEL_PARTS.get(find_channel(channel), ("sms.txt",))


def title_part(part: Part) -> Text:
    """The part for people."""
    titles: dict[Part, Text] = {
        "subject.txt": say("subject"),
        "email.txt": say("e-mail, plain text"),
        "email.html": say("e-mail, HTML"),
        "sms.txt": say("SMS"),
        "call.txt": say("call script"),
        "mail.txt": say("letter"),
        "push_title.txt": say("push title"),
        "push_body.txt": say("push text"),
        "push_url.txt": say("push address"),
        "inapp_title.txt": say("in-app title"),
        "inapp_body.txt": say("in-app text"),
        "robot.md": say("robot message"),
    }
    return titles[part]
