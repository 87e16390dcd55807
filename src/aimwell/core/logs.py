"""Structured logs of service and worker: one event a line, without personal data.

An event is a constant name with values: counts, ids, codes. Whatever slips in nevertheless does not reach the stream:
values under names that mean a person are dropped, and in all other text what looks like an e-mail address, a phone
number, a token or a password goes. Of an exception only its type, its code and its frames are told, for its message may
hold values of rows. What libraries log passes the same way.

    log = get_logger("intake")
    log.info("intake.taken", events=3)
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import IO, Any, Literal

import structlog

from aimwell.core.errors import AimwellError

Format = Literal["auto", "json", "console"]
Level = Literal["debug", "info", "warning", "error"]

HIDDEN = "[hidden]"
_MOST_TEXT = 500
_MOST_FRAMES = 12
_MOST_DEPTH = 6
PERSONAL = frozenset(
    [
        "address",
        "addresses",
        "anonymous_id",
        "authorization",
        "birthday",
        "body",
        "city",
        "content",
        "cookie",
        "coupon",
        "customer_name",
        "email",
        "emails",
        "external_id",
        "first_name",
        "full_name",
        "headers",
        "html",
        "id_card",
        "ip",
        "key",
        "last_name",
        "mail",
        "message",
        "messages",
        "mobile",
        "name",
        "names",
        "nickname",
        "note",
        "openid",
        "openids",
        "parameters",
        "params",
        "password",
        "payload",
        "personal",
        "phone",
        "phones",
        "properties",
        "query",
        "recipient",
        "recipients",
        "reply",
        "sender_name",
        "secret",
        "signature",
        "street",
        "subject",
        "text",
        "token",
        "tokens",
        "traits",
        "url",
        "user",
        "userid",
        "user_id",
        "username",
        "values",
        "wechat",
        "write_key",
        "地址",
        "姓名",
        "手机",
        "手机号",
        "邮箱",
        "电话",
    ]
)
"""Names of values that may be about a person, or open a door; compared without case and without - and _."""
_NAMES = frozenset(re.sub(r"[-_]", "", name) for name in PERSONAL)
# Whole words only where digits count: instants in milliseconds and counts are longer or shorter, or stand alone.
_PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        # The address of a mail, in any script; also as it stands in a link.
        r"[\w.!#$&'*+/=?^`{|}~%-]+(?:@|%40)[\w-]+(?:\.[\w-]+)*",
        # Whoever signs in: what stands before the host of an address.
        r"(?<=://)[^/\s@]+@",
        r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]+",
        r"(?i)(?:password|passwd|secret|token|api_?key|signature|key)\s*[=:]\s*[^\s,;&'\"]+",
        # Chinese mobile numbers, with or without the country, however they are grouped.
        r"(?<![\w.])(?:\+?86[- ]?|0086[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?![\w])",
        # Any number with a plus, or with an area code in brackets or after a zero and a dash.
        r"(?<!\w)\+\d[\d ().-]{6,17}\d(?!\w)",
        r"(?<!\w)\(?0\d{2,4}\)?[- ]\d{3,4}[- ]?\d{3,4}(?!\w)",
        r"(?<!\w)\(?[2-9]\d{2}\)?[- .]\d{3}[- .]\d{4}(?!\w)",
        # Identity cards.
        r"(?<!\w)\d{17}[\dXx](?!\w)",
        # Signed and sealed things: long words of letters, digits and - _ that are no plain hexadecimal number.
        r"(?<![\w.-])(?=[\w.+-]*[g-zG-Z_-])(?=[\w.+-]*\d)(?=[\w.+-]*[A-Z])(?=[\w.+-]*[a-z])[\w.+-]{24,}={0,2}",
        # The rest of a path or query behind which a token stands.
        r"(?<=\?)[^\s\"']+",
    )
)


def configure_logs(*, format: Format = "auto", level: Level = "info", stream: IO[str] | None = None) -> None:
    """Send all logs of this process, those of libraries too, to ``stream`` (standard error)."""
    target = stream or sys.stderr
    as_json = format == "json" or (format == "auto" and not target.isatty())
    shared: list[Any] = [_add_instant, structlog.stdlib.add_log_level, hide_personal]
    renderer: Any = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        if as_json
        else structlog.dev.ConsoleRenderer(colors=target.isatty())
    )
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(_take_exception_out)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # These say at each step what is asked of the database and who connects: with values.
    for chatty in (
        "sqlalchemy",
        "alembic",
        "urllib3",
        "asyncio",
        "uvicorn.access",
        "mail.log",
        "faker",
        "hpack",
    ):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.contextvars.merge_contextvars,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


class _Handler(logging.StreamHandler[Any]):
    """Writes to the stream that it was given, else to what standard error is at that moment."""

    def __init__(self, stream: IO[str] | None) -> None:
        super().__init__(stream)
        self._follows = stream is None

    def emit(self, record: logging.LogRecord) -> None:
        if self._follows:
            self.stream = sys.stderr
        super().emit(record)


def get_logger(name: str) -> Any:
    """The logger of a part of the program; before ``configure_logs`` it goes where the standard library's logs go."""
    return structlog.stdlib.get_logger(f"aimwell.{name}")


