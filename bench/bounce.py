"""`python -m bench bounce`: how long `queue bounce` takes for a part of a long queue, held against the limit for it.

Fills the queue of one worker with deferred messages, starts a relay with two on it, and bounces the mail to one domain
in ten: with a bounce message each, which a sink takes meanwhile, then without.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from bench import long_queue, process

BOUNCED_WITHIN = 10.0
"""Seconds for 10,000 of 100,000 messages."""
_PARTS = 10
_PATIENCE = 300.0


def main(words: Sequence[str]) -> int:
    """Prints the figures; 0 when the limit is kept, else 1."""
    parser = argparse.ArgumentParser(prog="python -m bench bounce", description=__doc__.partition("\n")[0])
    parser.add_argument("--messages", type=int, default=100_000, metavar="N", help="in the queue (100,000)")
    parser.add_argument(
        "--work", type=Path, default=Path("/var/tmp"), metavar="DIR", help="disk for the queue (/var/tmp)"
    )
    options = parser.parse_args(words)
    with tempfile.TemporaryDirectory(dir=options.work) as directory:
        return _run(Path(directory), options.messages)


def _run(directory: Path, messages: int) -> int:
    long_queue.DOMAINS = _PARTS
    config = directory / "config"
    queue = config / "queue"
    queue.mkdir(parents=True)
    asyncio.run(long_queue.fill(queue, messages, due=0))
    smtp, admin, sink = (process.free_port() for _ in range(3))
    files = {
        "me": "bench.test",
        "smtp.ini": f"listen=127.0.0.1:{smtp}\nnodes=2",
        "http.ini": f"listen=127.0.0.1:{admin}",
        "outbound.ini": f"local_mx_ok=true\n[route:sink]\ndomains=*\nhosts=127.0.0.1:{sink}",
    }
    for name, text in files.items():
        (config / name).write_text(text + "\n")
    mailboat = shutil.which("mailboat", path=str(Path(sys.executable).parent)) or "mailboat"
    taker = process.start("sink", [mailboat, "sink", f"127.0.0.1:{sink}"], directory / "sink.log")
    relay = process.start("mailboat", [mailboat, "relay", "--config", config], directory / "relay.log")
    try:
        process.wait_for_greeting(relay, smtp)
        process.wait_for_port(relay.process, "mailboat", admin)
        kept = True
        for domain, dsn in (("d0.test", True), ("d1.test", False)):
            began, used = time.monotonic(), process.tree_cpu(relay.pid)
            count = _bounce(admin, domain, dsn=dsn)
            took = time.monotonic() - began
            kept = kept and took < BOUNCED_WITHIN
            how = "with a bounce message each" if dsn else "without"
            cpu = process.tree_cpu(relay.pid) - used
            print(f"{count:,} of {messages:,} bounced {how}: {took:.1f} s ({cpu:.1f} s of CPU)", flush=True)
        return 0 if kept else 1
    finally:
        relay.stop()
        taker.stop()


def _bounce(port: int, domain: str, *, dsn: bool) -> int:
    body = json.dumps({"domain": domain, "reason": "closed", "dsn": dsn}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/queue/bounce", body)
    with urllib.request.urlopen(request, timeout=_PATIENCE) as answer:
        return int(json.loads(answer.read())["count"])
