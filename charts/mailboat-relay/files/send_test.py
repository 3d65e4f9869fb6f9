"""`helm test`: a mail goes through the Service, into a relay's queue, and out again to this pod; or is refused.

Runs in a pod of the relay's image. The recipient is an address literal (RFC 5321 4.1.3): this pod itself, where a sink
listens on port 25, so neither DNS nor the Internet takes part. For another recipient the relays' own count alone tells.
A pod that is not in `config.relayAllow` must be refused.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import json
import os
import smtplib
import socket
import sys
import uuid
from collections.abc import Iterator
from urllib.request import urlopen

from mailboat.cli.sink import SinkMail, serve
from mailboat.config.settings import Endpoint

_DELIVERED = 'mailboat_deliveries_total{outcome="delivered"}'
_POLL_SECONDS = 0.5
_RETRY_SECONDS = 5.0


def main() -> int:
    """The exit code for Helm."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True, help="HOST:PORT of the Service")
    parser.add_argument("--pods", required=True, help="HOST:PORT of the headless Service's admin port")
    parser.add_argument("--timeout", type=float, required=True, help="seconds that the mail may take")
    parser.add_argument("--recipient", default="", help="another recipient than this pod")
    parser.add_argument("--port", type=int, default=25, help="where relays deliver to")
    parser.add_argument("--allowed", action="append", default=[], help="a network that may relay")
    given = parser.parse_args()
    here = ipaddress.ip_address(os.environ["POD_IP"])
    networks = [ipaddress.ip_network(text, strict=False) for text in given.allowed]
    if not any(here in network for network in networks):
        return _must_be_refused(given.server, here)
    return asyncio.run(_deliver(given))


def _must_be_refused(server: str, here: object) -> int:
    try:
        _submit(server, "helm-test@example.invalid", "stranger")
    except smtplib.SMTPRecipientsRefused as error:
        print(f"{here} is not in config.relayAllow and was refused, as it must be: {error.recipients}")
        print("To let applications in: helm upgrade … --set 'config.relayAllow={NETWORK}'")
        return 0
    print(f"{here} is not in config.relayAllow, and its mail was taken all the same", file=sys.stderr)
    return 1


async def _deliver(given: argparse.Namespace) -> int:
    mark = uuid.uuid4().hex
    arrived = asyncio.Event()

    def take(mail: SinkMail) -> None:
        if mark.encode() in mail.body:
            arrived.set()

    here = os.environ["POD_IP"]
    literal = f"[IPv6:{here}]" if ":" in here else f"[{here}]"
    sink = await serve(Endpoint(here, given.port), take)
    before = await asyncio.to_thread(_deliveries, given.pods)
    try:
        async with asyncio.timeout(given.timeout):
            await _taken(given.server, given.recipient or f"helm-test@{literal}", mark)
            if not given.recipient:
                await arrived.wait()
                print("arrived here")
            await _counted(given.pods, before)
    except TimeoutError:
        what = "counted" if arrived.is_set() or given.recipient else "here; does a route lead it elsewhere?"
        print(f"after {given.timeout:g} s it is not {what}", file=sys.stderr)
        print("see: kubectl exec POD -- mailboat queue list --config /etc/mailboat", file=sys.stderr)
        for warning in await asyncio.to_thread(_warnings, given.pods):
            print(f"the relays warn: {warning}", file=sys.stderr)
        return 1
    finally:
        sink.close()
    print("counted as delivered")
    return 0


async def _taken(server: str, recipient: str, mark: str) -> None:
    """Submit; while it is refused again, for a change of `config.relayAllow` takes up to a minute to reach the pods."""
    while True:
        try:
            await asyncio.to_thread(_submit, server, recipient, mark)
        except smtplib.SMTPRecipientsRefused as error:
            print(f"refused, will try again: {error.recipients}")
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            print(f"taken by {server}")
            return


async def _counted(pods: str, before: float) -> None:
    """Wait until the relays have counted one delivery more."""
    while await asyncio.to_thread(_deliveries, pods) <= before:  # noqa: ASYNC110 - nobody tells us
        await asyncio.sleep(_POLL_SECONDS)


def _submit(server: str, recipient: str, mark: str) -> None:
    host, _, port = server.rpartition(":")
    with smtplib.SMTP(host, int(port), timeout=30) as client:
        client.sendmail("", [recipient], f"From: helm-test\r\nSubject: helm test {mark}\r\n\r\nThis is a test.\r\n")


def _deliveries(pods: str) -> float:
    """The count of delivered recipients, over all pods that answer."""
    lines = [line for answer in _ask(pods, "/metrics") for line in answer.splitlines()]
    return sum(float(line.split()[1]) for line in lines if line.startswith(_DELIVERED))


def _warnings(pods: str) -> list[str]:
    """What the pods that answer warn of in their configuration, each once."""
    return sorted({warning for answer in _ask(pods, "/configz") for warning in json.loads(answer)["warnings"]})


def _ask(pods: str, path: str) -> Iterator[str]:
    """The answers of the pods' admin listeners, of those that give one."""
    host, _, port = pods.rpartition(":")
    found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    for address in sorted({str(address[0]) for *_, address in found}):
        place = f"[{address}]" if ":" in address else address
        with contextlib.suppress(OSError), urlopen(f"http://{place}:{port}{path}", timeout=5) as answer:
            yield answer.read().decode()


if __name__ == "__main__":
    sys.exit(main())
