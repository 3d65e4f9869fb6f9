"""Tolerates faults of files named by keys in a last good set, which are read at their own paths.

Such a file has a key, a password or a token, so the set has no copy of it. If it cannot be used, the setting that needs
it is dropped, provided that no mail is routed differently and no client gains access. Pure; called by `load` only.
"""

from __future__ import annotations

from dataclasses import replace

from mailboat.config import dkim
from mailboat.config.fault import Fault, Report
from mailboat.config.ini import MAIN
from mailboat.config.settings import Settings

_ROUTE = "route:"
_ROUTE_FILES = frozenset({"ca", "oauth_ca"})
_CERTIFICATE = frozenset({"cert", "key"})


def do_without(settings: Settings, report: Report) -> Settings:
    """The settings without those that need files with faults; these faults become warnings."""
    kept: list[Fault] = []
    for fault in report.faults:
        without = _without(settings, fault)
        if without is None:
            kept.append(fault)
        else:
            settings, consequence = without
            report.warnings.append(replace(fault, message=f"{fault.message}: {consequence}"))
    report.faults = kept
    return settings


def _without(settings: Settings, fault: Fault) -> tuple[Settings, str] | None:
    """The settings without the subject of one fault, and the consequence; None: it cannot be dropped."""
    if fault.file == "outbound.ini" and fault.section.startswith(_ROUTE):
        if fault.key.endswith("_file") or fault.key in _ROUTE_FILES:
            return _without_route(settings, fault), "mail of this route is deferred"
    elif (fault.file, fault.section) == ("tls.ini", MAIN) and fault.key in _CERTIFICATE:
        if not _is_certificate_wanted(settings):
            return _without_certificate(settings), "STARTTLS is not offered, and no certificate is shown"
    elif domain := _signing_domain(fault):
        signer = dkim.without_keys(settings.signer, settings.dkim, domain, fault.message)
        return replace(settings, signer=signer), f"mail of {domain} is refused, or sent unsigned with strict=false"
    elif (fault.file, fault.key) == ("http.ini", "token_file"):
        return replace(settings, http=replace(settings.http, token_file="")), "there is no token"
    return None


def _signing_domain(fault: Fault) -> str:
    """The domain whose key a fault is about; empty when it is about something else."""
    folder, _, name = fault.file.partition("/")
    if folder == dkim.FOLDER and name:
        return name.removesuffix(dkim.SUFFIX).partition("._domainkey.")[2].lower()
    if fault.file == dkim.FILE and fault.key == "selectors":
        return fault.section.removeprefix(dkim.DOMAIN)
    return ""


def _without_route(settings: Settings, fault: Fault) -> Settings:
    name = fault.section.removeprefix(_ROUTE)
    routes = tuple(
        replace(route, waits=f"{fault.key}: {fault.message}") if route.name == name else route
        for route in settings.outbound.routes
    )
    return replace(settings, outbound=replace(settings.outbound, routes=routes))


def _is_certificate_wanted(settings: Settings) -> bool:
    """Whether there is implicit TLS for clients, or clients must show certificates."""
    return bool(settings.smtp.smtps_listen) or (settings.tls.request_cert and settings.tls.reject_unauthorized)


def _without_certificate(settings: Settings) -> Settings:
    """For clients, and for deliveries that would show the same."""
    tls, outbound = settings.tls, settings.tls_outbound
    if (outbound.cert, outbound.key) == (tls.cert, tls.key):
        outbound = replace(outbound, cert="", key="")
    return replace(settings, tls=replace(tls, cert="", key=""), tls_outbound=outbound)
