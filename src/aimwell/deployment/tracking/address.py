"""Where the service is reached from outside: AIMWELL_PUBLIC_URL. Reads and writes no table."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from aimwell.core.errors import BadInput
from aimwell.core.text import say

ADDRESS_VARIABLE = "AIMWELL_PUBLIC_URL"
DEFAULT_ADDRESS = "https://localhost"
OWN_PATHS = ("c", "o", "h", "unsubscribe", "preferences")
"""First parts of the paths of our own links: they are never wrapped into another link."""


def find_base(address: str | None = None) -> str:
    """``address``, else AIMWELL_PUBLIC_URL, else this machine; no slash at its end. BadInput when it is no URL."""
    given = (address or os.environ.get(ADDRESS_VARIABLE) or DEFAULT_ADDRESS).rstrip("/")
    parts = urlsplit(given)
    plain = given.isascii() and given.isprintable() and not set(given) & set(" <>\"'\\")
    if plain and parts.scheme in ("http", "https") and parts.hostname and not parts.query + parts.fragment:
        return given
    raise BadInput(
        "deployment.bad_public_address",
        say("{variable} holds no address that links can start with.", variable=ADDRESS_VARIABLE),
        remedy=say("Write it as https://shop.example or https://shop.example/path."),
        where={"value": given[:100]},
    )


def is_own_link(url: str, base: str) -> bool:
    """Whether ``url`` is a link that we made for a recipient ourselves."""
    rest = url.removeprefix(base + "/")
    return rest != url and rest.partition("/")[0] in OWN_PATHS
