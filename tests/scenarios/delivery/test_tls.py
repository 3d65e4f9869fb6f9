"""TLS towards a peer: taken where it is offered, insisted on where it is required, never pretended."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.support.attempts import Rig, delivery_rig, make_entry
from tests.support.pem import self_signed
from tests.support.scripted_mx import Answer, Drop, Raw, ScriptedMx, Silence

from mailboat.config.settings import OutboundTlsSettings, TlsLevel
from mailboat.model.outcome import Result, Stage
from mailboat.model.tls import PolicySource, VerifiedBy
from mailboat.routing import security
from mailboat.routing.answers import Credentials, SessionTls, TlsRequirement
from mailboat.routing.records import TlsaRecord

REQUIRED = TlsRequirement(TlsLevel.REQUIRED, verify=True, reason="force_tls_hosts")
IMPLICIT = TlsRequirement(TlsLevel.IMPLICIT, verify=True)
ENCRYPT = TlsRequirement(TlsLevel.ENCRYPT, reason="unusable TLSA records", policy=PolicySource.DANE)


@dataclass(frozen=True)
class Certificate:
    """A certificate for mx.test in files."""

    key: Path
    cert: Path

    def server(self) -> ssl.SSLContext:
        """A server's context with it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context

    def trusted(self) -> OutboundTlsSettings:
        """Settings for deliveries that trust it."""
        return OutboundTlsSettings(key="", cert="", ca=str(self.cert))


@pytest.fixture
def certificate(tmp_path: Path) -> Certificate:
    """One for mx.test."""
    key, cert = self_signed("mx.test")
    result = Certificate(tmp_path / "key.pem", tmp_path / "cert.pem")
    result.key.write_bytes(key)
    result.cert.write_bytes(cert)
    return result


async def deliver(rig: Rig, mx: ScriptedMx, host: str = "mx.test", **target: object) -> Result:
    """The result of one attempt on one target."""
    return (await rig.outcome(mx.target(host, **target))).result


async def test_starttls_is_used_where_offered_and_the_report_says_how(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())
        report = await rig.attempt(make_entry(), mx.target())

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert (report.peer.tls_version, report.peer.tls_verified_by) == ("TLSv1.3", VerifiedBy.NONE)
        assert report.peer.tls_cipher
        assert mx.connections[0].verbs[:4] == ["EHLO", "STARTTLS", "EHLO", "MAIL"]
        assert mx.connections[0].sni == "mx.test"


async def test_an_address_is_never_sent_as_sni(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())

        assert await deliver(rig, mx, "127.0.0.1") is Result.DELIVERED
        assert (mx.connections[0].tls, mx.connections[0].sni) == (True, None)


async def test_what_was_offered_before_tls_does_not_count(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["SIZE 1", "8BITMIME"]
        mx.starttls(certificate.server())
        mx.extensions_in_tls = ["PIPELINING"]

        assert await deliver(rig, mx) is Result.DELIVERED


async def test_tls_is_left_alone_where_it_is_disabled(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())

        assert await deliver(rig, mx, tls=TlsRequirement(TlsLevel.DISABLED)) is Result.DELIVERED
        assert not mx.connections[0].tls


@pytest.mark.parametrize(
    ("verb", "answer"),
    [
        ("STARTTLS", Drop()),
        ("TLS", Raw(b"\x00garbage, no handshake\r\n")),
        ("TLS", Raw(b"\x15\x03\x01\x00\x02\x02\x28")),
        ("TLS", Drop()),
        ("TLS", Drop(reset=True)),
        ("TLS", Silence()),
    ],
    ids=str,
)
async def test_opportunistic_tls_that_fails_goes_on_in_plaintext_on_the_same_host(
    verb: str, answer: Answer, certificate: Certificate
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())
        mx.on(verb, answer)
        rig.outbound["helo_timeout"] = 0.5
        report = await rig.attempt(make_entry(), mx.target())

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert report.peer.tls_version == ""
        assert [c.tls for c in mx.connections] == [False, False]

        # And the next one does not run into it again.
        rig.outbound["connection_idle_timeout"] = 0
        await rig.attempt(make_entry(), mx.target())
        assert sum("STARTTLS" in c.verbs for c in mx.connections) == 1


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "502 5.5.1 no"])
async def test_opportunistic_tls_that_is_refused_goes_on_in_plaintext_on_the_same_connection(
    answer: str, certificate: Certificate
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())
        mx.on("STARTTLS", answer)
        assert await deliver(rig, mx) is Result.DELIVERED
        assert mx.connections[0].verbs[:3] == ["EHLO", "STARTTLS", "MAIL"]

        # RFC 3207 4: 454 is for now, so the next connection tries again.
        rig.outbound["connection_idle_timeout"] = 0
        assert await deliver(rig, mx) is Result.DELIVERED
        assert sum("STARTTLS" in c.verbs for c in mx.connections) == len(mx.connections)


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "502 no", Drop()], ids=str)
async def test_required_tls_that_fails_asks_the_next_target_and_then_defers(
    answer: Answer, certificate: Certificate
) -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        rig.tls = certificate.trusted()
        for mx in (bad, good):
            mx.starttls(certificate.server())
        bad.on("STARTTLS", answer)
        report = await rig.attempt(make_entry(), bad.target(tls=REQUIRED), good.target(tls=REQUIRED))
        alone = await rig.outcome(bad.target(tls=REQUIRED))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert report.peer.tls_verified_by is VerifiedBy.PKIX
        assert alone.result is Result.DEFERRED
        assert alone.status.startswith("4.7.")
        assert not bad.mails


