"""Which licence a text or a file states: SPDX tags, and the wording of the licences that most repositories use.

This reads what is written and is no legal advice: exceptions, additions at the end of a text, and `or later` are not
looked for, so ids of the GNU family are the short ones (`GPL-3.0`). What is not recognized is None.
"""

import re

LICENSE_FILE = re.compile(r"(un)?licen[cs]e([.-].*)?|copying([.-].*)?|.*[.-]licen[cs]e(\.(md|txt|rst))?", re.IGNORECASE)
_CODE_SUFFIX = re.compile(r"\.(py|js|ts|go|rs|c|h|java|rb|sh|html|json|svg)$", re.IGNORECASE)
_SPDX_TAG = re.compile(
    r"SPDX-License-Identifier:[ \t]*\(?([A-Za-z0-9.+-]+(?:[ \t]+(?:AND|OR|WITH)[ \t]+\(?[A-Za-z0-9.+-]+\)?)*)"
)
_TITLE_CHARS, _BODY_CHARS = 600, 6_000

# the first title found is the licence: the texts of the GNU family mention one another further down
_TITLES = [
    ("gnu affero general public license version 3", "AGPL-3.0"),
    ("gnu lesser general public license version 3", "LGPL-3.0"),
    ("gnu lesser general public license version 2.1", "LGPL-2.1"),
    ("gnu general public license version 3", "GPL-3.0"),
    ("gnu general public license version 2", "GPL-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("eclipse public license - v 2.0", "EPL-2.0"),
    ("boost software license - version 1.0", "BSL-1.0"),
    ("cc0 1.0 universal", "CC0-1.0"),
    ("attribution-sharealike 4.0 international", "CC-BY-SA-4.0"),
    ("attribution 4.0 international", "CC-BY-4.0"),
    ("python software foundation license version 2", "PSF-2.0"),
]
_WITHOUT_FEE = (
    "permission to use copy modify and/or distribute this software for any purpose with or without fee "
    "is hereby granted"
)
_WORDINGS = [
    (f"{_WITHOUT_FEE} provided that", "ISC"),
    (_WITHOUT_FEE, "0BSD"),
    (
        "permission is hereby granted free of charge to any person obtaining a copy of this software and associated",
        "MIT",
    ),
    ("this is free and unencumbered software released into the public domain", "Unlicense"),
    ("this software is provided 'as-is' without any express or implied warranty", "Zlib"),
]
_BSD = "redistribution and use in source and binary forms"


def license_of_text(text: str) -> str | None:
    """The SPDX id of a licence's text, as it stands in a LICENSE file."""
    tagged = spdx_tag(text)
    if tagged:
        return tagged
    words = " ".join(text[: 2 * _BODY_CHARS].lower().replace(",", " ").split())[:_BODY_CHARS]
    found = [(words.find(title, 0, _TITLE_CHARS), spdx) for title, spdx in _TITLES]
    titled = min(((at, -len(spdx), spdx) for at, spdx in found if at >= 0), default=None)
    if titled:
        return titled[-1]
    if _BSD in words:
        if "advertising materials mentioning" in words:
            return "BSD-4-Clause"
        return "BSD-3-Clause" if "neither the name" in words or "names of its contributors" in words else "BSD-2-Clause"
    return next((spdx for wording, spdx in _WORDINGS if wording in words), None)


def spdx_tag(text: str) -> str | None:
    """The expression of an `SPDX-License-Identifier:` in a file's head (spdx.dev/learn/handling-license-info)."""
    found = _SPDX_TAG.search(text[:2_000])
    return " ".join(found[1].replace("(", "").replace(")", "").split()) if found else None


def is_license_file(name: str) -> bool:
    return LICENSE_FILE.fullmatch(name) is not None and not _CODE_SUFFIX.search(name)


def all_allowed(expression: str, allowed: set[str]) -> bool:
    """Whether every licence of an SPDX expression is allowed; of `A OR B` both, since others may have meant the other
    one. `GPL-3.0 WITH x` is allowed where it is named with its exception, or `GPL-3.0` is."""
    parts = re.split(r"\s+(?:AND|OR)\s+", expression)
    return all(_is_named(part, allowed) or _is_named(part.strip("() "), allowed) for part in parts)


def _is_named(license: str, allowed: set[str]) -> bool:
    return license in allowed or license.partition(" WITH ")[0] in allowed