def hide_personal(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The processor that keeps personal data out."""
    failure = event.pop("exc_info", None)
    if failure is True:
        failure = sys.exc_info()[1]
    if isinstance(failure, tuple):
        failure = failure[1]
    if isinstance(failure, BaseException):
        event.setdefault("error", failure)
    event.pop("stack", None)
    return {
        key if key.startswith("_") else hide_words(key): value
        if key.startswith("_")
        else hide_words(value)
        if key in _OWN
        else _hide(key, value, 0)
        for key, value in event.items()
    }


_OWN = ("event", "logger", "level", "at")


def hide_words(value: Any) -> Any:
    """Text without what looks like an address, a number, a token or a password; other values as they are."""
    if not isinstance(value, str):
        return value
    for pattern in _PATTERNS:
        value = pattern.sub(HIDDEN, value)
    return value if len(value) <= _MOST_TEXT else value[:_MOST_TEXT] + "…"


def describe_error(error: BaseException) -> dict[str, Any]:
    """What may be told of an exception: its type, its code, where it was raised; and the same of its cause."""
    described: dict[str, Any] = {"type": type(error).__name__}
    if isinstance(error, AimwellError):
        described["code"] = error.code
    state = getattr(getattr(error, "orig", error), "sqlstate", None)
    if state:
        described["sqlstate"] = str(state)
    frames = traceback.extract_tb(error.__traceback__)[-_MOST_FRAMES:]
    described["frames"] = [f"{_shorten(frame.filename)}:{frame.lineno} {frame.name}" for frame in frames]
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None:
        described["cause"] = type(cause).__name__
    return described


def _hide(key: str, value: Any, depth: int) -> Any:
    if isinstance(value, BaseException):
        return describe_error(value)
    if re.sub(r"[-_]", "", key.casefold()) in _NAMES and value is not None:
        return HIDDEN
    return _hide_value(value, depth)


def _hide_value(value: Any, depth: int) -> Any:
    if depth > _MOST_DEPTH:
        return HIDDEN
    if isinstance(value, Mapping):
        return {hide_words(str(key)): _hide(str(key), one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_hide_value(one, depth + 1) for one in value]
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if hide_words(str(value)) == str(value) else HIDDEN
    if isinstance(value, bytes | bytearray | memoryview):
        return f"{len(value)} bytes"
    if isinstance(value, BaseException):
        return describe_error(value)
    return hide_words(str(value))


def _add_instant(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    event["at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    return event


def _take_exception_out(record: logging.LogRecord) -> bool:
    """What a library logs with an exception: its type and frames go into the event, its message does not."""
    if record.exc_info and not isinstance(record.msg, dict):
        error = record.exc_info[1]
        told = "" if error is None else f" {describe_error(error)}"
        record.msg, record.args = record.getMessage() + told, None
    record.exc_info = record.exc_text = record.stack_info = None
    return True


def _shorten(filename: str) -> str:
    """From the package on: where it is installed is nobody's business."""
    parts = filename.replace("\\", "/").split("/")
    return "/".join(parts[-3:])
