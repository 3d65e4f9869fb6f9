"""`dkim.ini`: which keys sign, and how."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.config import dkim_values, values
from mailboat.config.dkim_values import SelectorChoice
from mailboat.config.nouns import Signing
from mailboat.config.settings.key import setting


@dataclass(frozen=True, slots=True)
class DkimSettings:
    """`[main]`."""

    enabled: bool = setting(True, values.boolean, "Sign mail if there are keys in `dkim/`.")
    headers: tuple[str, ...] = setting(
        (),
        dkim_values.covered_names,
        "Header fields to sign as often as they occur, in addition to those that [are always "
        "signed](dkim.md#what-is-signed); separated by commas.",
    )
    oversign: tuple[str, ...] = setting(
        (),
        dkim_values.covered_names,
        "Header fields to sign once more than they occur, so that none can be added in transit; also in addition to "
        "those that are always signed.",
    )
    canonicalization: str = setting(
        "relaxed/relaxed",
        dkim_values.canonicalization,
        "Canonicalization of the header and the body, `relaxed` or `simple` each: how much they may be changed in "
        "transit without breaking the signature.",
    )
    strict: bool = setting(
        True,
        values.boolean,
        "Refuse with 451 4.3.0 a message that has a key but cannot be signed. Otherwise it is sent unsigned and "
        "counted.",
    )
    fallback_domain: str = setting(
        "",
        dkim_values.domain_or_none,
        "The domain whose keys sign mail that has no key of its own. DMARC ignores such a signature.",
    )
    expire: float = setting(
        0.0,
        values.seconds(0, 10 * 365 * 86_400),
        "Seconds until a signature expires (`x=`); 0: never. It must exceed the longest time in the queue by 7 days.",
    )


@dataclass(frozen=True, slots=True)
class DkimDomain:
    """`[domain:NAME]`."""

    name: str
    subdomains: bool = setting(
        True, values.boolean, "The keys also sign for subdomains that have no keys of their own."
    )
    always: bool = setting(
        False, values.boolean, "The keys sign every message, in addition to the keys of its author's domain."
    )
    signing: Signing = setting(
        Signing.ON,
        values.choice(Signing),
        "`on`; `off`: its keys sign nothing, as while they are not published; `hold`: no key may sign for now, and "
        "its mail is refused with 451 4.3.0, so that clients try again (with `strict=false` it goes out unsigned).",
    )
    selectors: tuple[SelectorChoice, ...] = setting(
        (),
        dkim_values.selectors,
        "The keys that sign, separated by commas: `SELECTOR`, or `SELECTOR sha256:HEX` to require this SHA-256 of the "
        "public key. Unset: for each algorithm the key whose selector sorts last.",
    )
