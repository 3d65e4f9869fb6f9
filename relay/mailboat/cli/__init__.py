"""The `mailboat` command. Each subcommand is imported when it is called, so that `mailboat send` starts quickly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

from cyclopts import App, Parameter

from mailboat import __version__

app = App(
    name="mailboat",
    help="An outbound mail relay: durable, fast, and native to Kubernetes.",
    version=f"mailboat {__version__}",
    default_parameter=Parameter(negative_bool=""),  # no `--no-json` beside `--json`
)
config = App(name="config", help="Check or show a configuration directory, or import one from Haraka.")
app.command(config)
# Their help is said here, too: without it the list of commands would have to import them.
app.command("mailboat.cli.queue:app", name="queue", help="List and change the queue.")
app.command(
    "mailboat.cli.plugin:app",
    name="plugin",
    help="List plugins and the order in which they are called, or create one.",
)
app.command("mailboat.cli.dkim:app", name="dkim", help="Make DKIM keys, check them against the DNS, verify a mail.")
app.command(
    "mailboat.cli.send:send",
    name="send",
    help="Submit a mail by SMTP, or over HTTP with --api, and print the reply.\n\n"
    "Exit status: 0; 75 after a temporary failure, 69 after a permanent one. A mail without a header gets From, To, "
    "Subject and Date.",
)
app.command(
    "mailboat.cli.sink:sink",
    name="sink",
    help="Accept all mail on LISTEN, print a line for each, and discard it. Ends with Ctrl-C.",
)


@app.command
def relay(
    *,
    config: Path,
    log_format: Literal["json", "text"] = "json",
    drain_timeout: float = 25.0,
    last_good: bool = False,
) -> int:
    """Run the relay in the foreground until SIGTERM or SIGINT.

    Parameters
    ----------
    config:
        The configuration directory.
    log_format:
        The event log on standard output: JSON for machines, text for people.
    drain_timeout:
        Seconds that clients and deliveries have to finish when the relay ends.
    last_good:
        Keep a copy of each good configuration below the queue directory, and start with it when the directory is bad.
    """
    from mailboat.app.build import WorkerOptions  # noqa: PLC0415
    from mailboat.app.run import relay as run_relay  # noqa: PLC0415

    options = WorkerOptions(config, log_format=log_format, drain_timeout=drain_timeout, last_good=last_good)
    return run_relay(options)


@app.command
def operator(
    *,
    namespace: tuple[str, ...] = (),
    all_namespaces: bool = False,
    listen: str = "127.0.0.1:9026",
    resync: float = 600.0,
    log_format: Literal["json", "text"] = "json",
) -> int:
    """Run the Kubernetes operator in the foreground until SIGTERM or SIGINT.

    It finds the API server by KUBECONFIG, or by the service account of its pod.

    Parameters
    ----------
    namespace:
        Look after the OutboundConfigs of this namespace; may be repeated. The default is the pod's own.
    all_namespaces:
        Look after those of all namespaces.
    listen:
        HOST:PORT of /livez, /readyz and /metrics.
    resync:
        Seconds between two readings of everything, for what no watch has told.
    log_format:
        The log on standard error: JSON for machines, text for people.
    """
    from mailboat.cli.operator import run  # noqa: PLC0415

    return run(namespace, listen, resync, all_namespaces=all_namespaces, log_format=log_format)


@config.command
def check(directory: Path) -> int:
    """Say every fault of a directory, a line each; exit 78 if there is one."""
    from mailboat.cli.config import check as check_directory  # noqa: PLC0415

    return check_directory(directory)


@config.command
def show(directory: Path, *, json: bool = False) -> int:
    """Show the effective settings of a directory, secrets hidden."""
    from mailboat.cli.config import show as show_directory  # noqa: PLC0415

    return show_directory(directory, json)


@config.command(name="import")
def import_(source: Path, /, *, to: Path = Path("mailboat-config")) -> int:
    """Write a directory that says what a Haraka configuration directory says, and what of it could not come along.

    Parameters
    ----------
    source
        Haraka's directory, such as /etc/haraka/config.
    to
        The new directory; nothing is written over another one.
    """
    from mailboat.cli.config import import_haraka  # noqa: PLC0415

    return import_haraka(source, to)


def main() -> None:
    """Run the command; its result is the exit code."""
    sys.exit(app())
