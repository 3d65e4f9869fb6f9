"""Which mail an administrator's command is about, by whom it is from and where it goes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from mailboat.model.address import Address, domain_patterns
from mailboat.model.envelope import Entry
from mailboat.shaping.effective import NOTHING_KNOWN, Facts


@dataclass(frozen=True, slots=True)
class MailSelection:
    """A selection of mail, queued or still to come. Empty fields do not restrict; at least one is given."""

    domain: str = ""
    """The recipients' domain in A-labels; `.NAME`: a domain below it."""
    provider: str = ""
    site: str = ""
    """Any MX host of the domain, in lower case."""
    source: str = ""
    tenant: str = ""
    sender: str = ""
    """An address, `<>`, `@NAME` for a domain, `.NAME` for a domain below it."""
    label: str = ""

    @property
    def needs_hosts(self) -> bool:
        """Whether the MX hosts must be known to tell."""
        return bool(self.provider or self.site)

    @property
    def said(self) -> Mapping[str, str]:
        """The fields that restrict."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value}

    def fits(self, entry: Entry, source: str, facts: Facts = NOTHING_KNOWN, provider: str = "") -> bool:
        """Whether an entry is selected, which goes from a source to hosts of which this is known."""
        return (
            self.may_fit(entry, source)
            and (not self.provider or self.provider == provider)
            and (not self.site or self.site in facts.hosts)
        )

    def may_fit(self, entry: Entry, source: str) -> bool:
        """The same as far as it can be told without the hosts."""
        message = entry.message
        return (
            (not self.domain or self.domain in domain_patterns(entry.domain))
            and (not self.tenant or self.tenant == message.tenant)
            and (not self.sender or _is_from(self.sender, message.sender))
            and (not self.label or self.label in message.labels)
            and (not self.source or self.source == source)
        )

    def fits_all(self, source: str, facts: Facts, provider: str) -> bool:
        """Whether all mail of a domain is selected, whoever sent it."""
        return (
            not (self.tenant or self.sender or self.label)
            and (not self.domain or self.domain in domain_patterns(facts.domain))
            and (not self.source or self.source == source)
            and (not self.provider or self.provider == provider)
            and (not self.site or self.site in facts.hosts)
        )

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in self.said.items())


def _is_from(wanted: str, sender: Address) -> bool:
    if wanted == "<>" or sender.is_null:
        return wanted == "<>" and sender.is_null
    local, _, domain = wanted.rpartition("@")
    if wanted.startswith("."):
        return wanted in domain_patterns(sender.ascii_domain)
    return domain == sender.ascii_domain and local in ("", sender.local)
