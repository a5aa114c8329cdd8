"""Phone numbers in a text. A pattern finds candidates, phonenumbers (Google's libphonenumber) knows numbering plans.

Its own matcher reads every digit of a text and takes milliseconds for that. Numbers of a plan are dense: nine digits
are a valid number somewhere. So a number is taken where it is written like one in its country, or where a word before
it says so; what is called an order, a page or an ISBN is none.
"""

import re
from collections.abc import Iterator, Sequence

import phonenumbers

REGIONS = {
    "en": ("US", "GB", "IE", "AU", "NZ"),
    "de": ("DE", "AT", "CH"),
    "uk": ("UA",),
    "ru": ("RU", "BY", "KZ", "UA"),
    "be": ("BY",),
    "bg": ("BG",),
    "cs": ("CZ",),
    "da": ("DK",),
    "el": ("GR",),
    "es": ("ES", "MX", "AR", "CO"),
    "fi": ("FI",),
    "fr": ("FR", "BE", "CH", "CA"),
    "hu": ("HU",),
    "it": ("IT", "CH"),
    "kk": ("KZ",),
    "nl": ("NL", "BE"),
    "no": ("NO",),
    "pl": ("PL",),
    "pt": ("PT", "BR"),
    "ro": ("RO", "MD"),
    "sk": ("SK",),
    "sv": ("SE",),
    "tr": ("TR",),
}
"""Language → countries whose national numbers its texts give without a country code, the most likely first."""

_GAP = r"[ \u00a0\u202f]?[().\-‑–/]{0,2}[ \u00a0\u202f]?"
# looks back behind its first character: so the search skips from one that may begin a number to the next
_CANDIDATE = re.compile(
    r"[+(0-9](?<![\w+@#$€£=&%*].)(?<![0-9][.,:/–-].)(?:(?<=\()\+)?(?:(?<=[+(]) ?\(?)?"
    rf"(?:{_GAP}[0-9]){{6,17}}(?![\w%€$£²³°]|[.,:][0-9])"
)
_LAST_GROUP = re.compile(r"[^0-9]+[0-9]+$")
_FIRST_GROUP = re.compile(r"[0-9]{4,5} (?=0)")  # 18001 0800 …: Britain's text relay
_GROUP = re.compile(r"[0-9]+")
_MAX_GROUPS = 6  # a row of a calendar has more

_NO_PHONE = re.compile(
    # dates, spans of years, times, postal codes, sums of money, in whole or with more behind them
    r"(?:(?:19|20)[0-9]{2}[-./–‑](?:0?[1-9]|1[0-2])[-./–‑](?:[0-2]?[0-9]|3[01])(?![0-9])"
    r"|(?:[0-2]?[0-9]|3[01])[-./](?:[0-2]?[0-9]|3[01])[-./](?:(?:19|20)[0-9]{2}|[0-9]{2})(?![0-9])"
    r"|(?:1[5-9]|20)[0-9]{2} ?[-–‑/ ] ?(?:1[5-9]|20)[0-9]{2}(?![0-9])"
    r"|(?:[01]?[0-9]|2[0-4])[.][0-5][0-9] ?[-–‑] ?(?:[01]?[0-9]|2[0-4])[.][0-5][0-9]"
    r"|[0-9]{5}-[0-9]{4}$"  # ZIP+4: 02110-1301 is the Free Software Foundation's, in every copy of its licences
    r"|[1-9][0-9]{0,2}(?:[.][0-9]{3})+$|[1-9][0-9]{0,2}(?:[ \u00a0\u202f][0-9]{3})+$)"
)
_NANP = re.compile(
    r"(?:1[ .-]?)?(?:\([2-9][0-9]{2}\) ?[2-9][0-9]{2}[ .-][0-9]{4}|[2-9][0-9]{2}([.-])[2-9][0-9]{2}\1[0-9]{4})"
)
_TRUNK_0 = re.compile(r"\(?0[1-9][0-9]{0,4}\)?[ \u00a0/.\-‑–]+[0-9]|0 ?[1-9]00[ -]")
_TRUNK_8 = re.compile(r"8[ -]?\([0-9]{3,5}\)|8[ -][0-9]{3,5}[ -]|\([3489][0-9]{2,4}\) ?[0-9]")

