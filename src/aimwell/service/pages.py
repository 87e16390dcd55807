"""Links of messages and the pages behind them: what ``deployment.tracking`` answers, carried over HTTP.

Reads and writes what ``deployment.tracking.endpoints`` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from aimwell.deployment.tracking.answers import Answer as Page
from aimwell.deployment.tracking.answers import Form
from aimwell.deployment.tracking.endpoints import Tracking
from aimwell.deployment.tracking.hits import Hit
from aimwell.engine.workspace import Workspace
from aimwell.service.exchange import Act, Answer, Asked, make_headers
from aimwell.service.refusals import refuse_field

MOST_BODY = 65_536
_MOST_FIELDS = 200
_MULTIPART = "multipart/form-data"

Show = Callable[[str, Hit], Page]
Change = Callable[[str, Hit, Form], Page]


class Pages:
    """The routes of links and pages. ``tracking`` blocks, and is asked in a thread."""

    def __init__(self, workspace: Workspace) -> None:
        self.tracking = Tracking.open(workspace)

    def show(self, act: Show) -> Act:
        """A route that changes nothing (GET and HEAD)."""

        async def answer(asked: Asked) -> Answer:
            return _answer(await asyncio.to_thread(act, asked.places["token"], _make_hit(asked)))

        return answer

    def change(self, act: Change) -> Act:
        """A route that takes a form (POST)."""

        async def answer(asked: Asked) -> Answer:
            form = await read_fields(asked)
            return _answer(await asyncio.to_thread(act, asked.places["token"], _make_hit(asked), form))

        return answer


async def read_fields(asked: Asked) -> Form:
    """The fields of a form, as browsers and mail programs send it; Refused where it is none."""
    body = await asked.read_body(MOST_BODY)
    headers = Headers(raw=asked.scope["headers"])

    async def stream() -> AsyncIterator[bytes]:
        yield body

    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == _MULTIPART:
            parser = MultiPartParser(headers, stream(), max_files=0, max_fields=_MOST_FIELDS)  # type: ignore[arg-type]
            data = await parser.parse()
        else:
            data = await FormParser(headers, stream()).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError, ValueError):
        raise refuse_field("form") from None
    form: dict[str, str | list[str]] = {}
    for name in list(data)[:_MOST_FIELDS]:
        values = [value for value in data.getlist(name) if isinstance(value, str)]
        form[name] = values[0] if len(values) == 1 else values
    return form


def _make_hit(asked: Asked) -> Hit:
    headers = asked.headers
    client = asked.scope.get("client")
    try:
        query = parse_qsl(asked.scope["query_string"].decode("latin-1"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise refuse_field("query") from None
    return Hit(
        method=asked.method,
        at_ms=int(time.time() * 1000),
        address=client[0] if client else "",
        agent=headers.get("user-agent", ""),
        headers=headers,
        query=dict(query),
    )


def _answer(page: Page) -> Answer:
    headers = make_headers(page.headers)
    kind = next((value for name, value in headers if name == b"content-type"), b"text/html; charset=utf-8")
    kept = tuple((name, value) for name, value in headers if name not in (b"content-type", b"content-length"))
    return Answer(page.body, page.status, kind, kept)
