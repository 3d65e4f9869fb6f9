"""The `mailboat` command. Each subcommand is imported when it is called, so that `mailboat send` starts quickly."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from mailboat import __version__
from mailboat.cli.operator import DnsOptions

_SYSTEM_DNS = DnsOptions()

app = App(
    name="mailboat",
    help="An outbound mail relay: durable, fast, and native to Kubernetes.",
    version=f"mailboat {__version__}",
    default_parameter=Parameter(negative_bool=""),  # no `--no-json` in addition to `--json`
)
config = App(name="config", help="Check or show a configuration directory, or import one from Haraka.")
app.command(config)
# Their help is repeated here, so that the list of commands does not import them.
app.command("mailboat.cli.queue:app", name="queue", help="List and change the queue.")
app.command(
    "mailboat.cli.plugin:app",
    name="plugin",
    help="List plugins and the order in which they are called, or create one.",
)
app.command("mailboat.cli.dkim:app", name="dkim", help="Make DKIM keys, check them against the DNS, verify a mail.")
app.command("mailboat.cli.sts:app", name="sts", help="Forget an MTA-STS policy.")
app.command(
    "mailboat.cli.shaping:app",
    name="shaping",
    help="Check limits by destination, show what holds for a domain, try a reply.",
)
app.command("mailboat.cli.tls:app", name="tls", help="Explain what TLS mail to a domain must have.")
app.command("mailboat.cli.tlsrpt:app", name="tlsrpt", help="Send reports on TLS to the domains of recipients.")
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
        Seconds for clients and deliveries to finish when the relay stops.
    last_good:
        Keep a copy of each valid configuration below the queue directory, and start with it if the directory has
        faults.
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
    dns: Annotated[DnsOptions, Parameter(name="*")] = _SYSTEM_DNS,
    log_format: Literal["json", "text"] = "json",
) -> int:
    """Run the Kubernetes operator in the foreground until SIGTERM or SIGINT.

    The API server and credentials are those of KUBECONFIG, or of the pod's service account.

    Parameters
    ----------
    namespace:
        Manage the resources of this namespace; may be repeated. The default is the pod's own.
    all_namespaces:
        Manage those of all namespaces.
    listen:
        HOST:PORT of /livez, /readyz and /metrics.
    resync:
        Seconds between two full resyncs, for changes that the watches missed.
    log_format:
        The log on standard error: JSON for machines, text for people.
    """
    from mailboat.cli.operator import run  # noqa: PLC0415

    return run(namespace, listen, resync, dns, all_namespaces=all_namespaces, log_format=log_format)


@app.command
def top(
    *,
    config: Path = Path(),
    by: Literal["site", "domain", "tenant", "source"] = "domain",
    sort: Literal["waiting", "oldest"] = "waiting",
    limit: int | None = None,
    interval: float = 2.0,
    once: bool = False,
    json: bool = False,
) -> int:
    """Show what waits in a running relay, how long, and what holds it: again and again on a terminal, else once.

    Exit status: 0; 69 if no relay is running; 75 if it does not answer.

    Parameters
    ----------
    config:
        The configuration directory of the relay.
    by:
        What each row counts the mail of.
    sort:
        The rows with the most mail first, or those with the oldest.
    limit:
        Rows at most; the default is as many as the terminal has room for, or 20.
    interval:
        Seconds between two looks; more if the relay takes long to answer.
    once:
        Print the table once.
    json:
        Print JSON, once.
    """
    from mailboat.cli.top import top as show_top  # noqa: PLC0415

    return show_top(config, by, sort, limit, interval, once=once, json=json)


@config.command
def check(directory: Path) -> int:
    """Print every fault of a directory, one on each line; exit status 78 if there is one."""
    from mailboat.cli.config import check as check_directory  # noqa: PLC0415

    return check_directory(directory)


@config.command
def show(directory: Path, *, json: bool = False) -> int:
    """Show the effective settings of a directory, secrets hidden."""
    from mailboat.cli.config import show as show_directory  # noqa: PLC0415

    return show_directory(directory, json)


@config.command(name="import")
def import_(source: Path, /, *, to: Path = Path("mailboat-config")) -> int:
    """Convert a Haraka configuration directory, and print each setting that was changed or not carried over.

    Parameters
    ----------
    source
        Haraka's directory, such as /etc/haraka/config.
    to
        The new directory; existing files are never overwritten.
    """
    from mailboat.cli.config import import_haraka  # noqa: PLC0415

    return import_haraka(source, to)


def main() -> None:
    """Run the command; its result is the exit code."""
    sys.exit(app())
