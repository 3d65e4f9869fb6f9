"""A configuration directory into settings, or into everything that is wrong with it. The relay and the CLI call it.

`load` never raises for what the files say: all faults come at once. When to load again is for `fingerprint` to say.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mailboat.config import bounce, values
from mailboat.config.acl import RELAY_ACL, read_relay_acl
from mailboat.config.do_without import do_without
from mailboat.config.fault import Fault, Report
from mailboat.config.files import ConfigDirectory, FileError
from mailboat.config.fingerprint import Marks
from mailboat.config.hash import config_hash
from mailboat.config.hosts import sender_pattern
from mailboat.config.ini import MAIN, IniFile
from mailboat.config.legacy import LEGACY_FILES
from mailboat.config.outbound import QUEUE_DIR_VARIABLE, read_outbound, secret
from mailboat.config.plugins import read_plugins
from mailboat.config.sections import nearest, read_section, warn_of_sections
from mailboat.config.settings import (
    BounceTemplates,
    Endpoint,
    HttpSettings,
    Settings,
    SmtpSettings,
    keys_of,
)
from mailboat.config.tenants import read_tenants
from mailboat.config.tls import read_tls

INI_FILES = ("smtp.ini", "http.ini", "outbound.ini", "tls.ini", "tenants.ini")

_SENDERS = "senders_allow"
_NO_NAME = "localhost"
_NEAR_FILE = 0.8
"""How alike a file's name must be; plugins have files of many names."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """What a directory gave: settings, unless there are faults."""

    settings: Settings | None
    """None when there is any fault."""
    faults: tuple[Fault, ...]
    """All of them, in the order of the files."""
    warnings: tuple[Fault, ...]
    """Those of `tolerated` included."""
    marks: Marks
    """Of every file that was asked for, from before it was read: once `fingerprint.changed`, load again."""
    contents: Mapping[str, bytes] = field(default_factory=dict)
    """The files of the directory that there were, as far as the relay itself reads them; none that keys name."""
    tolerated: tuple[Fault, ...] = ()
    """What earlier releases took. A reload refuses it, a start goes on without: an upgrade stops no relay."""
    queue_dir: str = ""
    """The queue directory, as far as it can be told where there are faults."""
    stored_at: str = ""
    """When the set was stored, where `copies` of the last good set were read; RFC 3339."""
    refused: tuple[Fault, ...] = ()
    """Why they were: what is wrong with the directory."""


def load(directory: Path, environ: Mapping[str, str], copies: Path | None = None) -> Loaded:
    """Read and check a whole directory. `environ` gives `MAILBOAT_QUEUE_DIR`.

    `copies`: a folder with copies of its own files, to be read instead: the last good set. What keys name is read where
    it is, and done without where `do_without` says that this is safe.
    """
    report = Report()
    files = ConfigDirectory(directory.absolute(), report, copies=copies)
    files.watch(files.path)
    if copies is None and not os.path.isdir(directory):  # noqa: PTH112 - Path.is_dir raises where it may not look
        fault = Fault(str(directory), 0, "", "", "is not a directory that can be read")
        queue_dir = environ.get(QUEUE_DIR_VARIABLE)
        return Loaded(None, (fault,), (), files.marks, queue_dir=str(Path(queue_dir).absolute()) if queue_dir else "")
    if copies is None:
        _warn_of_files(files.path, report)
    settings = _settings(files, environ, report)
    if copies is not None:
        settings = do_without(replace(settings, copies=str(copies)), report)
    faults, tolerated = _in_order(report.faults), _in_order(report.tolerated)
    warnings = _in_order([*report.warnings, *tolerated])
    return Loaded(
        None if faults else settings,
        *(faults, warnings, files.marks, files.contents, tolerated),
        queue_dir=settings.outbound.queue_dir,
    )


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """The keys that changed and take effect only with a restart, each as `file [section] key`."""
    pairs = (
        ("smtp.ini", old.smtp, new.smtp),
        ("http.ini", old.http, new.http),
        ("outbound.ini", old.outbound, new.outbound),
        ("tls.ini", old.tls, new.tls),
    )
    return [
        f"{file} [{key.key.section}] {key.ini}"
        for file, before, after in pairs
        for key in keys_of(type(before))
        if key.key.restart and getattr(before, key.field) != getattr(after, key.field)
    ]


