"""`dkim.ini`: which keys sign, and how."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.config import dkim_values, values
from mailboat.config.dkim_values import SelectorChoice
from mailboat.config.settings.key import setting


@dataclass(frozen=True, slots=True)
class DkimSettings:
    """`[main]`."""

    enabled: bool = setting(True, values.boolean, "Whether mail is signed, where there are keys in `dkim/`.")
    headers: tuple[str, ...] = setting(
        (),
        dkim_values.covered_names,
        "Header fields that are signed as often as they are there, besides those that "
        "[always are](dkim.md#what-is-signed), separated by commas.",
    )
    oversign: tuple[str, ...] = setting(
        (),
        dkim_values.covered_names,
        "Header fields that are signed once more than they are there, so that none can be added on the way; "
        "also besides those that always are.",
    )
    canonicalization: str = setting(
        "relaxed/relaxed",
        dkim_values.canonicalization,
        "How much header and body may be changed on the way before the signature breaks: `relaxed` or "
        "`simple` for each.",
    )
    strict: bool = setting(
        True,
        values.boolean,
        "Whether a message that a key is for, and that cannot be signed, is refused with 451 4.3.0; otherwise it "
        "goes out without a signature, and is counted.",
    )
    fallback_domain: str = setting(
        "",
        dkim_values.domain_or_none,
        "The domain whose keys sign mail that no key is for. Such a signature does not count for DMARC.",
    )
    expire: float = setting(
        0.0,
        values.seconds(0, 10 * 365 * 86_400),
        "Seconds until a signature expires (`x=`); 0: never. It must exceed the time that mail may "
        "wait here by 7 days.",
    )


@dataclass(frozen=True, slots=True)
class DkimDomain:
    """`[domain:NAME]`."""

    name: str
    subdomains: bool = setting(
        True, values.boolean, "Whether the keys sign for domains below it too, where those have no keys of their own."
    )
    always: bool = setting(
        False, values.boolean, "Whether the keys sign every message, besides those of its author's domain."
    )
    selectors: tuple[SelectorChoice, ...] = setting(
        (),
        dkim_values.selectors,
        "Which keys sign, separated by commas: `SELECTOR`, or `SELECTOR sha256:HEX` where the SHA-256 of the public "
        "key has to be this one. Without it, of each algorithm the one whose selector is the last by the alphabet.",
    )
