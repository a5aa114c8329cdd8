"""One spelling per page: the canonical URL decides duplicates and which split a page belongs to."""

from urllib.parse import urlsplit


def canonical_url(url: str) -> str:
    """Normalize a URL so that spellings of one page agree: scheme and `www.` dropped, host lower-cased, trackers,
    fragment and trailing slash removed. A URL that cannot be parsed is returned stripped, as it is."""
    from courlan import normalize_url

    try:
        parts = urlsplit(normalize_url(url.strip()))
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return url.strip()
    if not host:
        return url.strip()
    port_part = f":{port}" if port and port not in (80, 443) else ""
    query = f"?{parts.query}" if parts.query else ""
    return host.removeprefix("www.") + port_part + parts.path.rstrip("/") + query
