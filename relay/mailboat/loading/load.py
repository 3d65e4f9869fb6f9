"""Turns a configuration directory into settings, or into a list of all its faults. The relay and the CLI call it.

`load` never raises for what the files say: all faults come at once. When to load again is for `fingerprint` to say.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from mailboat.config import bounce, values
from mailboat.config.acl import RELAY_ACL
from mailboat.config.do_without import do_without
from mailboat.config.fault import Fault, Report
from mailboat.config.ini import MAIN
from mailboat.config.legacy import LEGACY_FILES
from mailboat.config.parse import settings_of
from mailboat.config.sections import nearest
from mailboat.config.settings import Settings, keys_of
from mailboat.loading.directory import ConfigDirectory
from mailboat.loading.fingerprint import Marks

INI_FILES = ("smtp.ini", "http.ini", "outbound.ini", "tls.ini", "dkim.ini", "tlsrpt.ini", "shaping.ini", "tenants.ini")

QUEUE_DIR_VARIABLE = "MAILBOAT_QUEUE_DIR"
DNS_SERVERS_VARIABLE = "MAILBOAT_DNS_SERVERS"

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
    """Read and check a whole directory. `environ` gives `MAILBOAT_QUEUE_DIR` and `MAILBOAT_DNS_SERVERS`.

    `copies`: a folder with copies of its own files, to be read instead: the last good set. What keys name is read where
    it is, and done without where `do_without` says that this is safe.
    """
    report = Report()
    files = ConfigDirectory(directory.absolute(), report, copies=copies)
    files.watch(files.path)
    # A path in a file is relative to the directory, one in the environment to where the relay was started.
    queue_dir = str(Path(given).absolute()) if (given := environ.get(QUEUE_DIR_VARIABLE)) else ""
    if copies is None and not os.path.isdir(directory):  # noqa: PTH112 - Path.is_dir raises where it may not look
        fault = Fault(str(directory), 0, "", "", "is not a directory that can be read")
        return Loaded(None, (fault,), (), files.marks, queue_dir=queue_dir)
    if copies is None:
        _warn_of_files(files.path, report)
    settings = settings_of(files, report, host_name=socket.gethostname(), queue_dir=queue_dir)
    settings = _with_dns_servers(settings, environ.get(DNS_SERVERS_VARIABLE, ""), report)
    if copies is not None:
        settings = do_without(replace(settings, copies=str(copies)), report)
    faults, tolerated = _in_order(report.faults), _in_order(report.tolerated)
    warnings = _in_order([*report.warnings, *tolerated])
    return Loaded(
        None if faults else settings,
        *(faults, warnings, files.marks, files.contents, tolerated),
        queue_dir=settings.outbound.queue_dir,
    )


def _with_dns_servers(settings: Settings, given: str, report: Report) -> Settings:
    """With the environment's DNS servers where the configuration has none: those of a resolver in the relay's pod."""
    try:
        servers = values.dns_servers(given)
    except ValueError as error:
        report.fault(DNS_SERVERS_VARIABLE, str(error))
        return settings
    outbound = settings.outbound
    return replace(settings, outbound=replace(outbound, dns_servers=outbound.dns_servers or servers))


def restart_needed(old: Settings, new: Settings) -> list[str]:
    """The keys that changed and take effect only with a restart, each as `file [section] key`."""
    pairs = (
        ("smtp.ini", old.smtp, new.smtp),
        ("http.ini", old.http, new.http),
        ("outbound.ini", old.outbound, new.outbound),
        ("tls.ini", old.tls, new.tls),
    )
    return [
        f"{file} [{MAIN}] {key.ini}"
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
            report.warn(name, f"is not read by the relay{hint}")
