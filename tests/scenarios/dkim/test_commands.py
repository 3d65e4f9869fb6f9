"""`mailboat dkim keygen`, `check` and `verify`, through the command and a DNS server."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.programs import Done, run
from tests.support.relay_process import COMMAND

from mailboat.dkim.canonical import Canonicalization, body_hash
from mailboat.dkim.keys import SigningKey
from mailboat.dkim.record import zone_text
from mailboat.dkim.signature import SignatureForm, signatures
from mailboat.loading.dkim_keys import read_keys

FIELDS = [b"From: Joe <joe@example.com>\r\n", b"Subject: hello\r\n"]
BODY = b"Hi.\r\n"


@pytest.fixture
async def dns(tmp_path: Path) -> AsyncIterator[DnsServer]:
    """A DNS server, which the configuration directory names."""
    async with DnsServer.start() as server:
        (tmp_path / "outbound.ini").write_text(f"[main]\ndns_servers={server.endpoint}\n")
        yield server


async def mailboat_dkim(*arguments: str | Path, stdin: bytes = b"") -> Done:
    return await run(COMMAND, "dkim", *arguments, stdin=stdin)


async def make(directory: Path, *arguments: str) -> SigningKey:
    """A new key of example.com with selector s1."""
    done = await mailboat_dkim("keygen", "Example.COM", "--selector", "S1", "--dir", directory, *arguments)
    assert done.status == 0, done.output
    (file,) = read_keys(directory)
    assert file.key is not None
    return file.key


def publish(dns: DnsServer, key: SigningKey, record: str = "") -> None:
    text = record or zone_text(key).partition(" IN TXT ")[2]
    dns.zone.add(key.dns_name, "TXT", text)


def signed(key: SigningKey) -> bytes:
    digest = body_hash(Canonicalization.RELAXED)
    digest.update(BODY)
    field = signatures([key], FIELDS, digest.digest(), SignatureForm(), 1_700_000_000)
    return b"".join([field, *FIELDS, b"\r\n", BODY])


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
async def test_keygen_writes_a_private_file_and_prints_the_record(tmp_path: Path, algorithm: str) -> None:
    done = await mailboat_dkim("keygen", "example.com", "--selector", "s1", "--algorithm", algorithm, "--dir", tmp_path)
    path = tmp_path / "dkim" / "s1._domainkey.example.com.pem"
    (file,) = read_keys(tmp_path)
    assert file.key is not None
    assert file.key.algorithm.value == algorithm
    assert done.output.splitlines() == [str(path), zone_text(file.key)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_keygen_overwrites_nothing(tmp_path: Path) -> None:
    key = await make(tmp_path)
    done = await mailboat_dkim("keygen", "example.com", "--selector", "s1", "--dir", tmp_path)
    assert done.status == 73
    (file,) = read_keys(tmp_path)
    assert file.key is not None
    assert file.key.public_hash == key.public_hash


async def test_keygen_tells_programs_the_record_as_json(tmp_path: Path) -> None:
    done = await mailboat_dkim("keygen", "example.com", "--selector", "s1", "--dir", tmp_path, "--json")
    (file,) = read_keys(tmp_path)
    assert file.key is not None
    said = {"file": str(file.path), "name": file.key.dns_name, "type": "TXT", "value": file.key.record}
    assert json.loads(done.output) == said


@pytest.mark.parametrize(
    "arguments",
    [("not a domain",), ("com",), ("example.com", "--selector", "a_b"), ("example.com", "--selector", "../x")],
)
async def test_keygen_refuses_what_is_no_name(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = await mailboat_dkim("keygen", *arguments, "--dir", tmp_path)
    assert done.status == 64
    assert read_keys(tmp_path) == []


@pytest.mark.parametrize("algorithm", ["rsa", "ed25519"])
async def test_check_is_content_once_the_record_is_published(tmp_path: Path, dns: DnsServer, algorithm: str) -> None:
    key = await make(tmp_path, "--algorithm", algorithm)
    done = await mailboat_dkim("check", tmp_path)
    assert (done.status, f"Missing   {key.dns_name}: publish a TXT record" in done.output) == (1, True)
    publish(dns, key)
    done = await mailboat_dkim("check", tmp_path)
    assert (done.status, done.output) == (0, f"Published {key.dns_name}\n")


@pytest.mark.parametrize(
    ("record", "result"),
    [
        ('"v=DKIM1; p="', "Revoked"),
        ('"v=DKIM1; p=AAAA"', "Mismatch"),
        ('"v=DKIM1; k=ed25519; p=AAAA"', "Unusable"),
        ('"v=DKIM1; h=sha1; p=@"', "Unusable"),
        ('"v=DKIM1; s=tlsrpt; p=@"', "Unusable"),
        ('"v=DKIM1; t=y; p=@"', "Unusable"),
        ('"v=DKIM1; p=?"', "Unusable"),
        ('"v=DKIM2; p=@"', "Missing"),
        ('" v=DKIM1 ;k = rsa; n=a note; h = sha1 : sha256; s=email; t=s ; p = @ ;"', "Published"),
        ('"p=@"', "Published"),
    ],
)
async def test_check_says_what_a_record_is(tmp_path: Path, dns: DnsServer, record: str, result: str) -> None:
    key = await make(tmp_path)
    value = key.record.partition("p=")[2]
    publish(dns, key, record.replace("@", f'{value[:150]}" "{value[150:]}'))
    done = await mailboat_dkim("check", tmp_path, "--json")
    line = json.loads(done.output)
    assert (line["name"], line["algorithm"], line["result"]) == (key.dns_name, "rsa", result)
    assert done.status == (0 if result == "Published" else 1)


async def test_check_finds_two_records_follows_an_alias_and_waits_for_nobody(tmp_path: Path, dns: DnsServer) -> None:
    key = await make(tmp_path)
    publish(dns, key)
    publish(dns, key, '"v=DKIM1; p="')
    assert "Multiple" in (await mailboat_dkim("check", tmp_path)).output
    dns.zone.forget(key.dns_name)
    dns.zone.cname(key.dns_name, "key.example.net")
    dns.zone.add("key.example.net", "TXT", zone_text(key).partition(" IN TXT ")[2])
    assert (await mailboat_dkim("check", tmp_path)).status == 0
    dns.zone.behave(key.dns_name, Behaviour.SERVFAIL)
    done = await mailboat_dkim("check", tmp_path)
    assert (done.status, "Unknown" in done.output) == (75, True)


async def test_check_names_a_file_that_is_no_key(tmp_path: Path, dns: DnsServer) -> None:
    publish(dns, await make(tmp_path))
    (tmp_path / "dkim" / "s2._domainkey.example.com.pem").write_text("hello")
    (tmp_path / "dkim" / "example.com.pem").write_text("hello")
    done = await mailboat_dkim("check", tmp_path)
    assert done.status == 78
    assert "s2._domainkey.example.com.pem: neither a PEM block nor an Ed25519 seed" in done.output
    assert "example.com.pem: 'example.com' is not SELECTOR._domainkey.DOMAIN" in done.output


async def test_verify_passes_what_is_whole_and_says_what_is_not(tmp_path: Path, dns: DnsServer) -> None:
    key = await make(tmp_path, "--algorithm", "ed25519")
    publish(dns, key)
    mail = tmp_path / "mail.eml"
    for octets, status, verdict in [
        (signed(key), 0, "pass"),
        (signed(key).replace(b"\r\n", b"\n"), 0, "pass"),
        (signed(key).replace(b"Hi.", b"Ho."), 1, "fail"),
        (signed(key).replace(b"hello", b"hullo"), 1, "fail"),
        (signed(key).replace(b"d=example.com", b"d=example.net"), 1, "permerror"),
        (signed(key).replace(b"c=relaxed/relaxed", b"l=1; c=relaxed/relaxed"), 1, "permerror"),
    ]:
        mail.write_bytes(octets)
        done = await mailboat_dkim("verify", mail, "--config", tmp_path, "--json")
        assert (done.status, json.loads(done.output)["verdict"]) == (status, verdict), done.output
    done = await mailboat_dkim("verify", "-", "--config", tmp_path, stdin=signed(key))
    assert (done.status, done.output) == (0, "pass      d=example.com s=s1 a=ed25519-sha256\n")
    done = await mailboat_dkim("verify", "-", "--config", tmp_path, stdin=b"Subject: x\r\n\r\n")
    assert (done.status, done.output) == (1, "no signature\n")
    assert (await mailboat_dkim("verify", tmp_path / "none.eml")).status == 66


async def test_verify_ends_with_75_when_the_dns_does_not_answer(tmp_path: Path, dns: DnsServer) -> None:
    key = await make(tmp_path)
    dns.zone.behave(key.dns_name, Behaviour.SERVFAIL)
    done = await mailboat_dkim("verify", "-", "--config", tmp_path, stdin=signed(key))
    assert done.status == 75
