"""Where a judge's address really leads, looked up before anything is sent there.

A name is resolved by us and the connection goes to the address that was checked, so that a name server cannot answer
the check with one address and the connection with another. Networks that are not public are for those who allow them;
link-local addresses, where clouds keep their credentials, are for nobody.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from gristmill.addresses import Address, inner
from gristmill.errors import SourceUnavailable


def checked_address(url: str, *, allow_private: bool) -> Address:
    """The address to connect to.

    Raises ValueError where any of the host's addresses is refused, or http would carry a key over the internet;
    SourceUnavailable when the name is unknown.
    """
    parts = urlsplit(url)
    assert parts.hostname
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise SourceUnavailable(f"the judge's host {parts.hostname} is not known here ({error})") from error
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    for address in addresses:
        _check(address, parts.hostname, allow_private=allow_private)
    if parts.scheme == "http" and any(inner(address).is_global for address in addresses):
        raise ValueError(f"the judge's url is http, and {parts.hostname} is a public host; use https")
    # IPv4 first: a machine without a route for IPv6 is told of such addresses all the same
    return min(addresses, key=lambda address: address.version)


def _check(address: Address, host: str, *, allow_private: bool) -> None:
    found = inner(address)
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        raise ValueError(f"the judge's host {host} leads to {address}, which no judge has; correct its url")
    if not found.is_global and not allow_private:
        raise ValueError(
            f"the judge's host {host} leads to {address}, on this machine or a private network; if it is yours, set "
            "allow_private: true beside the url"
        )
