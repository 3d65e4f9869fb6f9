"""Contexts follow the settings, and hosts that broke TLS are remembered for a while."""

from __future__ import annotations

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock
from tests.support.pem import self_signed

from mailboat.config.settings import OutboundTlsSettings, Settings
from mailboat.delivery.tls import NO_TLS_HOSTS, NO_TLS_MEMORY, BrokenTls, ClientContexts, client_context


def test_a_context_does_what_the_settings_say() -> None:
    context = client_context(
        OutboundTlsSettings(min_version="TLSv1.3", ciphers="ECDHE+AESGCM"), "/nowhere", verify=False
    )

    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_a_verifying_context_knows_the_configured_authority_only(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(self_signed("ca.test")[1])
    context = client_context(OutboundTlsSettings(ca="ca.pem"), str(tmp_path), verify=True)

    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert context.cert_store_stats()["x509"] == 1


def test_missing_default_certificate_files_mean_no_certificate(tmp_path: Path) -> None:
    client_context(OutboundTlsSettings(), str(tmp_path), verify=False)


@pytest.mark.parametrize(
    "settings", [OutboundTlsSettings(ca="bad.pem"), OutboundTlsSettings(key="bad.pem", cert="bad.pem")]
)
def test_files_of_no_use_are_an_error(settings: OutboundTlsSettings, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(OSError):
        client_context(settings, str(tmp_path), verify=True)


def test_contexts_are_kept_until_tls_settings_change() -> None:
    contexts, settings = ClientContexts(), Settings("/nowhere", "me.test")
    first = contexts.get(settings, verify=False)

    assert contexts.get(replace(settings, me="other.test"), verify=False) is first
    assert contexts.get(replace(settings, tls_outbound=OutboundTlsSettings()), verify=False) is first
    assert contexts.get(settings, verify=True) is not first
    renewed = replace(settings, tls_outbound=OutboundTlsSettings(digest="new"))
    assert contexts.get(renewed, verify=False) is not first


def test_a_host_that_broke_tls_is_forgotten_in_time() -> None:
    clock = FixedClock()
    broken = BrokenTls(clock.monotonic)
    broken.add("192.0.2.1", 25)

    assert ("192.0.2.1", 25) in broken
    assert ("192.0.2.1", 587) not in broken
    clock.advance(NO_TLS_MEMORY)
    assert ("192.0.2.1", 25) not in broken
    assert len(broken) == 0


def test_memory_of_broken_hosts_is_bounded_and_the_oldest_goes_first() -> None:
    broken = BrokenTls(FixedClock().monotonic)
    for number in range(NO_TLS_HOSTS + 1):
        broken.add(str(number), 25)

    assert len(broken) == NO_TLS_HOSTS
    assert ("0", 25) not in broken
    assert (str(NO_TLS_HOSTS), 25) in broken
