"""The message and the keys of RFC 8463 appendix A, through the whole relay and the command."""

from __future__ import annotations

from pathlib import Path

from tests.support.dkim import signatures_of, verified
from tests.support.dns_server import DnsServer
from tests.support.plugin_relay import PluginConfig
from tests.support.programs import run
from tests.support.relay_process import COMMAND, running
from tests.support.scripted_mx import ScriptedMx

from mailboat.dkim.keys import SigningKey, parse_key

DOMAIN = "football.example.com"
SEED = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=\n"
"""A.2 as dkimpy and OpenDKIM keep it; the secret key of RFC 8032 7.1, test 1."""
RSA = b"""-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
"""
RECORDS = {
    "brisbane": "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    "test": "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi"
    "Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT"
    "+l/K4w3QIDAQAB",
}
SIGNATURES = b"""DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=brisbane; t=1528637909; h=from : to :
 subject : date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus
 Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==
DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;
 d=football.example.com; i=@football.example.com;
 q=dns/txt; s=test; t=1528637909; h=from : to : subject :
 date : message-id : from : subject : date;
 bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;
 b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3
 DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz
 dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=
""".replace(b"\n", b"\r\n")
MAIL = b"""From: Joe SixPack <joe@football.example.com>
To: Suzie Q <suzie@shopping.example.net>
Subject: Is dinner ready?
Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)
Message-ID: <20030712040037.46341.5F8J@football.example.com>

Hi.

We lost the game.  Are you hungry yet?

Joe.
""".replace(b"\n", b"\r\n")
STOPPED = "import time\ntime.time = lambda: 1528637909.0\n"


def put_keys(config: PluginConfig) -> list[SigningKey]:
    """The files, and the keys in them."""
    folder = config.directory / "dkim"
    folder.mkdir()
    files = {"test": RSA, "brisbane": SEED}
    for selector, octets in files.items():
        (folder / f"{selector}._domainkey.{DOMAIN}.pem").write_bytes(octets)
    return [SigningKey(DOMAIN, selector, parse_key(octets)[0]) for selector, octets in files.items()]


async def test_the_message_is_signed_with_the_keys_of_the_rfc(
    config: PluginConfig, mx: ScriptedMx, tmp_path: Path
) -> None:
    """The hash of the body is the one that the RFC prints; the relay lists more fields, so `b=` is another."""
    keys = put_keys(config)
    clock = tmp_path / "clock"
    clock.mkdir()
    (clock / "sitecustomize.py").write_text(STOPPED)
    async with running(config, environ={"PYTHONPATH": str(clock)}) as relay:
        await relay.submit(body=MAIL)
        await relay.event("delivered")
    (mail,) = (mail.body for mail in mx.mails)
    signatures = signatures_of(mail)
    assert [tags["a"] for tags in signatures] == ["rsa-sha256", "ed25519-sha256"]
    assert {tags["t"] for tags in signatures} == {"1528637909"}
    assert {tags["bh"] for tags in signatures} == {"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="}
    published = [key.record.replace(" h=sha256;", "") for key in keys]
    assert published == [RECORDS["test"], RECORDS["brisbane"]]
    assert verified(mail, *keys) == [True, True]
    assert mail.endswith(MAIL)


async def test_verify_passes_both_signatures_that_the_rfc_prints(tmp_path: Path) -> None:
    mail = tmp_path / "mail.eml"
    mail.write_bytes(SIGNATURES + MAIL)
    async with DnsServer.start() as dns:
        (tmp_path / "outbound.ini").write_text(f"[main]\ndns_servers={dns.endpoint}\n")
        for selector, record in RECORDS.items():
            dns.zone.add(f"{selector}._domainkey.{DOMAIN}", "TXT", f'"{record[:200]}" "{record[200:]}"')
        done = await run(COMMAND, "dkim", "verify", mail, "--config", tmp_path)
    assert (done.status, done.output) == (
        0,
        f"pass      d={DOMAIN} s=brisbane a=ed25519-sha256\npass      d={DOMAIN} s=test a=rsa-sha256\n",
    )
