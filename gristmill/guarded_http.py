"""Clients that speak to the public internet alone: httpx's transport, and fsspec's http(s) file system.

`gristmill/addresses.py` says which addresses those are. What an environment variable sends through a proxy is checked
for addresses written as numbers alone: the proxy resolves names, and decides.
"""

import socket
from typing import Any
from urllib.request import getproxies, proxy_bypass

import httpx

from gristmill.addresses import require_public, require_public_address


class GuardedTransport(httpx.BaseTransport):
    """Raises PrivateAddress before each request, redirects included, and again by the address that the connection has,
    since a name may mean another one a moment later.

    It goes through the proxies of the environment itself: who decides that a request needs no check must be the one
    who sends it to the proxy.
    """

    def __init__(self, *, limits: httpx.Limits | None = None) -> None:
        limits = limits or httpx.Limits()
        self._direct = httpx.HTTPTransport(limits=limits)
        self._proxies = {
            scheme: httpx.HTTPTransport(proxy=url if "://" in url else f"http://{url}", limits=limits)
            for scheme, url in getproxies().items()
            if scheme in ("http", "https", "all") and url
        }

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if proxy := self._proxy_of(request.url):
            require_public(str(request.url), resolve=lambda name: [])
            return proxy.handle_request(request)
        require_public(str(request.url))
        response = self._direct.handle_request(request)
        try:
            peer = response.extensions["network_stream"].get_extra_info("server_addr")
            require_public_address(str(peer[0]), request.url.host)
        except OSError as error:  # the other side has reset the connection, which has no address any more
            response.close()
            raise httpx.ReadError(str(error), request=request) from error
        except ValueError:
            response.close()
            raise
        return response

    def close(self) -> None:
        for transport in (self._direct, *self._proxies.values()):
            transport.close()

    def _proxy_of(self, url: httpx.URL) -> httpx.HTTPTransport | None:
        if proxy_bypass(url.netloc.decode("ascii")):
            return None
        return self._proxies.get(url.scheme) or self._proxies.get("all")


def filesystem_of(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL or path, and the path in it; its http(s), also inside of a chain such as
    `zip://a.txt::https://…`, raises PrivateAddress at a connection that is not of the public internet."""
    from fsspec.core import url_to_fs

    return url_to_fs(url, **_guard(url))


def local_copy(url: str, folder: str) -> str:
    """A file that fsspec reaches, fetched into a folder at the first call and when the server says that it changed."""
    import fsspec

    cache = {"cache_storage": folder, "check_files": True}
    return str(fsspec.open_local(f"filecache::{url}", filecache=cache, **_guard(url)))


def _guard(url: str) -> dict[str, Any]:
    # for protocols that the URL has alone: fsspec hands what it does not know to the file system as a setting
    protocols = {part.partition("://")[0] for part in url.split("::")}
    return {protocol: {"get_client": _guarded_session} for protocol in protocols & {"http", "https"}}


async def _guarded_session(**settings: Any) -> Any:
    import aiohttp

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=_guarded_socket), **settings)


def _guarded_socket(address: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
    family, kind, protocol, _, place = address
    require_public_address(str(place[0]), str(place[0]))
    return socket.socket(family, kind, protocol)
