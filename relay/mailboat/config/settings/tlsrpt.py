"""`tlsrpt.ini`: reports on TLS to the domains of recipients."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mailboat.config import values
from mailboat.config.settings.key import setting


class Collect(StrEnum):
    """Who makes reports of what was counted."""

    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class TlsReportSettings:
    """`[main]`."""

    organization: str = setting(
        "", values.text, "Name of the organization that reports. Reports are sent if this and `contact` are set."
    )
    contact: str = setting(
        "", values.text, "How its people can be reached, such as a mail address: `contact-info` of reports."
    )
    author: str = setting(
        "",
        values.mailbox,
        "Address in `From` of reports. Its domain is the submitter, and should sign with DKIM: receivers want a valid "
        "signature.",
        ini="from",
        shown_default="`postmaster@` and the name in `me`",
    )
    collect: Collect = setting(
        Collect.LOCAL,
        values.choice(Collect),
        "Who makes reports of what was counted. `local`: each relay sends its own.",
        no_field="there is only one value",
    )
    socket: str = setting(
        "",
        values.path,
        "Socket of a `tlsrpt-collectd`: each result is sent there, in the protocol of libtlsrpt, and the relay itself "
        "counts and reports nothing.",
        no_field="the pods have no `tlsrpt-collectd` beside them",
    )
    sending_ip: bool = setting(
        True,
        values.boolean,
        "Name the source address of failed connections in reports. False where address translation makes it wrong.",
    )

    @property
    def reports(self) -> bool:
        """Whether reports are sent."""
        return bool(self.organization and self.contact and not self.socket)

    @property
    def counts(self) -> bool:
        """Whether the results of connections matter."""
        return self.reports or bool(self.socket)
