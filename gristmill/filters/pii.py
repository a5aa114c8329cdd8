"""Private data in a text, and its placeholders: e-mail and IP addresses, phone, card and account numbers, keys.

A text's result depends on that text and its language alone: no replacement is drawn or counted through. What looks
like private data is checked by its own arithmetic (Luhn, mod 97, ranges of addresses, valid numbering plans) and by the
words before it: a version number is no IP address. Each search begins with a cheap one, so that a page without any
costs little. Phone numbers are in `pii_phones`. Left out: names, postal addresses, national numbers but the US one.
"""

import ipaddress
import re
from bisect import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from stdnum import iban, luhn
from stdnum.us import ssn

from gristmill.filters.domains import public_suffixes
from gristmill.filters.pii_config import PiiConfig, PiiKind
from gristmill.filters.pii_phones import PhoneFinder
from gristmill.text.words import UNSPACED

IN_CODE: frozenset[PiiKind] = frozenset({"email", "key", "ip"})
"""Kinds that are looked for in program code: long numbers there are constants, not people's."""


@dataclass(frozen=True)
class Span:
    """text[start:end] is private data of this kind."""

    start: int
    end: int
    kind: PiiKind


class PiiMasker:
    """Finds and masks private data. Make one a process; it keeps nothing of the texts it has seen."""

    def __init__(self, config: PiiConfig) -> None:
        self._kinds = frozenset(config.kinds)
        self._private_ips = config.private_ips
        # unknown endings are no domains: photo@2x.png, package@1.2.3
        self._suffixes = public_suffixes(accept_unknown=False)
        self._phones = PhoneFinder(config.phone_regions)

    def mask(self, text: str, language: str | None = None) -> tuple[str, Counter[PiiKind]]:
        """The text with `<EMAIL>` and the like in place of private data, and how often each kind was found.

        language: two letters, `code` for program code, None when unknown: then no national phone numbers are found.
        """
        spans = self.find(text, language)
        if not spans:
            return text, Counter()
        parts, end = [], 0
        for span in spans:
            parts += [text[end : span.start], placeholder(span.kind)]
            end = span.end
        return "".join([*parts, text[end:]]), Counter(span.kind for span in spans)

    def find(self, text: str, language: str | None = None) -> list[Span]:
        """All private data in order, none overlapping: a card number is no phone number."""
        kinds = self._kinds & IN_CODE if language == "code" else self._kinds
        found: list[Span] = []
        for span in self._candidates(text, language, kinds):
            place = bisect(found, span.start, key=lambda other: other.start)
            is_free_before = place == 0 or found[place - 1].end <= span.start
            if is_free_before and (place == len(found) or span.end <= found[place].start):
                found.insert(place, span)
        return found

    def _candidates(self, text: str, language: str | None, kinds: frozenset[PiiKind]) -> Iterator[Span]:
        """The surest kinds first."""
        if "email" in kinds:
            yield from (Span(start, end, "email") for start, end in self._emails(text))
        if "key" in kinds and _KEY_BEGINS.search(text):
            yield from (Span(*found.span(1), "key") for found in _KEY.finditer(text))
        if "ip" in kinds:
            yield from (Span(start, end, "ip") for start, end in self._ips(text))
        if not _LONG_NUMBER.search(text):
            return
        if "iban" in kinds:
            yield from (Span(start, end, "iban") for start, end in _ibans(text))
        if "card" in kinds:
            yield from (Span(start, end, "card") for start, end in _cards(text))
        if "ssn" in kinds:
            yield from (Span(start, end, "ssn") for start, end in _ssns(text))
        if "phone" in kinds:
            yield from (Span(start, end, "phone") for start, end in self._phones.find(text, language))

    def _emails(self, text: str) -> Iterator[tuple[int, int]]:
        at = -1
        for sign in "@＠":
            while (at := text.find(sign, at + 1)) >= 0:
                local = _LOCAL.search(text, max(0, at - 64), at)
                domain = _DOMAIN.match(text, at + 1)
                if not local or not domain or text[local.start() - 1 : local.start()] == "@":
                    continue  # @name@server is a name in a network, not a mailbox
                end = at + 1 + self._domain_chars(domain[0])
                is_remote = local[0] == "git" and text[end : end + 1] in (":", "/")
                if end > at + 1 and not is_remote:
                    yield local.start(), end
        for found in (
            *(_SPELLED_AT.finditer(text) if _AT.search(text) else ()),
            *(_SPELLED_OUT.finditer(text) if _DOT.search(text) else ()),
        ):
            domain = _DOTS.sub(".", found[2])
            if "." in domain and self._domain_chars(domain) == len(domain):
                yield found.span()

    def _domain_chars(self, name: str) -> int:
        """How much of a name is a domain under a public suffix; 0 for none, and for names reserved for examples.

        A sentence may go on right behind it, as `example.org.Then` or `example.orgTel`.
        """
        while "." in name:
            lowered = name.lower()
            if self._suffixes.publicsuffix(lowered):
                return 0 if _RESERVED.search(lowered) else len(name)
            head, _, last = name.rpartition(".")
            glued = _GLUED.match(last)
            name = f"{head}.{glued[0]}" if glued else head
        return 0

    def _ips(self, text: str) -> Iterator[tuple[int, int]]:
        for found in _IPV4.finditer(text) if _FOUR_NUMBERS.search(text) else ():
            if self._is_somebodys(found[0]) and not _is_version(text, found):
                yield found.span()
        for found in _IPV6.finditer(text) if "::" in text or _FOUR_GROUPS.search(text) else ():
            if self._is_somebodys(found[0]):
                yield found.span()

    def _is_somebodys(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        if parsed.version == 6:
            # 2000::/3 is all that is given out (IANA); abc::def is a name in C++ more often than an address
            is_private = address[:4].lower() in ("fe80", "2001") or address[:2].lower() in ("fc", "fd")
            return (address[0] in "23" and parsed.is_global) or (self._private_ips and is_private)
        return self._private_ips or (parsed.is_global and not parsed.is_multicast)


def placeholder(kind: PiiKind) -> str:
    """What stands in a text for private data of this kind."""
    return f"<{kind.upper()}>"


_LETTER = rf"[^\W{UNSPACED}]"  # Japanese goes on without a space: はmia@…
_LOCAL = re.compile(rf"(?:{_LETTER}|&)(?:(?:{_LETTER}|[.+%'’&~-])*(?:{_LETTER}|[+&~-]))?$")
_GLUED = re.compile(r"[A-Za-z]?[a-z]+(?=[A-Z]|[^\x00-\x7f])")
_DOMAIN = re.compile(r"[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}")
# RFC 2606 and RFC 6761: addresses there are nobody's
_RESERVED = re.compile(r"(?:^|\.)(?:example\.(?:com|net|org)|example|test|invalid|localhost)$")
_AT_WORDS = "at|ät|et|@|a|собака|собачка|пес|равлик"
_AT = re.compile(rf"[\[({{<]\s?(?:{_AT_WORDS})\s?[\])}}>]", re.IGNORECASE)
_DOT_WORDS = "dot|punkt|point|точка|крапка|тчк|\\."
_SPELLED_AT = re.compile(
    rf"(?<![\w.+-])([\w.+-]{{1,64}})\s?[\[({{<]\s?(?:{_AT_WORDS})\s?[\])}}>]\s?"
    rf"([\w-]{{1,63}}(?:(?:\s?[\[({{<]\s?(?:{_DOT_WORDS})\s?[\])}}>]\s?|\s(?:dot|DOT)\s|\.)[\w-]{{1,63}}){{1,5}})",
    re.IGNORECASE,
)
_SPELLED_OUT = re.compile(r"(?<![\w.+-])([\w.+-]{1,64}) (?:AT|at) ([\w-]{1,63}(?: (?:DOT|dot) [\w-]{2,63}){1,4})")
_DOT = re.compile(r" (?:DOT|dot) ")
_DOTS = re.compile(rf"\s?[\[({{<]?\s?(?<!\w)(?:{_DOT_WORDS})(?!\w)\s?[\])}}>]?\s?", re.IGNORECASE)

# how their issuers say that they begin; the last is a signed JSON web token (RFC 7519)
_KEY_BEGINS = re.compile(
    r"AKIA|ASIA|gh[oprsu]_|github_pat_|glpat-|xox[abeprs]-|AIza|sk_live_|sk-|hf_|npm_|-----BEGIN|eyJ"
)
_KEY = re.compile(
    r"(?<![A-Za-z0-9_-])((?:AKIA|ASIA)[A-Z0-9]{16}|gh[oprsu]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50,100}"
    r"|glpat-[\w-]{20,60}|xox[abeprs]-[A-Za-z0-9-]{20,120}|AIza[\w-]{35}|sk_live_[A-Za-z0-9]{20,120}"
    r"|sk-(?=[\w-]*[0-9])(?=[\w-]*[A-Z])[A-Za-z0-9_-]{32,180}|hf_[A-Za-z]{34}|npm_[A-Za-z0-9]{36}"
    r"|eyJ[\w-]{10,2000}\.eyJ[\w-]{10,4000}\.[\w-]{10,1000}"
    r"|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[A-Za-z0-9+/=\s:,-]{40,8000}?-----END [A-Z ]{0,20}PRIVATE KEY-----)"
    r"(?![A-Za-z0-9])"
)

_FOUR_NUMBERS = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4 = re.compile(rf"(?<![\w.])(?:{_OCTET}\.){{3}}{_OCTET}(?!\w|\.\w)")
_SAYS_VERSION = re.compile(
    r"(?:\b(?:v|ver|vers|version\w*|release\w*|build\w*|rev|revision|firmware\w*|driver\w*|update\w*|upgrade\w*|patch\w*"
    r"|rollback|assembly\w*|windows|android|macos|chrome|table|section|chapter|clause|appendix|figure|step|code"
    r"|tabelle|abschnitt|kapitel|ziffer|punkt|absatz|norm|верси\w+|версі\w+|релиз\w*|реліз\w*|сборк\w+|збірк\w+"
    r"|прошивк\w+|обнов\w+|онов\w+|платформ\w+|таблиц\w+|разде\w+|розділ\w*|пункт\w*|глав\w+|стат\w+|гост\w*|снип)\b"
    r"|[Vv]ersion|§|1[CС])",
    re.IGNORECASE,
)
_SAYS_ADDRESS = re.compile(
    r"\b(?:ip|ips|ipv4|ip-\w+|address\w*|addr|host\w*|server\w*|dns|ping|gateway|proxy|peer|router|from|via|resolves?"
    r"|adress\w*|rechner\w*|адрес\w*|адреси|сервер\w*|хост\w*|шлюз\w*|айпи|айпі)\b|://|@",
    re.IGNORECASE,
)


def _is_version(text: str, found: re.Match[str]) -> bool:
    """Whether four numbers with dots are a version or a section: by the nearest word before them that tells."""
    before = text[max(0, found.start() - 40) : found.start()].rpartition("\n")[2]
    if re.search(r"[A-Za-z_]/$", before) or re.search(r"[A-Za-z]-$", before):
        return True  # Chrome/91.0.4472.124, openssl-1.0.2.1
    says_address, says_version = _last(_SAYS_ADDRESS, before), _last(_SAYS_VERSION, before)
    if says_address != says_version:
        return says_version > says_address
    if re.match(r":[0-9]{2,5}\b|/[0-9]{1,2}\b", text[found.end() : found.end() + 6]):
        return False
    # 4.2.1.3 alone is a section or a version rather than an address
    return all(int(octet) < 32 for octet in found[0].split("."))


def _last(pattern: re.Pattern[str], text: str) -> int:
    """Where the last match ends; -1 without one."""
    return max((found.end() for found in pattern.finditer(text)), default=-1)


_FOUR_GROUPS = re.compile(r":[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:[0-9A-Fa-f]{1,4}:")
_IPV6 = re.compile(
    r"(?<![\w:.])(?=[23f])[0-9A-Fa-f]{4}(?::{1,2}[0-9A-Fa-f]{1,4}){1,7}(?:::)?(?![\w:]|\.\w)", re.IGNORECASE
)

# these patterns begin with digits and look back behind them: so the search skips from digit to digit
_LONG_NUMBER = re.compile(r"[0-9](?:[ \u00a0\u202f().\-‑–/]{0,3}[0-9A-Z]){6}")
_IBAN = re.compile(
    r"[0-9]{2}(?<=(?<![A-Za-z0-9])[A-Za-z]{2}[0-9]{2})(?:[ \u00a0-]?[A-Za-z0-9]{4}){2,7}"
    r"(?:[ \u00a0-]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
)
_SEPARATORS = re.compile(r"[ \u00a0\u202f-]")


def _ibans(text: str) -> Iterator[tuple[int, int]]:
    for found in _IBAN.finditer(text):
        start = found.start() - 2
        # words of four letters behind it look like further groups
        shorter = [gap.start() for gap in _SEPARATORS.finditer(text, start + 15, found.end())]
        for end in (found.end(), *reversed(shorter)):
            if iban.is_valid(_SEPARATORS.sub("", text[start:end]).upper()):
                yield start, end
                break


_CARD = re.compile(
    r"[0-9]{4}(?<![\w/][0-9]{4})(?<![0-9][.,:-][0-9]{4})(?:([ \u00a0-]?)[0-9]{4}\1[0-9]{4}\1[0-9]{4}(?:\1[0-9]{3})?"
    r"|([ \u00a0-]?)[0-9]{6}\2[0-9]{4,5}|[0-9]{9,15})(?![\w-]|[.,][0-9])"
)
# issuer identification numbers (ISO/IEC 7812) with the lengths in use: Visa, Mastercard, Mir, American Express,
# Discover, Diners, JCB, UnionPay
_ISSUER = re.compile(
    r"4(?:[0-9]{12}|[0-9]{15}|[0-9]{18})|(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)[0-9]{12}"
    r"|220[0-4][0-9]{12,15}|3[47][0-9]{13}|(?:6011|65[0-9]{2}|64[4-9][0-9])[0-9]{12}|3(?:0[0-5]|[68][0-9])[0-9]{11}"
    r"|35(?:2[89]|[3-8][0-9])[0-9]{12}|62[0-9]{14,17}"
)
_SAYS_NO_CARD = re.compile(
    r"\b(?:order|track\w*|transaction|id|imei|isbn|ean|gtin|status|serial|invoice|serien\w*|sendung\w*|bestell\w*|заказ\w*"
    r"|трек\w*|накладн\w*|замовлен\w*)\b[^.!?\n]{0,12}$",
    re.IGNORECASE,
)


def _cards(text: str) -> Iterator[tuple[int, int]]:
    for found in _CARD.finditer(text):
        digits = _SEPARATORS.sub("", found[0])
        if not _ISSUER.fullmatch(digits) or not luhn.is_valid(digits) or len(set(digits)) == 1:
            continue
        # one of ten numbers passes Luhn's check, so a bare run of digits is taken for what it is called
        is_bare = digits == found[0]
        if not (is_bare and _SAYS_NO_CARD.search(text[max(0, found.start() - 30) : found.start()])):
            yield found.span()


_SSN = re.compile(r"[0-9]{3}(?<![\w.-][0-9]{3})([- ])[0-9]{2}\1[0-9]{4}(?![\w-])")
_SAYS_SSN = re.compile(r"\bssns?\b|\bss ?#|social security|taxpayer id", re.IGNORECASE)


def _ssns(text: str) -> Iterator[tuple[int, int]]:
    """Nine digits have no check digit: only where the text says that they are one."""
    for found in _SSN.finditer(text):
        near = text[max(0, found.start() - 60) : found.end() + 30]
        if _SAYS_SSN.search(near) and ssn.is_valid(found[0].replace(" ", "-")):
            yield found.span()
