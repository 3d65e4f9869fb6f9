"""`mailboat dkim`: makes keys, checks them against the DNS, and verifies the signatures of a mail."""

from __future__ import annotations

import asyncio
import contextlib
import json as json_format
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from mailboat.config.dkim_values import signing_domain
from mailboat.config.settings import Endpoint
from mailboat.dkim.keys import SELECTOR, Algorithm, SigningKey, make_key, to_pem
from mailboat.dkim.record import Publication, judge, zone_text
from mailboat.dkim.verify import SignatureVerdict, Verification, parse_signature, signature_fields, verify
from mailboat.loading.dkim_keys import default_selector, key_file, read_keys
from mailboat.loading.load import load
from mailboat.message.header import split_fields
from mailboat.message.headers import scan
from mailboat.message.text import crlf
from mailboat.model.clock import SystemClock
from mailboat.model.observer import Observer
from mailboat.routing.records import Answer, LookupFailure
from mailboat.routing.resolver import Resolver

app = App(name="dkim", help="Make DKIM keys, check them against the DNS, verify a mail.")

_Json = Annotated[bool, Parameter(help="Print JSON, one object a line.")]
_HERE = Path()
_UNKNOWN = "Unknown"
"""In addition to the values of `Publication`: the DNS did not answer."""


class _DnsError(Exception):
    """No answer; the message says from where."""


@dataclass(frozen=True, slots=True)
class _Line:
    """The result of `check` for one key."""

    name: str
    algorithm: str
    result: str
    advice: str


@app.command
def keygen(
    domain: str,
    /,
    *,
    selector: str = "",
    algorithm: Literal["rsa", "ed25519"] = "rsa",
    dir: Path = _HERE,  # noqa: A002
    json: _Json = False,
) -> int:
    """Make a key, and print the record to publish for it.

    The key is written to DIR/dkim/SELECTOR._domainkey.DOMAIN.pem, readable by its owner only. Nothing is overwritten.

    Parameters
    ----------
    domain
        The domain that will sign.
    selector
        Its selector; the default has the date and the algorithm, such as mb20261128r.
    algorithm
        `rsa` (2048 bits), which all verifiers support, or `ed25519`; a domain may have one of each.
    dir
        The configuration directory.
    """
    kind = Algorithm(algorithm)
    selector = selector.lower() or default_selector(datetime.now(UTC).strftime("%Y%m%d"), kind)
    try:
        domain = signing_domain(domain)
    except ValueError as error:
        return _complain("keygen", str(error), os.EX_USAGE)
    if not SELECTOR.fullmatch(selector):
        return _complain("keygen", f"{selector!r} is not a selector: letters, digits, hyphens and dots", os.EX_USAGE)
    path = key_file(dir, selector, domain)
    key = SigningKey(domain, selector, make_key(kind))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "xb", opener=_private) as file:
            file.write(to_pem(key.private))
    except OSError as error:
        return _complain("keygen", f"{path}: {error.strerror}", os.EX_CANTCREAT)
    if json:
        shown = {"file": str(path), "name": key.dns_name, "type": "TXT", "value": key.record}
        print(json_format.dumps(shown))
    else:
        print(path, zone_text(key), sep="\n")
    return os.EX_OK


@app.command
def check(directory: Path = _HERE, /, *, json: _Json = False) -> int:
    """Compare each key with its record in the DNS.

    Exit status: 0 if all are published, 1 if one is not, 75 if the DNS did not answer, 78 if a file is not a key.

    Parameters
    ----------
    directory
        The configuration directory.
    """
    try:
        files = read_keys(directory)
    except OSError as error:
        return _complain("check", str(error), os.EX_NOINPUT)
    servers = _servers(directory)
    if servers is None:
        return os.EX_CONFIG
    lines = asyncio.run(_check([file.key for file in files if file.key], servers))
    by_name = {line.name: line for line in lines}
    for file in files:
        if file.key is None:
            print(f"{file.path}: {file.fault}", file=sys.stderr)
            continue
        if file.key.warning:
            print(f"{file.path}: {file.key.warning}", file=sys.stderr)
        line = by_name[file.key.dns_name]
        shown = {"file": str(file.path), **asdict(line)}
        print(json_format.dumps(shown) if json else f"{line.result:<9} {line.name}" + _tail(line.advice))
    if not files:
        print("no keys: `mailboat dkim keygen DOMAIN` makes one", file=sys.stderr)
    if any(file.key is None for file in files):
        return os.EX_CONFIG
    results = {line.result for line in lines}
    if results - {Publication.PUBLISHED, _UNKNOWN}:
        return 1
    return os.EX_TEMPFAIL if _UNKNOWN in results else os.EX_OK


