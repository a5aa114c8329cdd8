"""Which addresses of a network may be spoken to, and how an address is written without what is secret in it.

A page's redirect, or a listing that came from elsewhere, could send a crawl to a machine that only this one reaches:
the metadata of a cloud, a database, a printer. So an address that is not of the public internet is refused, unless
GRISTMILL_PRIVATE_NETWORKS names its network (`10.1.0.0/16,127.0.0.1`): which networks are open is a fact of the
machine, not of a configuration. `gristmill/guarded_http.py` has the clients that ask here.
"""

import ipaddress
import os
import re
import socket
import traceback
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import urlsplit

ALLOWED = "GRISTMILL_PRIVATE_NETWORKS"
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# the user part as the standards have it, and one with a slash in its password: what follows the colon is no port then
_CREDENTIALS = re.compile(r"://(?:[^/\s]+|[^/\s:@\[]*:(?!\d{1,5}/)(?:(?!://)\S)+)@")


class PrivateAddress(ValueError):
    """An address is of a private network that is not allowed."""


def require_public(url: str, *, resolve: Callable[[str], list[str]] | None = None) -> None:
    """Raise PrivateAddress when the URL's host is, or has the name of, an address that may not be spoken to.

    A name that nobody knows passes: connecting to it will fail by itself. resolve: a name → its addresses.
    """
    host = urlsplit(url).hostname or ""
    for address in [host] if _is_address(host) else (resolve or _resolved)(host):
        require_public_address(address, host)


def require_public_address(address: str, host: str) -> None:
    """The same of an address that a connection was made to. host: what it was asked for as."""
    found = inner(ipaddress.ip_address(address.partition("%")[0]))
    if found.is_global and not found.is_multicast:
        return
    if any(found in network for network in _allowed(os.environ.get(ALLOWED, ""))):
        return
    raise PrivateAddress(
        f"{host} is {found}, an address of a private network, where no public page lies; if it is meant, allow its "
        f"network: {ALLOWED}={found}"
    )


def inner(address: Address) -> Address:
    """The IPv4 address that is wrapped in an IPv6 one (mapped, NAT64, 6to4), where packets really go; else the same."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def without_secrets(text: object) -> str:
    """A text, such as a library's error, without users and passwords in its URLs, and without characters that steer a
    terminal; line breaks stay."""
    told = _CREDENTIALS.sub("://", str(text))
    return "".join(char if char.isprintable() or char in "\n\t" else repr(char)[1:-1] for char in told)


def traceback_of(error: BaseException) -> str:
    """An error with its traceback and what it was raised from, as Python prints it, without secrets."""
    return without_secrets("".join(traceback.format_exception(error)))


def has_credentials(text: str) -> bool:
    """Whether a URL in the text has a user or a password."""
    return _CREDENTIALS.search(text) is not None


@cache
def _allowed(networks: str) -> list[Any]:
    try:
        named = [network.strip() for network in networks.split(",")]
        return [ipaddress.ip_network(network, strict=False) for network in named if network]
    except ValueError as error:
        raise ValueError(f"{ALLOWED}: {error}; write networks such as 10.1.0.0/16,127.0.0.1") from None


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def _resolved(host: str) -> list[str]:
    try:
        return sorted({str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)})
    except (OSError, UnicodeError):
        return []
