"""`mailboat tlsrpt`: sends the reports on TLS of past days now, through the admin API of the running relay."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import App, Parameter

from mailboat.cli.queue import http_settings
from mailboat.cli.queue_source import Api, QueueCommandError
from mailboat.tlsrpt.report import day_from

app = App(name="tlsrpt", help="Send reports on TLS to the domains of recipients.")

_HERE = Path()


@app.command
def send(
    *,
    config: Annotated[Path, Parameter(help="The configuration directory of the relay.")] = _HERE,
    day: Annotated[str, Parameter(help="Only of this day, YYYY-MM-DD in UTC.")] = "",
    json: Annotated[bool, Parameter(help="Print JSON, one object a line.")] = False,
) -> int:
    """Send the reports of past days that are not sent yet, whose turn the relay would else await.

    Exit status: 0, also if there is nothing to send; 75 if a report could not be sent, or the relay does not answer.
    """
    try:
        if day:
            day_from(day)
        reports = Api(http_settings(config)).report_tls(day)
    except ValueError as error:
        print(f"mailboat tlsrpt: --day {error}", file=sys.stderr)
        return os.EX_USAGE
    except QueueCommandError as error:
        print(f"mailboat tlsrpt: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL if error.status == os.EX_UNAVAILABLE else error.status
    for report in reports:
        print(orjson.dumps(report).decode() if json else "{day} {domain} {address} {state}".format_map(report))
    return os.EX_OK if all(report["state"] == "sent" for report in reports) else os.EX_TEMPFAIL
