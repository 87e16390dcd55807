"""One request and its answer: what every route shares, so that none can forget it.

Each answer has a request id, each refusal the same form of body in the reader's language, and each exchange is
counted; refusals are logged by code, never with what was sent. Reads and writes no table.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Message, Receive, Scope, Send

from aimwell.core.errors import AimwellError
from aimwell.core.logs import get_logger
from aimwell.core.text import Language, current_language, match_language
from aimwell.service.bodies import WHOLE_BODY, Disconnected, read_body
from aimwell.service.keys import FRESH_SECONDS, OLDEST_SECONDS, UNKNOWN_SECONDS, Key, KnownKeys
from aimwell.service.keys import Scope as KeyScope
from aimwell.service.metrics import Metrics
from aimwell.service.quick import Tell
from aimwell.service.rates import Limits
from aimwell.service.refusals import (
    Refused,
    refuse,
    refuse_defect,
    refuse_key,
    refuse_method,
    refuse_path,
    refuse_rate,
    refuse_scope,
    refuse_store,
)

JSON = b"application/json"
Headers = tuple[tuple[bytes, bytes], ...]
_IDS, _MOST_ID = itertools.count(secrets.randbits(64)), 1 << 64
"""Of each process a row of its own: it is no secret, only another one each time."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,64}")
_HEADER_VALUE = re.compile(r"[^\r\n\x00]*")
_WEIGHT = re.compile(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*")
_ALWAYS: Headers = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))
_ANYBODY: Headers = ((b"access-control-allow-origin", b"*"),)
"""No cookie opens anything here: a key or a token does, and whoever has it may use it from any page."""
_LOG = get_logger("service")
Result = TypeVar("Result")


class Answer(NamedTuple):
    """What is sent back."""

    body: bytes = b""
    status: int = 200
    content_type: bytes = JSON
    headers: Headers = ()


@dataclass
class Doors:
    """What every route needs to let somebody in."""

    keys: KnownKeys
    rates: Limits
    metrics: Metrics
    _refreshing: asyncio.Future[None] | None = None

    async def refresh_keys(self, most_age: float, oldest: float) -> None:
        """Read the keys anew where they are older than ``most_age``; beyond ``oldest``, wait for that.

        There is one look into the store for all who ask meanwhile.
        """
        age = self.keys.age
        if age < most_age:
            return
        refreshing = self._refreshing
        if refreshing is None or refreshing.done():
            refreshing = self._refreshing = asyncio.ensure_future(
                asyncio.to_thread(self.keys.refresh, most_age)
            )
            # Whoever does not wait for it need not know that it failed: the next one tries again.
            refreshing.add_done_callback(asyncio.Future.exception)
        if age >= oldest:
            await asyncio.shield(refreshing)


class Asked:
    """One request."""

    __slots__ = ("_receive", "doors", "method", "request_id", "route", "scope")

    def __init__(self, doors: Doors, route: str, scope: Scope, receive: Receive) -> None:
        self.doors = doors
        self.route = route
        self.scope = scope
        self._receive = receive
        self.method: str = scope["method"]
        self.request_id = _name_request(self.read_header(b"x-request-id"))

    def read_header(self, name: bytes) -> bytes | None:
        """The first header of this name (lower case)."""
        for known, value in self.scope["headers"]:
            if known == name:
                return bytes(value)
        return None

    @property
    def headers(self) -> dict[str, str]:
        """All headers, by name in lower case; of one that comes twice the first."""
        found: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            found.setdefault(name.decode("latin-1"), value.decode("latin-1"))
        return found

    @property
    def places(self) -> Mapping[str, str]:
        """What stands in the path at the places of the route."""
        found: Mapping[str, str] = self.scope.get("path_params", {})
        return found

    @property
    def language(self) -> Language:
        """The language that the reader likes best, of those that we speak."""
        return choose_language(self.read_header(b"accept-language"))

    async def read_body(self, most: int) -> bytes:
        """The whole body; Refused when it has more than ``most`` bytes."""
        return await read_body(
            self._receive,
            most,
            declared=self.read_header(b"content-length"),
            encoding=self.read_header(b"content-encoding"),
            whole=WHOLE_BODY in self.scope,
        )

    def read_secret(self) -> str | None:
        """The key that the request shows in its header."""
        given = self.read_header(b"authorization")
        return None if given is None else parse_authorization(given)

    async def admit(self, scope: KeyScope, *, secret: str | None = None) -> Key:
        """Let the request in by its key (``secret``: by the one that its body told); Refused otherwise."""
        secret = secret or self.read_secret()
        doors = self.doors
        await doors.refresh_keys(FRESH_SECONDS, OLDEST_SECONDS)
        key = None if secret is None else doors.keys.find(secret)
        if key is None and secret is not None:
            # It may have been made a moment ago.
            await doors.refresh_keys(UNKNOWN_SECONDS, UNKNOWN_SECONDS)
            key = doors.keys.find(secret)
        if key is None:
            raise refuse_key()
        if not key.allows(scope):
            raise refuse_scope(scope)
        wait = doors.rates.take(key.key_id, key.rate)
        if wait:
            raise refuse_rate(wait)
        return key

    def is_admitted(self, scope: KeyScope) -> bool:
        """Let the request in at once, as ``admit``. False: to tell why not, or to find out more, is its affair."""
        secret, doors = self.read_secret(), self.doors
        if secret is None or doors.keys.age >= FRESH_SECONDS:
            return False
        key = doors.keys.find(secret)
        return key is not None and key.allows(scope) and not doors.rates.take(key.key_id, key.rate)


