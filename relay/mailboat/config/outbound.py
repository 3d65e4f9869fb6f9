"""`outbound.ini`: its keys, `[bind]` and the `[route:NAME]` sections, and the rules between them. Called by `load`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Set
from dataclasses import replace
from itertools import product
from typing import Any

from mailboat.config import values
from mailboat.config.fault import Fault, Report
from mailboat.config.files import ConfigFiles, FileError, decode
from mailboat.config.ini import MAIN, IniFile
from mailboat.config.openssl import roots
from mailboat.config.sections import named_sections, parse_entry, read_section, warn_of_sections
from mailboat.config.settings import Bind, OutboundSettings, Route, TlsLevel

BIND = "bind"
ROUTE = "route:"

_ROUTE_NAME = re.compile(r"[A-Za-z0-9._-]{1,63}")


def read_outbound(file: IniFile, files: ConfigFiles, queue_dir: str, report: Report) -> OutboundSettings:
    """The settings of `outbound.ini`; faults are added to the report. `queue_dir` overrides the key."""
    warn_of_sections(file, (MAIN, BIND, ROUTE), report)
    settings = OutboundSettings(**read_section(file, MAIN, OutboundSettings, report))
    if file.get(MAIN, "temp_fail_intervals") and file.get(MAIN, "maxTempFailures"):
        report.warnings.append(file.fault(MAIN, "maxTempFailures", "has no effect if temp_fail_intervals is set"))
    return replace(
        settings,
        queue_dir=_queue_dir(queue_dir, settings.queue_dir, file, files, report),
        binds=tuple(_binds(file, report)),
        routes=_routes(file, files, report),
    )


def _queue_dir(given: str, configured: str, file: IniFile, files: ConfigFiles, report: Report) -> str:
    if not given and not configured:
        report.faults.append(file.fault(MAIN, "queue_dir", "is empty; leave the key out for the default"))
    path = given or files.absolute(configured)
    if files.is_directory_itself(path):
        # Each change of the database would look like a change of the configuration.
        report.faults.append(file.fault(MAIN, "queue_dir", "is the configuration directory itself; use one below it"))
    return path


def _binds(file: IniFile, report: Report) -> Iterator[tuple[str, Bind]]:
    for entry in file.of(BIND):
        try:
            yield entry.key, parse_entry(entry, values.bind)
        except ValueError as error:
            report.faults.append(entry.fault(str(error)))


def _routes(file: IniFile, files: ConfigFiles, report: Report) -> tuple[Route, ...]:
    routes = []
    owners: dict[tuple[str, str], str] = {}
    for section, name in named_sections(file, ROUTE, _ROUTE_NAME, report):
        route = Route(name=name, **read_section(file, section, Route, report))
        report.faults += _route_faults(route, section, file)
        if route.senders and not file.get(section, "domains"):
            route = replace(route, domains=("*",))
        for domain, sender in product(route.domains, route.senders or ("",)):
            owner = owners.setdefault((domain, sender), name)
            if owner != name:
                what = "all domains (`*`)" if domain == "*" else domain
                whose = f" from {sender}" if sender else ""
                message = f"{what}{whose} already belongs to [{ROUTE}{owner}]"
                report.faults.append(file.fault(section, "domains", message))
        route = _with_credentials(route, section, file, files, report)
        report.warnings += _clear_passwords(route, section, file)
        routes.append(_with_roots(route, section, file, files, report))
    return tuple(routes)


def _route_faults(route: Route, section: str, file: IniFile) -> Iterator[Fault]:
    # A key with a bad value is not missing: its fault has been reported.
    given = {entry.key for entry in file.of(section) if entry.value.strip()}
    if not given & {"domains", "senders"}:
        yield file.fault(section, "domains", "is missing: a route needs domains or senders")
    if "hosts" not in given:
        yield file.fault(section, "hosts", "is missing: a route needs hosts")
    yield from _auth_faults(route, section, file, given)
    if route.tls in (TlsLevel.REQUIRED, TlsLevel.IMPLICIT) and any(h.host.startswith("/") for h in route.hosts):
        yield file.fault(section, "tls", f"{route.tls} cannot be had over a unix socket: it has no name to verify")


def _auth_faults(route: Route, section: str, file: IniFile, given: Set[str]) -> Iterator[Fault]:
    user = route.auth_user or route.auth_user_file
    if route.auth_user and route.auth_user_file:
        yield file.fault(section, "auth_user_file", "is set, and so is auth_user: set one of them")
    if route.require_auth and not user:
        yield file.fault(section, "auth_user", "is missing: with require_auth all mail would be deferred")
    if route.sends_token:
        yield from _token_faults(route, section, file, given)
        return
    if user and not route.auth_pass_file:
        yield file.fault(section, "auth_pass_file", "is missing: a user needs a password")
    if route.auth_pass_file and not user:
        yield file.fault(section, "auth_user", "is missing: a password needs a user")
    for key in sorted(key for key in given if key.startswith("oauth_")):
        yield file.fault(section, key, f"has an effect only with auth_type={' or '.join(values.TOKEN_MECHANISMS)}")


def _token_faults(route: Route, section: str, file: IniFile, given: Set[str]) -> Iterator[Fault]:
    if not route.auth_user and not route.auth_user_file:
        yield file.fault(section, "auth_user", "is missing: a token is for a user")
    if route.auth_pass_file:
        yield file.fault(section, "auth_pass_file", f"has no effect with auth_type={route.auth_type}")
    for key in ("oauth_token_url", "oauth_client_id"):
        if key not in given:
            yield file.fault(section, key, f"is missing: auth_type={route.auth_type} needs it")
    if not route.oauth_client_secret_file and not route.oauth_refresh_token_file:
        yield file.fault(section, "oauth_client_secret_file", "is missing: a secret or a refresh token is needed")


_CREDENTIALS = {
    "auth_user_file": "auth_user_read",
    "auth_pass_file": "auth_pass",
    "oauth_client_secret_file": "oauth_client_secret",
    "oauth_refresh_token_file": "oauth_refresh_token",
}
"""The keys of a route that name a file, each with the field for its content."""


def _with_credentials(route: Route, section: str, file: IniFile, files: ConfigFiles, report: Report) -> Route:
    """The route with absolute paths and the content of the files."""
    for key, content in _CREDENTIALS.items():
        path: str = getattr(route, key)
        if not path:
            continue
        try:
            found: dict[str, Any] = {key: files.absolute(path), content: secret(files, path)}
        except FileError as error:
            report.faults.append(file.fault(section, key, f"the file {error}"))
        else:
            route = replace(route, **found)
    return route


_ROOTS = {"ca": "ca_pem", "oauth_ca": "oauth_ca_pem"}
"""The keys of a route that name a file of root certificates, each with the field for its content."""


def _with_roots(route: Route, section: str, file: IniFile, files: ConfigFiles, report: Report) -> Route:
    for key, content in _ROOTS.items():
        path: str = getattr(route, key)
        if not path:
            continue
        try:
            found: dict[str, Any] = {key: files.absolute(path), content: roots(files.named(path))}
        except FileError as error:
            report.faults.append(file.fault(section, key, f"the file {error}"))
        except ValueError as error:
            report.faults.append(file.fault(section, key, str(error)))
        else:
            route = replace(route, **found)
    return route


def _clear_passwords(route: Route, section: str, file: IniFile) -> Iterator[Fault]:
    """Warnings about a password or token that may be read in transit."""
    what = "access token" if route.sends_token else "password"
    if not route.user or all(host.is_local for host in route.hosts):
        return
    if route.tls is TlsLevel.DISABLED:
        yield file.fault(section, "tls", f"is disabled: the {what} is sent in the clear")
    elif route.tls is TlsLevel.OPPORTUNISTIC and route.auth_without_tls:
        yield file.fault(section, "auth_without_tls", f"is on: the {what} may be sent in the clear")


def secret(files: ConfigFiles, path: str) -> str:
    """The one line of a user, password or token file, without its line end. A FileError does not quote the content."""
    content = decode(files.named(path)).removesuffix("\n").removesuffix("\r")
    if not content:
        raise FileError("is empty")
    if "\n" in content or "\r" in content:
        raise FileError("has more than one line")
    return content
