"""Bodies of requests: read with a limit and a deadline, unpacked with the same limit, and turned into objects.

Whatever is too large is not read to its end, and what unpacks to more than that is not unpacked. Reads and writes no
table.
"""

from __future__ import annotations

import asyncio
import re
import zlib
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.types import Receive

from aimwell.core.errors import AimwellError
from aimwell.service.refusals import (
    explain_deep,
    explain_json,
    refuse_encoding,
    refuse_field,
    refuse_full,
    refuse_json,
    refuse_large,
    refuse_slow,
)

BODY_SECONDS = 20.0
"""So long a whole body may take to arrive."""
WHOLE_BODY = "aimwell.whole_body"
"""In the scope of a request whose body is there to its end before anybody reads it."""
MOST_DEPTH = 32
MOST_HELD = 256_000_000
"""Bytes of all bodies that are under way: thousands of connections must not fill the memory, each a little."""
_AT = re.compile(r"at `\$\.?(.*)`$")
_FIELD = re.compile(r"field `(.*?)`")
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
T = TypeVar("T")


class Disconnected(Exception):
    """Whoever asked is gone: nobody waits for an answer."""


async def read_body(
    receive: Receive, most: int, *, declared: bytes | None, encoding: bytes | None, whole: bool = False
) -> bytes:
    """The body, unpacked; Refused where it is too large, too slow, or packed in a way that is not known.

    ``whole``: it is there to its end.
    """
    if declared is not None and int(declared) > most:
        raise refuse_large(most)
    if whole:
        body = await _read_all(receive, most)
    else:
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read_all(receive, most)
        except TimeoutError:
            raise refuse_slow() from None
    if encoding is None or encoding.lower() in (b"", b"identity"):
        return body
    if encoding.lower() not in (b"gzip", b"x-gzip"):
        raise refuse_encoding()
    return _unpack(body, most)


async def _read_all(receive: Receive, most: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            part = message.get("body", b"")
            size += len(part)
            _HELD.size += len(part)
            if size > most:
                raise refuse_large(most)
            if _HELD.size > MOST_HELD:
                raise refuse_full()
            parts.append(part)
            if not message.get("more_body", False):
                return parts[0] if len(parts) == 1 else b"".join(parts)
    finally:
        _HELD.size -= size


@dataclass
class _Held:
    """What the bodies under way have in memory; they are all read in one thread."""

    size: int = 0


_HELD = _Held()


def _unpack(body: bytes, most: int) -> bytes:
    unpacking = zlib.decompressobj(wbits=31)
    try:
        found = unpacking.decompress(body, most + 1)
    except zlib.error:
        raise refuse_encoding() from None
    if len(found) > most:
        raise refuse_large(most)
    if not unpacking.eof or unpacking.unused_data:
        raise refuse_encoding()
    return found


def read_form(body: bytes, form: type[T]) -> T:
    """``body`` as the struct ``form``; Refused names the field that does not fit."""
    try:
        found: T = _open_decoder(form).decode(body)
    except msgspec.ValidationError as error:
        raise refuse_field(_find_field(str(error))) from None
    except _UNREADABLE:
        raise refuse_json() from None
    return found


_DECODERS: dict[type[Any], msgspec.json.Decoder[Any]] = {}


def _open_decoder(form: type[Any]) -> msgspec.json.Decoder[Any]:
    known = _DECODERS.get(form)
    if known is None:
        known = _DECODERS[form] = msgspec.json.Decoder(form)
    return known


def read_object(raw: Any) -> tuple[Any, AimwellError | None]:
    """JSON as plain objects, or what is wrong with it."""
    try:
        found = msgspec.json.decode(raw)
    except _UNREADABLE:
        return None, explain_json()
    return (None, explain_deep(MOST_DEPTH)) if _is_deep(found, raw) else (found, None)


def _is_deep(value: object, raw: Any) -> bool:
    """Whether the JSON ``raw`` has too many levels; most texts have fewer brackets than that."""
    text = bytes(raw)
    return text.count(b"{") + text.count(b"[") > MOST_DEPTH and _measure_depth(value) > MOST_DEPTH


def _measure_depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += [item for item in one.values() if isinstance(item, dict | list)]
            elif isinstance(one, list):
                inner += [item for item in one if isinstance(item, dict | list)]
        level = inner
    return depth


def _find_field(problem: str) -> str:
    """The place that the library names, without its words."""
    places = [found[1] for found in (_AT.search(problem), _FIELD.search(problem)) if found and found[1]]
    return ".".join(places) or "JSON"
