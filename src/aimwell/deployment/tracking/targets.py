"""Addresses that links lead to: which are taken, how they stand in a header, how a parameter is added to them.

Reads and writes no table.
"""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, urlsplit

MOST_TARGET = 2_000
"""Signs of the longest address that is wrapped; longer ones are left as they are."""
_SAFE = "%/:=&?~#+!$,;'@()*[]-._"


@lru_cache(maxsize=4096)  # a wave has few targets
def read_target(url: str) -> str | None:
    """``url`` as plain ASCII for a Location header; None when a click must not be sent there.

    Only http and https with a host; no control characters, spaces, backslashes (which browsers read as slashes) nor a
    user's name before the host (which makes people take one site for another).
    """
    if not url or len(url) > MOST_TARGET or not url.isprintable() or set(url) & set(' \\<>"'):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    host = parts.hostname
    if parts.scheme.lower() not in ("http", "https") or not host or "@" in parts.netloc:
        return None
    if not url.isascii():
        try:
            name = host if ":" in host else host.encode("idna").decode("ascii")
            rest = url[url.index(parts.netloc) + len(parts.netloc) :]
            place = f"[{name}]" if ":" in name else name
            url = f"{parts.scheme}://{place}{'' if port is None else f':{port}'}{quote(rest, safe=_SAFE)}"
        except ValueError:
            return None
    return url if url.isascii() and len(url) <= MOST_TARGET else None


def add_parameter(target: str, name: str, value: str) -> str:
    """``target`` with ``name=value`` at the end of its query, instead of an earlier one; the rest stays as it is."""
    address, hash_sign, fragment = target.partition("#")
    path, _, query = address.partition("?")
    kept = [part for part in query.split("&") if part.partition("=")[0] != name] if query else []
    return f"{path}?{'&'.join([*kept, f'{name}={quote(value)}'])}{hash_sign}{fragment}"