def _name_request(given: bytes | None) -> bytes:
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    return b"%016x" % (next(_IDS) % _MOST_ID)


Act = Callable[[Asked], Awaitable[Answer]]


@dataclass(frozen=True)
class Quick(Generic[Result]):
    """An operation in two steps that wait for nothing: what has to be waited for lies between them."""

    begin: Callable[[Asked, bytes], asyncio.Future[Result] | None]
    """With the request's body; None, and nothing was done: only the operation itself can answer this one."""
    answer: Callable[[Asked, Result], Answer]


@dataclass(frozen=True)
class Operation:
    """What a route does for one method; ``description`` is its part of /openapi.json (``service.openapi``)."""

    act: Act
    description: Mapping[str, Any]
    quick: Quick[Any] | None = None
    """The same without a task of its own (``service.quick``)."""


class Endpoint:
    """A route as an ASGI application; without operations, what answers under unknown paths."""

    def __init__(self, doors: Doors, route: str, operations: Mapping[str, Operation]) -> None:
        self._doors = doors
        self._route = route
        self.operations = dict(operations)
        # Where a browser may ask before, it may also read the answers of those who then ask without.
        self._headers = (*_ALWAYS, *(_ANYBODY if "OPTIONS" in operations else ()))
        self._quick = operations["POST"].quick if "POST" in operations else None

    @property
    def is_quick(self) -> bool:
        """Whether it can ``begin``."""
        return self._quick is not None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        started = time.perf_counter()
        asked = Asked(self._doors, self._route, scope, receive)
        try:
            answer = await self._act(asked)
        except Disconnected:
            return
        headers = _list_headers(asked, answer, self._headers)
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})
        self._count(asked, answer, started)

    def begin(self, scope: Scope, body: bytes, tell: Tell) -> bool:
        """Begin to answer a POST request whose body is there; False, and nothing was done, where that cannot be."""
        assert self._quick is not None
        started = time.perf_counter()
        asked = Asked(self._doors, self._route, scope, _receive_nothing)
        try:
            coming = self._quick.begin(asked, body)
        except Exception as error:
            answer = _answer_failed(asked, error)
            asyncio.get_running_loop().call_soon(self._tell, asked, answer, started, tell)
            return True
        if coming is None:
            return False
        coming.add_done_callback(partial(self._finish, asked, started, tell))
        return True

    def _finish(self, asked: Asked, started: float, tell: Tell, coming: asyncio.Future[Any]) -> None:
        assert self._quick is not None
        # Raised here, it would know of this call, and so of itself: garbage that is found late.
        failed = coming.exception()
        try:
            answer = _answer_failed(asked, failed) if failed else self._quick.answer(asked, coming.result())
        except Exception as error:
            answer = _answer_failed(asked, error)
        self._tell(asked, answer, started, tell)

    def _tell(self, asked: Asked, answer: Answer, started: float, tell: Tell) -> None:
        tell(answer.status, _list_headers(asked, answer, self._headers), answer.body)
        self._count(asked, answer, started)

    def _count(self, asked: Asked, answer: Answer, started: float) -> None:
        seconds = time.perf_counter() - started
        self._doors.metrics.count_request(self._route, asked.method, answer.status, seconds)

    async def _act(self, asked: Asked) -> Answer:
        try:
            operation = self.operations.get("GET" if asked.method == "HEAD" else asked.method)
            if not self.operations:
                raise refuse_path()
            if operation is None:
                raise refuse_method(tuple(self.operations))
            return await operation.act(asked)
        except Disconnected:
            raise
        except Exception as error:
            return _answer_failed(asked, error)