async def test_required_tls_that_is_not_offered_defers_with_the_reason() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        outcome = await rig.outcome(mx.target(tls=REQUIRED))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.4", Stage.STARTTLS)
        assert "force_tls_hosts" in outcome.reason
        assert "MAIL" not in mx.connections[0].verbs


async def test_encryption_without_verification_takes_any_certificate(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())
        report = await rig.attempt(make_entry(), mx.target("other.test", tls=ENCRYPT))

        assert report.outcomes[0].result is Result.DELIVERED
        assert mx.mails[0].connection.tls
        assert report.peer is not None
        assert report.peer.tls_verified_by is VerifiedBy.NONE


@pytest.mark.parametrize(
    ("answer", "status"), [(None, "4.7.4"), ("454 4.7.0 not now", "4.7.4"), ("554 no", "4.7.4"), (Drop(), "4.7.5")]
)
async def test_encryption_that_cannot_be_had_defers_and_nothing_is_sent_in_clear(
    answer: Answer | None, status: str, certificate: Certificate
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        if answer is not None:
            mx.starttls(certificate.server())
            mx.on("STARTTLS", answer)
        outcome = await rig.outcome(mx.target(tls=ENCRYPT))

        assert (outcome.result, outcome.status) == (Result.DEFERRED, status)
        assert len(mx.connections) == 1
        assert "MAIL" not in mx.connections[0].verbs


async def test_a_host_with_tlsa_records_gets_nothing_unless_its_certificate_was_matched(
    certificate: Certificate,
) -> None:
    """Whatever `tls.ini` says of PKIX: without a match the connection ends behind the handshake."""
    record = TlsaRecord(3, 1, 1, bytes(32))
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.tls = certificate.trusted()
        mx.starttls(certificate.server())
        outcome = await rig.outcome(mx.target(tls=TlsRequirement(TlsLevel.REQUIRED, tlsa=(record,))))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.5", Stage.TLS)
        assert mx.connections[0].verbs == ["EHLO", "STARTTLS"]


@pytest.mark.parametrize(("host", "trusted"), [("other.test", True), ("mx.test", False)])
async def test_required_tls_refuses_another_name_and_an_unknown_issuer(
    host: str, trusted: bool, certificate: Certificate
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())
        if trusted:
            rig.tls = certificate.trusted()
        outcome = await rig.outcome(mx.target(host, tls=REQUIRED))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.5", Stage.TLS)
        assert "certificate" in outcome.reason or "mismatch" in outcome.reason.lower()
        assert not mx.mails


async def test_a_certificate_that_must_verify_is_no_reason_for_plaintext(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())
        outcome = await rig.outcome(mx.target(tls=TlsRequirement(TlsLevel.OPPORTUNISTIC, verify=True)))

        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.TLS)
        assert len(mx.connections) == 1


async def test_a_password_is_not_sent_in_clear_because_the_handshake_failed(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH PLAIN"]
        mx.starttls(certificate.server())
        mx.on("STARTTLS", Drop())
        outcome = await rig.outcome(mx.target(credentials=Credentials("user", "secret")))

        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.TLS)
        assert not any("AUTH" in c.verbs for c in mx.connections)


