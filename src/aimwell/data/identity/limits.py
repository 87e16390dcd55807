"""Which identifiers join nobody: stand-ins that staff type, switchboards, and values that too many records share.

The business's own rules stand in ``identity.toml`` of the workspace: ``region``, ``blocked = ["02161234567"]`` and a
table ``[limits]`` with the most records that may share a value of a kind. Reads that file; writes nothing.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from babel.core import get_global

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.data.identity.normalise import clean, normalise_email, normalise_phone

FILE = "identity.toml"
DEFAULT_LIMITS = {
    "phone": 5,
    "email": 5,
    "device": 5,
    "member": 3,
    "id_number": 3,
    "openid": 3,
    "unionid": 10,
}
"""Family members share a phone; a hundred records share a shop's."""
_ELSE_LIMIT = 5

_STAND_INS = frozenset(
    [
        "13800138000",
        "13800000000",
        "13888888888",
        "13900139000",
        "13912345678",
        "13812345678",
        "15800000000",
        "18888888888",
        "13000000000",
        "15888888888",
        "18800000000",
        "13333333333",
        "13666666666",
        "13999999999",
    ]
)
_MAILBOXES = frozenset(
    [
        "test",
        "testing",
        "noreply",
        "no-reply",
        "donotreply",
        "none",
        "null",
        "na",
        "n/a",
        "nomail",
        "noemail",
        "unknown",
        "anonymous",
        "example",
        "user",
        "abc",
        "aaa",
        "asdf",
        "admin",
        "info",
        "sales",
        "office",
        "contact",
        "service",
        "postmaster",
        "webmaster",
        "kefu",
        "123",
        "123456",
        "qq",
    ]
)
_DOMAINS = frozenset(
    [
        "example.com",
        "example.org",
        "example.net",
        "test.com",
        "test.cn",
        "mailinator.com",
        "localhost.localdomain",
    ]
)
_EMPTY_WORDS = frozenset(
    [
        "none",
        "null",
        "nan",
        "na",
        "n/a",
        "unknown",
        "undefined",
        "test",
        "无",
        "未知",
        "没有",
        "不详",
        "空",
        "暂无",
    ]
)
_EMPTY_DEVICE = re.compile(r"[0\-]+|(0123456789abcdef)|(9774d56d682e549c)", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """What holds for this business: the country of bare phone numbers, blocked values, the most sharers per kind."""

    region: str = "CN"
    blocked: frozenset[str] = frozenset()
    most: dict[str, int] = field(default_factory=dict)

    def most_of(self, kind: str) -> int:
        """How many records may share a value of ``kind`` and still be joined by it."""
        plain = kind.split(":")[0]
        return self.most.get(kind, self.most.get(plain, DEFAULT_LIMITS.get(plain, _ELSE_LIMIT)))

    def is_blocked(self, kind: str, value: str) -> bool:
        """Whether a value in its normal form is no person's own."""
        return value in self.blocked or _is_stand_in(kind.split(":")[0], value)


def load_limits(folder: Path, zone: str) -> Limits:
    """The workspace's rules; BadInput when ``identity.toml`` cannot be read or says something else."""
    path = folder / FILE
    region = str(get_global("zone_territories").get(zone, "CN"))
    if not path.is_file():
        return Limits(region)
    try:
        values = tomllib.loads(path.read_text("utf-8"))
        region = str(values.pop("region", region)).upper()
        blocked = [str(value) for value in values.pop("blocked", [])]
        most = {str(kind): int(number) for kind, number in values.pop("limits", {}).items()}
        if values or any(number < 2 for number in most.values()):
            raise ValueError(", ".join(values) or "limits")
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, ValueError, TypeError, AttributeError) as error:
        raise BadInput(
            "data.identity_rules_unreadable",
            say("The rules in {file} cannot be used: {problem}.", file=FILE, problem=str(error)),
            remedy=say(
                'Write region = "CN", blocked = ["02161234567"] and a table [limits] with numbers from 2.'
            ),
            where={"file": str(path)},
        ) from error
    forms = {form for value in blocked for form in _list_forms(value, region)}
    return Limits(region, frozenset(forms), most)


def _list_forms(value: str, region: str) -> set[str]:
    """A blocked value as it may stand in any kind."""
    found = {clean(value), normalise_phone(value, region), normalise_email(value), value.upper()}
    return {form for form in found if form}


def _is_stand_in(kind: str, value: str) -> bool:
    if kind == "phone":
        digits = value.lstrip("+")
        local = digits.removeprefix("86") if digits.startswith("86") else digits
        return local in _STAND_INS or _is_pattern(local[-8:])
    if kind == "email":
        mailbox, _, domain = value.partition("@")
        return mailbox in _MAILBOXES or domain in _DOMAINS or _is_pattern(mailbox)
    if value.casefold() in _EMPTY_WORDS:
        return True
    if kind == "device":
        return bool(_EMPTY_DEVICE.fullmatch(value))
    return _is_pattern(value)


def _is_pattern(text: str) -> bool:
    """One sign repeated, or digits that only count up or down: typed to get past a form."""
    if len(text) < 5:
        return False
    if len(set(text)) == 1:
        return True
    return text.isdecimal() and (text in "01234567890123456789" or text in "98765432109876543210")
