"""Which addresses of the web Aimwell may speak to: public ones, and internal ones that the settings name.

Addresses of webhooks come from settings, those of web push from customers' browsers: neither may make this machine
speak to its own network. A name is resolved once, every address that it stands for must be public, and the connection
goes to an address that was checked (``posting.py``), so that a second answer of the name server changes nothing.
Spellings (decimal, octal, hexadecimal, mapped into IPv6, full-width digits, names of this machine) are what the
resolver makes of them. Addresses that carry an IPv4 address inside count as that address.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from aimwell.core.errors import BadInput, NotAllowed
from aimwell.core.text import Text, say

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]
"""Name and port → the addresses that the name stands for; OSError when it stands for none."""

_LONGEST = 2048
_PRINTABLE = re.compile(r"[!-~]+")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.IGNORECASE)
_PORTS = {"https": 443, "http": 80}
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


@dataclass(frozen=True)
class Exemption:
    """Internal receivers that may be spoken to: a host by its name, or a network; at one port or at any."""

    host: str | None = None
    network: Network | None = None
    port: int | None = None

    def covers(self, host: str, port: int, address: IP) -> bool:
        """Whether this is the receiver that was meant."""
        if self.port not in (None, port):
            return False
        return host == self.host or (self.network is not None and address in self.network)


@dataclass(frozen=True)
class Target:
    """Where a request goes: ``addresses`` were checked and are all that may be connected to."""

    scheme: str
    host: str
    port: int
    path: str
    addresses: tuple[str, ...]

    @property
    def authority(self) -> str:
        """As the Host header says it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def resolve_name(host: str, port: int) -> list[str]:
    """The addresses of ``host``, as this machine's resolver knows them."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def read_exemptions(lines: Sequence[str]) -> tuple[Exemption, ...]:
    """``lines`` of the settings: ``10.1.0.0/16``, ``hooks.internal`` or ``127.0.0.1:8080``; BadInput otherwise."""
    return tuple(_read_exemption(line.strip().lower()) for line in lines)


def find_target(url: str, exempt: Sequence[Exemption] = (), *, resolve: Resolve = resolve_name) -> Target:
    """Where ``url`` leads. BadInput: it is no plain web address; NotAllowed: it is not public; OSError: no such name.

    Plain HTTP is for exempted receivers only: what goes to others is encrypted.
    """
    parts = _split(url)
    host = _read_host(parts, url)
    port = parts.port or _PORTS[parts.scheme]
    addresses = tuple(resolve(host, port))
    if not addresses:
        raise OSError("the name stands for no address")
    for address in addresses:
        # A scope ("fe80::1%eth0") belongs to local addresses only.
        ip = ipaddress.ip_address(address.partition("%")[0])
        if any(one.covers(host, port, ip) for one in exempt):
            continue
        if not is_public(ip):
            raise _refuse(host, say("it belongs to an internal network"))
        if parts.scheme != "https":
            raise _refuse(host, say("it is not encrypted (https)"))
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path, addresses)


def is_public(address: IP) -> bool:
    """Whether ``address``, and the IPv4 address that it may carry, can be reached by everybody.

    >>> [is_public(ipaddress.ip_address(a)) for a in ("9.9.9.9", "10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a00:1")]
    [True, False, False, False]
    """
    inner = _find_inner(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, ipaddress.IPv6Address) and (address.is_site_local or address in _NAT64_LOCAL):
        return False
    internal = (
        address.is_multicast or address.is_reserved or address.is_unspecified or address.is_loopback
        or address.is_link_local or address.is_private
    )  # fmt: skip
    return address.is_global and not internal


def _find_inner(address: IP) -> ipaddress.IPv4Address | None:
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64 or address in _COMPATIBLE:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour


def _split(url: str) -> SplitResult:
    """``url`` in its parts. What programs read differently (spaces, backslashes, a user's name) is refused."""
    plain = url.replace("\u3002", ".")
    try:
        parts = urlsplit(plain)
        parts.port  # noqa: B018 (reading it checks it)
    except ValueError as error:
        raise _reject(url) from error
    odd = (
        len(plain) > _LONGEST
        or parts.scheme not in _PORTS
        or "\\" in plain
        or any(mark in parts.netloc for mark in "@%")
        or any(char.isspace() or not char.isprintable() for char in plain)
        or not _PRINTABLE.fullmatch((parts.path or "/") + parts.query)
        or parts.port == 0
    )
    if odd or not parts.hostname:
        raise _reject(url)
    return parts


def _read_host(parts: SplitResult, url: str) -> str:
    host = (parts.hostname or "").removesuffix(".")
    try:
        return str(ipaddress.IPv6Address(host)) if ":" in host else _encode_name(host)
    except ValueError as error:
        raise _reject(url) from error


def _encode_name(host: str) -> str:
    name = host.encode("idna").decode("ascii").lower()
    if not _HOST.fullmatch(name):
        raise ValueError("this is no host's name")
    return name


def _read_exemption(line: str) -> Exemption:
    try:
        return Exemption(network=ipaddress.ip_network(line))
    except ValueError:
        pass
    host, mark, port = line.rpartition(":") if line.count(":") == 1 else (line, "", "")
    if (
        host
        and len(host) < 254
        and _HOST.fullmatch(host)
        and (not mark or (port.isdecimal() and 0 < int(port) < 65536))
    ):
        number = int(port) if mark else None
        try:
            return Exemption(network=ipaddress.ip_network(host), port=number)
        except ValueError:
            return Exemption(host=host, port=number)
    raise BadInput(
        "deployment.exemption_invalid",
        say("'{value}' names no host and no network.", value=line[:100]),
        remedy=say(
            "Write a network such as 10.1.0.0/16, or a host such as hooks.internal or 127.0.0.1:8080."
        ),
        where={"value": line[:100]},
    )


def _reject(url: str) -> BadInput:
    # Only the host is shown: what follows it may be a key.
    return BadInput(
        "deployment.web_address_invalid",
        say("This is no web address that can be used: {place}.", place=_shorten(url)),
        remedy=say("Write it plainly, as in https://hooks.example.com/aimwell."),
    )


def _refuse(host: str, problem: Text) -> NotAllowed:
    return NotAllowed(
        "deployment.address_refused",
        say("Aimwell does not speak to {host}: {problem}.", host=host, problem=problem),
        remedy=say("Use a public https address, or name the receiver in the setting web.internal."),
        where={"value": host},
    )


def _shorten(url: str) -> str:
    kept = "".join(char if char.isprintable() else " " for char in url[:60])
    return kept.partition("?")[0]
