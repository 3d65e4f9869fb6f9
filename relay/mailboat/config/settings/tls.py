"""`tls.ini`."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.config import values
from mailboat.config.nouns import RequireTls
from mailboat.config.settings.key import setting


@dataclass(frozen=True, slots=True)
class TlsSettings:
    """`tls.ini`: one side of TLS. `[outbound]` overrides each key of `[main]` for delivery and inherits the rest."""

    key: str = setting(
        "tls_key.pem", values.path, "Private key, PEM. If the default file is missing, there is no certificate."
    )
    cert: str = setting("tls_cert.pem", values.path, "Certificate chain, PEM, leaf first.")
    ca: str = setting("", values.path, "CA certificates, PEM, that verify peers.", shown_default="the system's")
    dhparam: str = setting("", values.path, "DH parameters, PEM.")
    ciphers: str = setting("", values.ciphers, "OpenSSL cipher list for TLS 1.2 and below.", shown_default="OpenSSL's")
    min_version: str = setting(
        "TLSv1.2",
        values.tls_version,
        "Lowest protocol version: `TLSv1`, `TLSv1.1`, `TLSv1.2`, `TLSv1.3` (RFC 8996 requires 1.2).",
        ini="minVersion",
    )
    request_cert: bool = setting(False, values.boolean, "Ask clients for a certificate.", ini="requestCert")
    reject_unauthorized: bool = setting(
        False,
        values.boolean,
        "Refuse a peer whose certificate does not verify. Always so where TLS is required.",
        ini="rejectUnauthorized",
    )
    honor_cipher_order: bool = setting(True, values.boolean, "Prefer this side's cipher order.", ini="honorCipherOrder")
    force_tls_hosts: tuple[str, ...] = setting(
        (),
        values.host_list,
        "Domains, MX names, addresses or networks to which mail is sent over verified TLS only.",
        ini="force_tls_hosts[]",
    )
    no_tls_hosts: tuple[str, ...] = setting(
        (),
        values.host_list,
        "Domains, MX names, addresses or networks with which TLS is not used.",
        ini="no_tls_hosts[]",
    )
    digest: str = ""
    """Hash of the contents of the files named here: a renewed certificate makes the settings unequal."""


@dataclass(frozen=True, slots=True)
class OutboundTlsSettings(TlsSettings):
    """`[outbound]` of `tls.ini`: the side of deliveries, with keys of its own."""

    mta_sts: bool = setting(
        True,
        values.boolean,
        "Follow the MTA-STS policies of recipients' domains (RFC 8461). False: neither DNS nor HTTPS is asked for any.",
    )
    dane: bool = setting(
        True,
        values.boolean,
        "For delivery by MX: obey TLSA records (DANE, RFC 7672). Needs a validating resolver in `dns_servers` whose "
        "answers are trusted (`dns_trust_ad` in outbound.ini).",
    )
    force_dane_hosts: tuple[str, ...] = setting(
        (),
        values.host_list,
        "Domains, MX names, addresses or networks to which mail is sent only if the host has authenticated TLSA "
        "records and its certificate matches one, whatever else says `dane=false` or switches TLS off; otherwise it "
        "waits.",
        ini="force_dane_hosts[]",
    )
    requiretls: RequireTls = setting(
        RequireTls.ENFORCE,
        values.choice(RequireTls),
        "REQUIRETLS at MAIL (RFC 8689). `enforce`: such mail goes to hosts only that were found by DNSSEC or MTA-STS, "
        "have a valid certificate, and offer REQUIRETLS; if there is none, it bounces. `starttls`: TLS is demanded, a "
        "certificate only as configured, and REQUIRETLS is passed on to hosts that offer it. `off`: it is not offered.",
    )
    tls_required_header: bool = setting(
        True,
        values.boolean,
        "Obey `TLS-Required: No` in the header of a message (RFC 8689): what its recipients' domain publishes about "
        "TLS (DANE, MTA-STS) does not count for it. What is configured here does.",
    )
    sts_ca: str = setting(
        "",
        values.path,
        "Root certificates, PEM, that verify the hosts of MTA-STS policies.",
        shown_default="the system's",
        no_field="the system's root certificates verify public hosts",
    )
    sts_allow_private: bool = setting(
        False,
        values.boolean,
        "Fetch policies also from addresses that are not public. Recipients' domains choose the addresses: for tests.",
        no_field="for tests",
    )
    sts_port: int = setting(
        443, values.integer(1, 65535), "Port of the hosts of policies: another one is for tests.", no_field="for tests"
    )
