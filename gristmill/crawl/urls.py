"""One spelling per page: the canonical URL decides duplicates and which split a page belongs to."""

import re
from urllib.parse import quote, urlsplit

_ESCAPE = re.compile("%([0-9a-fA-F]{2})")


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
    path, query = _requoted(parts.path.rstrip("/")), _requoted(parts.query)
    port_part = f":{port}" if port and port not in (80, 443) else ""
    return host.removeprefix("www.") + port_part + path + (f"?{query}" if query else "")


def _requoted(part: str) -> str:
    """Percent signs as RFC 3986, 6.2.2 has them: capitals, none for letters, digits and `-._~`, all beyond ASCII."""
    spelled = "".join(char if char.isascii() else quote(char, errors="replace") for char in part)
    return _ESCAPE.sub(lambda sign: char if _is_plain(char := chr(int(sign[1], 16))) else sign[0].upper(), spelled)


def _is_plain(char: str) -> bool:
    return char.isascii() and (char.isalnum() or char in "-._~")
