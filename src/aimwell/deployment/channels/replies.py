"""What people answer to an SMS: stop, help, start, or something that a person must read.

Only a message that says nothing else is taken for a word of a family: 退订 and "please stop", not "when does the sale
stop?". Stopping holds at once and for good; wishing to start again is noted, and becomes a permission only where the
operator has decided so; everything unclear becomes a task. Writes the store's ``suppressions``, ``consent_states``,
``call_tasks`` and ``channel_events``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import sqlalchemy as sa

from aimwell.deployment.channels.event_outbox import make_event, put_events
from aimwell.deployment.desk.tasks import NewTask, add_tasks
from aimwell.engine.permissions import (
    ALL_CHANNELS,
    ConsentState,
    Suppression,
    add_suppression,
    list_suppressions,
    remember_consents,
    remove_suppression,
    take_turn,
)

SOURCE = "reply"
_MOST_CHARACTERS = 2_000


class ReplyKind(StrEnum):
    """What a reply asks for."""

    STOP = "stop"
    """No more on this channel."""
    STOP_ALL = "stop_all"
    """No more on any channel."""
    START = "start"
    HELP = "help"
    UNCLEAR = "unclear"


_ENGLISH: dict[ReplyKind, str] = {
    ReplyKind.STOP_ALL: "stopall|stop all|unsubscribe all|unsubscribe from all|stop everything",
    ReplyKind.STOP: "stop|stopp|unsubscribe|unsub|unsubcribe|cancel|end|quit|optout|opt out|opt me out|remove|remove me"
    "|revoke|td|t|n|r|tt|qx|0000|no more|no more messages|no more texts|stop it|stop this"
    "|(stop|end|quit|cancel) (texting|messaging|sending|contacting|these|the|all|your)?"
    "( ?(me|us|to me|these|this|your|any|more|text|texts|sms|message|messages|spam|ads))+"
    "|(do not|dont|don t) (text|message|contact|write|send)( (me|us|to me|any|more|anymore|again|texts|messages))*"
    "|leave me alone|take me off( (your|the|this) list)?",
    ReplyKind.START: "start|unstop|restart|resume|subscribe|resubscribe|opt in|optin|opt me in|begin",
    ReplyKind.HELP: "help|info|information|who is this|who are you|what is this|support",
}
_CHINESE: dict[ReplyKind, str] = {
    ReplyKind.STOP_ALL: "(全部|所有)(都)?(退订|取消|拒收|停止)|退订(全部|所有)|取消(全部|所有)(订阅)?"
    "|(全部|所有)渠道(退订|拒收)",
    ReplyKind.STOP: "退订|退|拒收|取消|停止|停|退出|拒绝|屏蔽|td退订|退订t|t退订|退订td|退订n|退订r"
    "|回t|回t退订|回复t|回复td|回复退订|回td|回td退订|退订回t|拒收回r|取消(订阅|接收|短信|简讯|推送|关注|提醒|发送)|停止(发送|接收|推送|短信|简讯|发短信|订阅|打扰)"
    "|退订(短信|简讯|信息|服务|订阅|推送|消息|广告)|拒收(短信|简讯|信息|消息|广告|推送)|不接收(短信|简讯|信息|消息|广告)?|不订阅|不想收到?(了|短信|简讯|信息)?"
    "|(不要|不用|别|勿|莫|请勿)(再)?(给我|向我|跟我|对我)?(再)?(发|发送|推送|打扰|骚扰|联系)(我|给我)?(这个|这些|这种|这类|任何)?"
    "(垃圾|营销|广告|推广)?(短信|简讯|信息|消息|广告|东西|了短信)?|(不要|别)再?来(短信|简讯|信息|消息|烦我)|不再接收(短信|简讯|信息|消息)?",
    ReplyKind.START: "恢复|恢复(订阅|接收|短信|简讯|发送)|重新订阅|订阅|开通|开始|继续接收|继续发(送)?|接收|重新接收",
    ReplyKind.HELP: "帮助|客服|人工|人工客服|转人工|你是谁|您是谁|你们是谁|哪位|谁|什么短信|简讯|咨询",
}
_POLITE_BEFORE = r"(please |pls |plz |kindly |i want to |i would like to |i d like to |hi |hello |ok |okay )*"
_POLITE_AFTER = r"( please| pls| plz| thanks| thank you| thx| now| immediately| today| here| ok| forever)*"
_BEFORE = (
    "(请|麻烦|烦请|拜托|求|求你|求求你|你好|您好|我要|我想|我想要|帮我|给我|马上|立即|立刻|赶紧|本人|我|要求|申请"
    "|麻烦你|麻烦您|以后|今后)*"
)
_AFTER = "(了|吧|啦|呢|哈|啊|呀|谢谢|多谢|感谢|谢了|一下|谢谢你|谢谢您|哦|噢|好吗|可以吗|行吗|好么)*"
_PATTERNS = [
    (kind, re.compile(pattern))
    for kind in (ReplyKind.STOP_ALL, ReplyKind.STOP, ReplyKind.START, ReplyKind.HELP)
    for pattern in (
        f"{_POLITE_BEFORE}(?:{_ENGLISH[kind]}){_POLITE_AFTER}",
        f"{_BEFORE}(?:{_CHINESE[kind]}){_AFTER}",
    )
]
# Traditional characters of the words above; a table of a language's whole script is not needed to read five words.
_SIMPLE = str.maketrans("訂閱絕發簡訊給請煩幫這個對復續開啟務誰麼嗎謝馬廣東關聯繫莫種類擾騷",
                        "订阅绝发简讯给请烦帮这个对复续开启务谁么吗谢马广东关联系莫种类扰骚")  # fmt: skip
_LONGEST = 60


def classify_reply(text: str) -> ReplyKind:
    """What the message asks for, if it says nothing else.

    >>> classify_reply(" ＳＴＯＰ！"), classify_reply("请不要再发短信了，谢谢"), classify_reply("不退订")
    (<ReplyKind.STOP: 'stop'>, <ReplyKind.STOP: 'stop'>, <ReplyKind.UNCLEAR: 'unclear'>)
    """
    # Whether it asks "how do I stop this?" stands in its mark; a mark alone asks for help.
    if text.strip() and not text.strip(" ?？\u3000\t\r\n"):
        return ReplyKind.HELP
    words = normalise_reply(text)
    if not words or len(words) > _LONGEST:
        return ReplyKind.UNCLEAR
    for kind, pattern in _PATTERNS:
        if pattern.fullmatch(words) or pattern.fullmatch(words.replace(" ", "")):
            return kind
    return ReplyKind.UNCLEAR


def normalise_reply(text: str) -> str:
    """Half-width, lower case, simplified; without marks, emoji and invisible characters; words one blank apart."""
    folded = unicodedata.normalize("NFKC", text[:_MOST_CHARACTERS]).casefold().translate(_SIMPLE)
    kept = []
    for char in folded:
        kind = unicodedata.category(char)
        if kind[0] in "LN":
            kept.append(char)
        elif kind != "Cf" and kind[0] != "M":
            # An apostrophe within a word, an invisible character or an accent divides nothing.
            kept.append(" ")
    words = "".join(kept).split()
    return _join_letters(words)


def _join_letters(words: Sequence[str]) -> str:
    """Blanks within Chinese, and between single letters (S T O P), mean nothing."""
    if len(words) > 1 and all(len(word) == 1 and word.isascii() and word.isalpha() for word in words):
        return "".join(words)
    line = " ".join(words)
    return re.sub(r"(?<=[\u3400-\u9fff]) (?=[\u3400-\u9fff])", "", line)


@dataclass(frozen=True)
class ReplyRules:
    """What the operator decided. ``start_permits``: START is a consent; else it is noted for a person to look at."""

    channel: str = "sms"
    start_permits: bool = False


@dataclass(frozen=True)
class Reply:
    """A message of a person. ``customers`` are all who have that address; ``key`` tells this message from others."""

    key: str
    text: str
    customers: tuple[str, ...]
    at_ms: int


def apply_reply(connection: sa.Connection, reply: Reply, rules: ReplyRules, now_ms: int) -> ReplyKind:
    """Do what the reply asks for, within the caller's transaction; doing it again changes nothing.

    Of a number that several people share nobody knows who wrote: a wish to stop holds for all of them, any other is
    a task. A reply of nobody we know is only classified.
    """
    kind = classify_reply(reply.text)
    if kind in (ReplyKind.STOP, ReplyKind.STOP_ALL):
        for customer in reply.customers:
            _stop(connection, reply, customer, kind, rules)
    elif kind is ReplyKind.START and rules.start_permits and len(reply.customers) == 1:
        _start(connection, reply, reply.customers[0], rules)
    else:
        _ask_a_person(connection, reply, kind, rules, now_ms)
    events = [
        make_event("Message Replied", customer, reply.at_ms, {"channel": rules.channel, "kind": kind.value},
                   key=[reply.key])
        for customer in reply.customers
    ]  # fmt: skip
    put_events(connection, events, now_ms)
    return kind


def _stop(connection: sa.Connection, reply: Reply, customer: str, kind: ReplyKind, rules: ReplyRules) -> None:
    wide = kind is ReplyKind.STOP_ALL
    channel = ALL_CHANNELS if wide else rules.channel
    add_suppression(connection, Suppression(customer, channel, SOURCE, reply.at_ms))
    remember_consents(connection, [ConsentState(customer, rules.channel, False, reply.at_ms)])
    properties = {"channel": channel, "purpose": "marketing", "allowed": False, "source": SOURCE}
    event = make_event("Consent Withdrawn", customer, reply.at_ms, properties, key=[reply.key])
    put_events(connection, [event], reply.at_ms)


def _start(connection: sa.Connection, reply: Reply, customer: str, rules: ReplyRules) -> None:
    take_turn(connection)
    # Only what a reply had stopped: a complaint, or an operator's decision, is not undone by a word.
    removed = remove_own_suppression(connection, customer, rules.channel)
    remember_consents(connection, [ConsentState(customer, rules.channel, True, reply.at_ms)])
    properties = {"channel": rules.channel, "purpose": "marketing", "allowed": True, "source": SOURCE,
                  "unsuppressed": removed}  # fmt: skip
    event = make_event("Consent Given", customer, reply.at_ms, properties, key=[reply.key])
    put_events(connection, [event], reply.at_ms)


def remove_own_suppression(connection: sa.Connection, customer: str, channel: str) -> bool:
    """Take back what a reply on this channel had stopped; whether there was such a line, and no other is left."""
    lines = [line for line in list_suppressions(connection, [customer]) if line.channel == channel]
    if not lines or lines[0].source != SOURCE:
        return False
    return remove_suppression(connection, customer, channel) > 0


def _ask_a_person(
    connection: sa.Connection, reply: Reply, kind: ReplyKind, rules: ReplyRules, now_ms: int
) -> None:
    card = {"text": reply.text[:_MOST_CHARACTERS], "channel": rules.channel, "wish": kind.value}
    tasks = [
        NewTask(
            task_id=make_event("Reply Task", customer, reply.at_ms, {}, key=[reply.key])["messageId"],
            customer_id=customer,
            kind="reply",
            plan_id=f"reply:{rules.channel}",
            card=card,
            due_ms=now_ms,
        )
        for customer in reply.customers
    ]
    add_tasks(connection, tasks, now_ms)