async def _receive_nothing() -> Message:
    raise Disconnected


def encode(value: object) -> bytes:
    """``value`` as JSON."""
    return msgspec.json.encode(value)


def show_problem(problem: AimwellError, language: Language) -> dict[str, Any]:
    """A problem as every answer tells it."""
    where = {name: value for name, value in problem.where.items() if value is not None}
    told: dict[str, Any] = {
        "code": problem.code,
        "message": problem.message.render(language),
        "remedy": problem.remedy.render(language) if problem.remedy else None,
    }
    return {**told, "where": where} if where else told


def choose_language(header: bytes | None) -> Language:
    """The language of an Accept-Language header that is wanted most; without any, the machine's own."""
    best: tuple[float, Language] | None = None
    for part in (header or b"").decode("latin-1").split(",")[:20]:
        tag, *rest = part.split(";")
        language = match_language(tag.strip())
        weight = _WEIGHT.fullmatch(rest[0]) if rest else None
        quality = float(weight[1]) if weight else 1.0
        if language is not None and quality > 0 and (best is None or quality > best[0]):
            best = quality, language
    return best[1] if best else current_language()


def parse_authorization(header: bytes) -> str | None:
    """The key in an Authorization header: the user of Basic, or the token of Bearer."""
    kind, _, rest = header.decode("latin-1").partition(" ")
    if kind.lower() == "bearer":
        return rest.strip() or None
    if kind.lower() != "basic":
        return None
    try:
        user = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
    # Nobody asks for the password; some clients repeat the key there.
    return user.partition(":")[0] or None


def _answer_failed(asked: Asked, error: BaseException) -> Answer:
    """The answer in place of one that could not be made."""
    if isinstance(error, Refused):
        return _answer_refused(asked, error)
    if isinstance(error, AimwellError):
        return _answer_refused(asked, refuse(error))
    if isinstance(error, SQLAlchemyError | OSError):
        _log(asked, "service.store_failed", error)
        return _answer_refused(asked, refuse_store())
    # A defect of ours: people get a sentence, the log gets where it was.
    _log(asked, "service.defect", error)
    return _answer_refused(asked, refuse_defect())


def _answer_refused(asked: Asked, refused: Refused) -> Answer:
    problem = refused.problem
    if refused.status != 401 and refused.status != 404:
        _LOG.info(
            "request.refused",
            route=asked.route,
            method=asked.method,
            status=refused.status,
            code=problem.code,
            request_id=asked.request_id.decode(),
        )
    body = {"error": {**show_problem(problem, asked.language), "request_id": asked.request_id.decode()}}
    return Answer(encode(body), refused.status, JSON, refused.headers)


def _log(asked: Asked, event: str, error: BaseException) -> None:
    _LOG.error(event, route=asked.route, request_id=asked.request_id.decode(), error=error)


def _list_headers(asked: Asked, answer: Answer, usual: Headers) -> list[tuple[bytes, bytes]]:
    headers = [
        (b"content-length", b"%d" % len(answer.body)),
        (b"x-request-id", asked.request_id),
        *answer.headers,
    ]
    if answer.headers:
        names = {name for name, _ in answer.headers}
        headers += [(name, value) for name, value in usual if name not in names]
    else:
        headers += usual
    if answer.body or answer.content_type != JSON:
        headers.append((b"content-type", answer.content_type))
    if WHOLE_BODY not in asked.scope:
        # Nobody reads the rest, and so nothing can follow it.
        headers.append((b"connection", b"close"))
    return headers


def make_headers(pairs: Sequence[tuple[str, str]]) -> Headers:
    """Headers that a step gave; ValueError where one would begin another line."""
    for name, value in pairs:
        if not _HEADER_VALUE.fullmatch(name) or not _HEADER_VALUE.fullmatch(value):
            raise ValueError("a header of two lines")
    return tuple((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs)