async def test_a_password_is_not_sent_in_clear_because_another_message_was(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.extensions = ["AUTH PLAIN"]
        mx.starttls(certificate.server())
        mx.on("STARTTLS", Drop(), "220 go on")
        assert await deliver(rig, mx) is Result.DELIVERED
        assert not mx.mails[0].connection.tls

        assert await deliver(rig, mx, credentials=Credentials("user", "secret")) is Result.DELIVERED
        assert mx.mails[1].connection.tls


async def test_implicit_tls_begins_with_the_first_octet(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.context, mx.implicit_tls = certificate.server(), True
        rig.tls = certificate.trusted()
        report = await rig.attempt(make_entry(), mx.target(tls=IMPLICIT))

        assert report.outcomes[0].result is Result.DELIVERED
        assert report.peer is not None
        assert (report.peer.tls_version, report.peer.tls_verified_by) == ("TLSv1.3", VerifiedBy.PKIX)
        assert mx.connections[0].verbs[:2] == ["EHLO", "MAIL"]


async def test_implicit_tls_with_a_peer_that_speaks_plaintext_defers(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        rig.tls = certificate.trusted()
        outcome = await rig.outcome(mx.target(tls=IMPLICIT))

        assert (outcome.result, outcome.status, outcome.stage) == (Result.DEFERRED, "4.7.5", Stage.TLS)


async def test_a_client_certificate_is_shown_where_there_is_one(certificate: Certificate) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        context = certificate.server()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificate.cert)
        mx.starttls(context)
        rig.tls = replace(certificate.trusted(), key=str(certificate.key), cert=str(certificate.cert))

        assert await deliver(rig, mx, tls=REQUIRED) is Result.DELIVERED


async def test_files_that_are_no_certificates_defer_with_a_clear_reason(
    certificate: Certificate, tmp_path: Path
) -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        mx.starttls(certificate.server())
        (tmp_path / "bad.pem").write_text("nothing")
        rig.tls = OutboundTlsSettings(key="", cert="", ca=str(tmp_path / "bad.pem"))
        outcome = await rig.outcome(mx.target(tls=REQUIRED))

        assert (outcome.result, outcome.stage) == (Result.DEFERRED, Stage.TLS)
        assert "tls.ini" in outcome.reason


@pytest.mark.parametrize("tls", [TlsRequirement(), ENCRYPT, REQUIRED], ids=lambda tls: tls.level)
async def test_octets_behind_the_reply_to_starttls_end_the_connection_and_the_next_host_is_tried(
    tls: TlsRequirement, certificate: Certificate
) -> None:
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        rig.tls = certificate.trusted()
        good.starttls(certificate.server())
        bad.starttls(certificate.server())
        # As a man in the middle would: a greeting of his own for the EHLO that follows.
        bad.on("STARTTLS", Raw(b"220 go on\r\n250-evil.test\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n"))
        report = await rig.attempt(make_entry(), bad.target(tls=tls), good.target(tls=tls))

        assert report.outcomes[0].result is Result.DELIVERED
        assert [connection.verbs for connection in bad.connections] == [["EHLO", "STARTTLS"]]
        assert len(good.mails) == 1


async def test_a_target_that_policy_refuses_is_not_connected_to_and_the_next_one_is_asked() -> None:
    refused = TlsRequirement(refusal="its TLSA records cannot be looked up", policy=PolicySource.DANE)
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        report = await rig.attempt(make_entry(), bad.target(tls=refused), good.target())
        alone = await rig.outcome(bad.target(tls=refused))

        assert report.outcomes[0].result is Result.DELIVERED
        assert (alone.result, alone.status, alone.stage) == (Result.DEFERRED, "4.7.5", Stage.TLS)
        assert "its TLSA records cannot be looked up" in alone.reason
        assert not bad.connections


async def test_a_target_that_policy_refuses_gets_nothing_over_a_connection_that_is_open() -> None:
    async with ScriptedMx.start() as mx, delivery_rig() as rig:
        assert await deliver(rig, mx) is Result.DELIVERED
        assert await deliver(rig, mx, tls=TlsRequirement(refusal="no")) is Result.DEFERRED

        assert len(mx.mails) == 1


@pytest.mark.parametrize("implicit", [False, True])
async def test_a_connection_that_a_check_refuses_after_the_handshake_hears_not_one_more_command(
    implicit: bool, certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[SessionTls] = []

    def refuse(_: TlsRequirement, session: SessionTls) -> str:
        seen.append(session)
        return "no certificate of its TLSA records" if len(seen) == 1 else ""

    monkeypatch.setattr(security, "SESSION_CHECKS", (*security.SESSION_CHECKS, refuse))
    async with ScriptedMx.start() as bad, ScriptedMx.start() as good, delivery_rig() as rig:
        rig.tls = certificate.trusted()
        bad.starttls(certificate.server())
        bad.implicit_tls = implicit
        target = bad.target(tls=IMPLICIT) if implicit else bad.target()
        report = await rig.attempt(make_entry(), target, good.target())

        assert report.outcomes[0].result is Result.DELIVERED
        verified = VerifiedBy.PKIX if implicit else VerifiedBy.NONE
        assert [(session.version != "", session.verified_by) for session in seen] == [
            (True, verified),
            (False, VerifiedBy.NONE),
        ]
        [connection] = bad.connections  # an opportunistic target is not asked again in plaintext either
        assert connection.verbs == ([] if implicit else ["EHLO", "STARTTLS"])
        assert good.mails
