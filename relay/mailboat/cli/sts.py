"""`mailboat sts`: forgets the MTA-STS policy of a domain, through the admin API of the running relay."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import App, Parameter

from mailboat.cli.queue import http_settings
from mailboat.cli.queue_source import Api, QueueCommandError

app = App(name="sts", help="Forget an MTA-STS policy.")

_HERE = Path()


@app.command
def flush(
    domain: str,
    /,
    *,
    config: Annotated[Path, Parameter(help="The configuration directory of the relay.")] = _HERE,
    json: Annotated[bool, Parameter(help="Print JSON.")] = False,
) -> int:
    """Forget the MTA-STS policy of a domain in all workers; the next mail to it has the policy fetched again.

    Exit status: 0, also if no policy was known; 64 if DOMAIN is not one; 75 if the relay does not answer, or a worker
    is being restarted.
    """
    try:
        count = Api(http_settings(config)).flush_sts(domain)
    except QueueCommandError as error:
        print(f"mailboat sts: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL if error.status == os.EX_UNAVAILABLE else error.status
    if json:
        print(orjson.dumps({"count": count}).decode())
    else:
        print("the policy is forgotten" if count else "no policy was known")
    return os.EX_OK
