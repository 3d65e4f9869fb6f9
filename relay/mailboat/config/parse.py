"""Parses the files of a configuration to settings and all faults. Pure.

`loading.load` calls it with the files of a directory, the operator with those that it is about to write.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterator
from dataclasses import replace

from mailboat.config import bounce, shaping, values
from mailboat.config.acl import read_relay_acl
from mailboat.config.dkim import FILE, read_dkim
from mailboat.config.fault import Fault, Report
from mailboat.config.files import ConfigFiles, FileError
from mailboat.config.hash import config_hash
from mailboat.config.hosts import sender_pattern
from mailboat.config.ini import MAIN, IniFile
from mailboat.config.outbound import read_outbound, secret
from mailboat.config.plugins import read_plugins
from mailboat.config.sections import read_section, warn_of_sections
from mailboat.config.settings import (
    BounceTemplates,
    Endpoint,
    HttpSettings,
    OutboundSettings,
    Settings,
    SmtpSettings,
    TlsReportSettings,
)
from mailboat.config.tenants import read_tenants
from mailboat.config.tls import read_tls
from mailboat.shaping.table import LimitTable

_SENDERS = "senders_allow"
_NO_NAME = "localhost"


def settings_of(files: ConfigFiles, report: Report, *, host_name: str, queue_dir: str = "") -> Settings:
    """The settings, with faults in the report; if there are faults, do not use the settings.

    `host_name` is the EHLO name without a file `me`; `queue_dir` is absolute and overrides the key.
    """
    smtp = files.ini("smtp.ini", files.content("smtp.ini"))
    http = files.ini("http.ini", files.content("http.ini"))
    # Read once, so that the hash is of the parsed content.
    read = ("outbound.ini", "tls.ini", FILE, "tlsrpt.ini", shaping.FILE, "tenants.ini")
    outbound, tls, dkim, tlsrpt, shaped, tenants = map(files.content, read)
    me = _me(files, host_name, report)
    for file in (smtp, http):
        warn_of_sections(file, (MAIN,), report)
    smtp_settings = SmtpSettings(**read_section(smtp, MAIN, SmtpSettings, report))
    http_settings = _http(http, files, report)
    outbound_file = files.ini("outbound.ini", outbound)
    outbound_settings = read_outbound(outbound_file, files, queue_dir, report)
    awaits = outbound is None and smtp_settings.await_outbound
    if awaits:
        outbound_settings = replace(outbound_settings, disabled=True)
        report.warn("outbound.ini", "does not exist yet: mail waits for it, because await_outbound is set in smtp.ini")
    tls_inbound, tls_outbound = read_tls(files.ini("tls.ini", tls), files, report)
    if smtp_settings.smtps_listen and not tls_inbound.cert:
        report.faults.append(smtp.fault(MAIN, "smtps_listen", "needs a key and a certificate in tls.ini"))
    shaping_file = files.ini(shaping.FILE, shaped)
    table = shaping.read_shaping(shaping_file, outbound_file, outbound_settings, report)
    dkim_settings, dkim_domains, signer = read_dkim(
        files.ini(FILE, dkim), files, longest_wait(outbound_settings, table), report
    )
    report.faults += _listen_faults(smtp, smtp_settings, http, http_settings)
    return Settings(
        directory=files.absolute("."),
        me=me,
        smtp=smtp_settings,
        http=http_settings,
        outbound=outbound_settings,
        tls=tls_inbound,
        tls_outbound=tls_outbound,
        relay_acl=read_relay_acl(files, report),
        senders_allow=_senders_allow(files, report),
        tenants=read_tenants(files.ini("tenants.ini", tenants), smtp_settings.endpoints, report),
        dkim=dkim_settings,
        dkim_domains=dkim_domains,
        signer=signer,
        tlsrpt=_tlsrpt(files.ini("tlsrpt.ini", tlsrpt), files, report),
        shaping=table,
        shaping_given=shaping_file.as_dict(),
        awaits_outbound=awaits,
        bounce=_bounce(files, report),
        plugins=read_plugins(files, report),
        hash=config_hash(outbound, tls, tenants, dkim=dkim, tlsrpt=tlsrpt, shaping=shaped),
    )


def _tlsrpt(file: IniFile, files: ConfigFiles, report: Report) -> TlsReportSettings:
    warn_of_sections(file, (MAIN,), report)
    settings = TlsReportSettings(**read_section(file, MAIN, TlsReportSettings, report))
    if settings.socket:
        settings = replace(settings, socket=files.absolute(settings.socket))
    given, missing = ("organization", "contact") if settings.organization else ("contact", "organization")
    if settings.socket and settings.organization and settings.contact:
        report.warnings.append(file.fault(MAIN, "socket", "is set, so that the relay itself sends no reports"))
    elif bool(settings.organization) != bool(settings.contact) and not settings.socket:
        report.warnings.append(file.fault(MAIN, given, f"no reports are sent, because {missing} is not set"))
    return settings


def longest_wait(outbound: OutboundSettings, table: LimitTable) -> float:
    """Seconds that a message may wait in the queue: the sum of the longest of `queue.backoff`'s delays."""
    usual = outbound.temp_fail_intervals
    if usual is None:
        usual = tuple(float(1 << i + 5) for i in range(1, outbound.max_temp_failures))
    plans = (usual, *shaping.retry_plans(table))
    return sum(max(plan[n] for plan in plans if n < len(plan)) for n in range(max(map(len, plans))))


