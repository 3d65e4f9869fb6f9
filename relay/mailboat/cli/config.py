"""`mailboat config check`, `show` and `import`: their output and exit status.

They read a directory as the relay would, `MAILBOAT_QUEUE_DIR` included, and change nothing. Called by the command line
in `mailboat.cli`.
"""

from __future__ import annotations

import json as json_format
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from mailboat.config.fault import Fault
from mailboat.config.settings import Settings
from mailboat.config.show import as_data, as_text
from mailboat.haraka.conversion import convert
from mailboat.haraka.writing import TakenError, write
from mailboat.loading.load import load
from mailboat.model.clock import SystemClock
from mailboat.model.observer import Observer
from mailboat.routing.system import SystemFiles

EX_CONFIG = 78
"""sysexits.h: something was found in an unconfigured or misconfigured state."""


def check(directory: Path, system: SystemFiles | None = None) -> int:
    """Print faults on standard output and warnings on standard error, one on each line; 0, or 78 if there is a fault.

    Plugins are also loaded, as at a start: their code runs, their hooks do not. `system` looks up hosts of this
    machine.
    """
    loaded = load(directory, os.environ)
    _print_warnings(warning for warning in loaded.warnings if warning not in loaded.tolerated)
    if loaded.settings is not None:
        _print_warnings(_unknown_hosts(loaded.settings, system or SystemFiles(SystemClock())))
    faults = loaded.faults if loaded.settings is None else _plugin_faults(loaded.settings)
    faults = (*faults, *loaded.tolerated)
    for fault in faults:
        print(fault)
    return EX_CONFIG if faults else 0


def show(directory: Path, json: bool) -> int:
    """Print the effective settings; 78 and the faults on standard error if there are any."""
    loaded = load(directory, os.environ)
    _print_warnings(loaded.warnings)
    if loaded.settings is None:
        for fault in loaded.faults:
            print(fault, file=sys.stderr)
        return EX_CONFIG
    if json:
        print(json_format.dumps(as_data(loaded.settings), indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(as_text(loaded.settings))
    return 0


def import_haraka(source: Path, target: Path) -> int:
    """Convert a Haraka directory to a Mailboat one, and print a line for each setting that was changed or lost.

    0; 66 if there is nothing to read, 73 if it cannot be written.
    """
    if not source.is_dir():
        print(f"mailboat config import: {source} is not a directory that can be read", file=sys.stderr)
        return os.EX_NOINPUT
    product = convert(source)
    try:
        write(product, target, _plugin_faults)
    except (TakenError, OSError) as error:
        print(f"mailboat config import: {error}", file=sys.stderr)
        return os.EX_CANTCREAT
    notes = product.journal.sorted()
    for note in notes:
        print(note)
    lost = sum(note.is_lost for note in notes)
    print(f"{target} is written; {lost} not carried over, {len(notes) - lost} to review", file=sys.stderr)
    return 0


def _plugin_faults(settings: Settings) -> Sequence[Fault]:
    from mailboat.hooks.loader import Plugins, PluginsError  # noqa: PLC0415 - `config show` needs no plugins

    try:
        Plugins(Observer()).stage(settings)
    except PluginsError as error:
        return error.faults
    return ()


def _unknown_hosts(settings: Settings, system: SystemFiles) -> Iterator[Fault]:
    """Short names of routes' hosts and token servers that neither /etc/hosts nor a search list completes."""
    for route in settings.outbound.routes:
        token_server = urlsplit(route.oauth_token_url).hostname or "localhost"
        for key, name in (*(("hosts", host.host) for host in route.hosts), ("oauth_token_url", token_server)):
            if "." in name or ":" in name or name == "localhost" or name.startswith("/"):
                continue
            if system.host(name) is None and not system.resolv_conf().search:
                message = f"{name} has no dot; /etc/hosts does not list it, and /etc/resolv.conf has no search list"
                yield Fault("outbound.ini", 0, f"route:{route.name}", key, message)


def _print_warnings(warnings: Iterable[Fault]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