def _in_order(told: Collection[Fault]) -> tuple[Fault, ...]:
    """Without repetitions, file by file, each from its top."""
    rank = {name: number for number, name in enumerate(("me", *INI_FILES, RELAY_ACL, bounce.TEXT))}
    return tuple(
        sorted(dict.fromkeys(told), key=lambda fault: (rank.get(fault.file, len(rank)), fault.file, fault.line))
    )


def _settings(files: ConfigDirectory, environ: Mapping[str, str], report: Report) -> Settings:
    smtp = files.ini("smtp.ini", files.content("smtp.ini"))
    http = files.ini("http.ini", files.content("http.ini"))
    # Read once: what is hashed is what is parsed.
    outbound, tls, tenants = (files.content(name) for name in ("outbound.ini", "tls.ini", "tenants.ini"))
    me = _me(files, report)
    for file in (smtp, http):
        warn_of_sections(file, (MAIN,), report)
    smtp_settings = SmtpSettings(**read_section(smtp, MAIN, SmtpSettings, report))
    http_settings = _http(http, files, report)
    outbound_settings = read_outbound(files.ini("outbound.ini", outbound), files, environ, report)
    awaits = outbound is None and smtp_settings.await_outbound
    if awaits:
        outbound_settings = replace(outbound_settings, disabled=True)
        report.warn("outbound.ini", "is not there yet: mail waits for it, because smtp.ini says await_outbound")
    tls_inbound, tls_outbound = read_tls(files.ini("tls.ini", tls), files, report)
    if smtp_settings.smtps_listen and not tls_inbound.cert:
        report.faults.append(smtp.fault(MAIN, "smtps_listen", "needs a key and a certificate in tls.ini"))
    report.faults += _listen_faults(smtp, smtp_settings, http, http_settings)
    return Settings(
        directory=str(files.path),
        me=me,
        smtp=smtp_settings,
        http=http_settings,
        outbound=outbound_settings,
        tls=tls_inbound,
        tls_outbound=tls_outbound,
        relay_acl=read_relay_acl(files, report),
        senders_allow=_senders_allow(files, report),
        tenants=read_tenants(files.ini("tenants.ini", tenants), smtp_settings.endpoints, report),
        awaits_outbound=awaits,
        bounce=_bounce(files, report),
        plugins=read_plugins(files, report),
        hash=config_hash(outbound, tls, tenants),
    )


def _bounce(files: ConfigDirectory, report: Report) -> BounceTemplates:
    templates = BounceTemplates(files.text(bounce.TEXT), files.text(bounce.HTML), files.content(bounce.IMAGE))
    for name, text in ((bounce.TEXT, templates.text), (bounce.HTML, templates.html)):
        for warning in bounce.warnings_of(text):
            report.warn(name, warning)
    return templates


def _me(files: ConfigDirectory, report: Report) -> str:
    lines = files.lines("me")
    number, name = lines[0] if lines else (0, socket.gethostname())
    try:
        return values.host_name(name)
    except ValueError as error:
        if lines:
            report.fault("me", str(error), number)
        else:
            report.warn("me", f"the system's host name will not do, {_NO_NAME} is used: {error}")
        return _NO_NAME


def _http(file: IniFile, files: ConfigDirectory, report: Report) -> HttpSettings:
    settings = HttpSettings(**read_section(file, MAIN, HttpSettings, report))
    if settings.token_file:
        try:
            secret(files, settings.token_file)
        except FileError as error:
            report.faults.append(file.fault(MAIN, "token_file", f"the file {error}"))
        else:
            settings = replace(settings, token_file=str(files.absolute(settings.token_file)))
    elif not all(map(_is_loopback, settings.listen)):
        message = "is not loopback and there is no token_file: requests that change anything are refused"
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


def _senders_allow(files: ConfigDirectory, report: Report) -> frozenset[str] | None:
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


def _warn_of_files(directory: Path, report: Report) -> None:
    """Warn of files that look as if somebody expects them to be read."""
    try:
        names = sorted(path.name for path in directory.iterdir() if path.name.isprintable())
    except OSError as error:
        report.fault(str(directory), f"cannot be listed: {error.strerror}")
        return
    for name in names:
        if name in LEGACY_FILES:
            report.warn(name, LEGACY_FILES[name])
        elif name.endswith(".ini") and name not in INI_FILES and (hint := nearest(name, INI_FILES, _NEAR_FILE)):
            report.warn(name, f"is read by no part of the relay itself{hint}")
