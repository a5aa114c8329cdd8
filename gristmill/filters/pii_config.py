"""Which private data is masked in the documents that are kept."""

from typing import Literal, get_args

from pydantic import field_validator

from gristmill.schema import Schema

PiiKind = Literal["email", "key", "iban", "card", "ip", "ssn", "phone"]


class PiiConfig(Schema):
    """Private data gives way to a placeholder that names its kind: `<EMAIL>`, `<PHONE>`, `<IP>`, …"""

    kinds: list[PiiKind] = ["email", "key", "iban", "card", "ip", "ssn", "phone"]
    """What is masked. `[]` leaves every text as it is; `[email, ip]` is what FineWeb masks. `key` are access tokens and
    private keys. In program code only `email`, `key` and `ip` are looked for, whatever is listed."""
    phone_regions: list[str] = []
    """Countries such as `FR` whose national phone numbers are looked for in every language, beside those where a
    document's language is spoken. International numbers (`+33 …`) need none."""
    private_ips: bool = False
    """Whether addresses that nobody has for himself are masked too: private networks, loopback, documentation."""

    @field_validator("phone_regions")
    @classmethod
    def _are_regions(cls, regions: list[str]) -> list[str]:
        for region in regions:
            if not (len(region) == 2 and region.isascii() and region.isalpha() and region.isupper()):
                raise ValueError(f"{region!r} is no country code; write two capital letters such as FR")
        return sorted(set(regions))

    @field_validator("kinds")
    @classmethod
    def _are_in_order(cls, kinds: list[PiiKind]) -> list[PiiKind]:
        return [kind for kind in get_args(PiiKind) if kind in kinds]