_SAYS_PHONE = re.compile(
    r"(?:\b(?:tel|phone\w*|telephone\w*|call\w*|ring|dial|mobile?|cell|fax|whatsapp|viber|telegram|text|sms|\w*hot-?line|helpline"
    r"|toll-free|reach|\w*telefon\w*|telefax|rufen|anruf\w*|ruf|handy\w*|rufnummer|durchwahl|tél\w*|téléphone|teléfono"
    r"|тел|телеф\w*|звон\w*|позвон\w*|дзвон\w*|зателефон\w*|моб\w*|факс\w*|вайбер\w*|ватсап\w*|приймальн\w*|приёмн\w*"
    r"|приемн\w*|довідк\w*|справк\w*|гаряч\w*|горяч\w*)\b|[☎✆📞📱])",
    re.IGNORECASE,
)
_SAYS_OTHER = re.compile(
    r"(?:\b(?:isbn|issn|ean|upc|gtin|imei|doi|order\w*|track\w*|serial|part|model\w*|item|sku|patent|invoice|version|ref|case"
    r"|file|lot|vat|reg|account|charity|company|zip|pages?|pp|vol|coordinates|no|nos|id|extension|code"
    r"|artikel\w*|bestell\w*|rechnung\w*|kunden-?(?:nr|nummer)|aktenzeichen|steuer\w*|hrb|hra|ust\w*|plz|postfach|los\w*|nr|serien\w*"
    r"|sendung\w*|koordinaten|maße|замовл\w*|зам|код\w*|єдрпоу|мфо|справа|закон\w*|накладн\w*|тираж\w*|координат\w*"
    r"|заказ\w*|зак|инн|кпп|огрн|бик|огрнип|окпо|дело|трек\w*|гост|снип|паспорт|снилс|р/с|к/с|рахун\w*|рр)\b|№|#|§)",
    re.IGNORECASE,
)


class PhoneFinder:
    """regions: countries that are tried for every language, beside its own."""

    def __init__(self, regions: Sequence[str]) -> None:
        unknown = sorted(set(regions) - phonenumbers.SUPPORTED_REGIONS)
        if unknown:
            raise ValueError(
                f"filter.pii.phone_regions names {', '.join(unknown)}, for which no numbering plan is known"
            )
        self._regions = tuple(regions)

    def find(self, text: str, language: str | None) -> Iterator[tuple[int, int]]:
        """(start, end) of each phone number, in order."""
        regions = tuple(dict.fromkeys([*REGIONS.get(language or "", ()), *self._regions]))
        for found in _CANDIDATE.finditer(text):
            start, written = found.start(), found[0]
            if written.count("(") > written.count(")") and written[0] == "(":
                start, written = start + 1, written[1:]
            before = text[max(0, start - 40) : start].rpartition("\n")[2]
            for skipped, number in _readings(written):
                if _is_phone(number, before, regions):
                    yield start + skipped, start + skipped + len(number)
                    break


def _readings(written: str) -> Iterator[tuple[int, str]]:
    """(characters left out in front, number): the candidate whole, then without its last groups, then its first."""
    without_last = _LAST_GROUP.sub("", written)
    without_two = _LAST_GROUP.sub("", without_last)
    yield from ((0, number) for number in dict.fromkeys((written, without_last)))
    first = _FIRST_GROUP.match(written)
    if first:
        yield first.end(), written[first.end() :]
    if without_two != without_last:
        yield 0, without_two


def _is_phone(written: str, before: str, regions: Sequence[str]) -> bool:
    if sum(char.isdigit() for char in written) < 7 or _NO_PHONE.match(written):
        return False
    is_international = written.startswith(("+", "(+", "00"))
    says_phone, says_other = _last(_SAYS_PHONE, before), _last(_SAYS_OTHER, before)
    if not is_international and says_other > says_phone:
        return False
    if not is_international and len(_GROUP.findall(written)) > _MAX_GROUPS:
        return False
    is_likely = is_international or says_phone >= 0 or _is_written_like_one(written, regions)
    return is_likely and _is_valid(written, regions)


def _is_valid(written: str, regions: Sequence[str]) -> bool:
    if written.startswith("00"):
        written = "+" + written[2:]
    places = (None,) if written.startswith(("+", "(+")) else regions
    for place in places:
        try:
            if phonenumbers.is_valid_number(phonenumbers.parse(written, place)):
                return True
        except phonenumbers.NumberParseException:
            continue
    return False


def _is_written_like_one(written: str, regions: Sequence[str]) -> bool:
    """As the country writes it: nothing else is written like (212) 555-0147, much else is like 2125550147."""
    if "US" in regions and _NANP.fullmatch(written):
        return True
    if {"RU", "KZ", "BY"}.intersection(regions) and _TRUNK_8.match(written):
        return True
    return bool(set(regions) - {"US"}) and _TRUNK_0.match(written) is not None


def _last(pattern: re.Pattern[str], text: str) -> int:
    return max((found.end() for found in pattern.finditer(text)), default=-1)