def _bounce(files: ConfigFiles, report: Report) -> BounceTemplates:
    templates = BounceTemplates(files.text(bounce.TEXT), files.text(bounce.HTML), files.content(bounce.IMAGE))
    for name, text in ((bounce.TEXT, templates.text), (bounce.HTML, templates.html)):
        for warning in bounce.warnings_of(text):
            report.warn(name, warning)
    return templates


def _me(files: ConfigFiles, host_name: str, report: Report) -> str:
    lines = files.lines("me")
    number, name = lines[0] if lines else (0, host_name)
    try:
        return values.host_name(name)
    except ValueError as error:
        if lines:
            report.fault("me", str(error), number)
        else:
            report.warn("me", f"the system's host name cannot be used, {_NO_NAME} is used instead: {error}")
        return _NO_NAME


def _http(file: IniFile, files: ConfigFiles, report: Report) -> HttpSettings:
    settings = HttpSettings(**read_section(file, MAIN, HttpSettings, report))
    if settings.token_file:
        try:
            secret(files, settings.token_file)
        except FileError as error:
            report.faults.append(file.fault(MAIN, "token_file", f"the file {error}"))
        else:
            settings = replace(settings, token_file=files.absolute(settings.token_file))
    elif not all(map(_is_loopback, settings.listen)):
        message = "is not loopback and there is no token_file: requests that change the queue are refused"
        report.warnings.append(file.fault(MAIN, "listen", message))
    return settings


def _is_loopback(endpoint: Endpoint) -> bool:
    try:
        return ipaddress.ip_address(endpoint.host).is_loopback
    except ValueError:
        return endpoint.host == "localhost"


def _listen_faults(smtp: IniFile, received: SmtpSettings, http: IniFile, admin: HttpSettings) -> Iterator[Fault]:
    if not received.endpoints:
        yield smtp.fault(MAIN, "listen", "is empty, and so is smtps_listen: no mail could be received")
    if both := _shared(received.listen, received.submission_listen):
        yield smtp.fault(MAIN, "submission_listen", f"{both} is in listen too")
    for name in ("listen", "submission_listen"):
        if both := _shared(getattr(received, name), received.smtps_listen):
            yield smtp.fault(MAIN, "smtps_listen", f"{both} is in {name} too")
    if both := _shared(received.endpoints, admin.listen):
        yield http.fault(MAIN, "listen", f"{both} is in smtp.ini too")


def _shared(some: Collection[Endpoint], others: Collection[Endpoint]) -> str:
    """The endpoints in both; port 0, which is a free one each time, never is."""
    return ", ".join(str(endpoint) for endpoint in others if endpoint.port and endpoint in some)


def _senders_allow(files: ConfigFiles, report: Report) -> frozenset[str] | None:
    lines = files.lines(_SENDERS)
    if lines is None:
        return None
    allowed: set[str] = set()
    for number, line in lines:
        try:
            allowed.add(sender_pattern(line))
        except ValueError as error:
            report.fault(_SENDERS, str(error), number)
    return frozenset(allowed)