@app.command(name="verify")
def verify_file(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)], /, *, config: Path | None = None, json: _Json = False
) -> int:
    """Verify the DKIM signatures of a mail.

    Exit status: 0 if one passes, 1 if none does, 66 if there is no such file, 75 if the DNS did not answer.

    Parameters
    ----------
    file
        The mail, or `-` for standard input; line ends may be LF.
    config
        A configuration directory, for its `dns_servers`.
    """
    try:
        octets = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        return _complain("verify", str(error), os.EX_NOINPUT)
    servers = _servers(config)
    if servers is None:
        return os.EX_CONFIG
    try:
        results = asyncio.run(_verify(crlf(octets), servers))
    except _DnsError as error:
        return _complain("verify", str(error), os.EX_TEMPFAIL)
    for result in results:
        name = f"d={result.domain} s={result.selector} a={result.algorithm}" if result.domain else "-"
        print(json_format.dumps(asdict(result)) if json else f"{result.verdict:<9} {name}{_tail(result.reason)}")
    if not results:
        print("no signature", file=sys.stderr)
    return os.EX_OK if any(result.verdict is SignatureVerdict.PASS for result in results) else 1


async def _check(keys: Sequence[SigningKey], resolver: Callable[[], Resolver]) -> list[_Line]:
    async with _closing(resolver()) as asked:
        return await asyncio.gather(*(_check_one(key, asked) for key in keys))


async def _check_one(key: SigningKey, resolver: Resolver) -> _Line:
    try:
        finding = judge(key, await _texts(resolver, key.dns_name))
        result, advice = str(finding.publication), finding.advice
    except _DnsError as error:
        result, advice = _UNKNOWN, str(error)
    return _Line(key.dns_name, key.algorithm.value, result, advice)


async def _verify(octets: bytes, resolver: Callable[[], Resolver]) -> list[Verification]:
    end = scan(octets).header_end
    if end < 0:  # longer than what is scanned for the relay's own purposes
        end = octets.find(b"\r\n\r\n") + 2 or len(octets)
    fields, body = split_fields(octets[:end]), octets[end:].removeprefix(b"\r\n")
    records: dict[str, Sequence[str]] = {}
    async with _closing(resolver()) as asked:
        for field in signature_fields(fields):
            with contextlib.suppress(ValueError):  # `verify` says what is wrong with it
                name = parse_signature(field).dns_name
                records[name] = await _texts(asked, name)
    return verify(fields, (body,), lambda name: records[name], SystemClock.now())


async def _texts(resolver: Resolver, name: str) -> Sequence[str]:
    """The TXT records of a name. Raises _DnsError when nobody can say."""
    found = await resolver.texts(name)
    if isinstance(found, LookupFailure):
        raise _DnsError(found.reason)
    return found.records if isinstance(found, Answer) else ()


def _servers(directory: Path | None) -> Callable[[], Resolver] | None:
    """A factory of the configured resolver; None, after printing the faults, if the configuration has any."""
    servers: tuple[Endpoint, ...] = ()
    if directory is not None:
        loaded = load(directory, os.environ)
        if loaded.settings is None:
            for fault in loaded.faults:
                print(fault, file=sys.stderr)
            return None
        servers = loaded.settings.outbound.dns_servers

    def make() -> Resolver:
        resolver = Resolver(observer=Observer(), clock=SystemClock())
        resolver.configure(servers)
        return resolver

    return make


@contextlib.asynccontextmanager
async def _closing(resolver: Resolver) -> AsyncIterator[Resolver]:
    try:
        yield resolver
    finally:
        await resolver.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _tail(text: str) -> str:
    return f": {text}" if text else ""


def _complain(command: str, text: str, status: int) -> int:
    print(f"mailboat dkim {command}: {text}", file=sys.stderr)
    return status
