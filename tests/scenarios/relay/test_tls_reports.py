"""TLS-RPT (RFC 8460) through the whole relay: what is counted, and the reports that domains get of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.authority import Authority
from tests.support.dkim import add_key, verified
from tests.support.relay_process import Relay, RelayConfig, command, running
from tests.support.sts_domain import MX1, MX2, NAME, StsDomain
from tests.support.tls_reports import ReportServer, counted, make_older, reported_in

from mailboat.dkim.keys import Algorithm
from mailboat.tlsrpt.results import DAY, day_of

BOB = f"bob@{NAME}"
REPORTS = "reports.test"
SWITCHED_ON = "[main]\norganization=Sender Ltd\ncontact=postmaster@sender.test\nfrom=tls@sender.test\n"
EACH_A_CONNECTION = ("connection_idle_timeout=0",)


@dataclass
class Rig:
    """A domain that wants reports, at another domain whose host is `mx2`, and a relay's directory."""

    domain: StsDomain
    server: ReportServer
    config: RelayConfig

    @property
    def queue_dir(self) -> Path:
        return self.config.directory / "queue"

    def wants(self, *rua: str, domain: str = NAME) -> None:
        """Publish where reports go."""
        self.domain.dns.zone.add(f"_smtp._tls.{domain}", "TXT", f'"v=TLSRPTv1; rua={",".join(rua)}"')

    def url(self) -> str:
        return f"https://{REPORTS}:{self.server.port}/v1"

    async def count(self, *recipients: str) -> None:
        """Deliver a mail to each, over a connection of its own, and end the relay, which stores what it has counted."""
        async with running(self.config) as relay:
            for number, recipient in enumerate(recipients, 1):
                await relay.submit(recipient)
                await relay.event("delivered", number)
            assert await relay.stop() == 0


@contextlib.asynccontextmanager
async def rig(tmp_path: Path, *tls: str, tlsrpt: str = SWITCHED_ON) -> AsyncIterator[Rig]:
    async with (
        StsDomain.start(REPORTS) as domain,
        ReportServer.start(domain.authority.context(REPORTS)) as server,
    ):
        domain.dns.zone.mx(REPORTS, (1, MX2))
        domain.dns.zone.a(REPORTS, "127.0.0.1")
        config = domain.config(tmp_path / "config", *tls, outbound=EACH_A_CONNECTION)
        config.put("tlsrpt.ini", tlsrpt)
        yield Rig(domain, server, config)


async def tlsrpt_send(config: RelayConfig, *options: str) -> tuple[int, list[dict[str, str]], str]:
    status, out, err = await command("tlsrpt", "send", "--config", str(config.directory), "--json", *options)
    return status, [json.loads(line) for line in out.splitlines()], err


async def report_at(relay: Relay, domain: StsDomain) -> bytes:
    """The first report that has come as mail."""
    await relay.event("delivered", domain=REPORTS)
    (mail,) = domain.mx2.bodies
    return mail


async def test_a_day_under_a_testing_policy_is_one_report_with_its_sums(tmp_path: Path) -> None:
    """Three connections succeed; in the fourth the certificate is for another name, and the mail goes all the same."""
    async with rig(tmp_path) as r:
        r.wants(f"mailto:tls@{REPORTS}")
        r.domain.publish(f"*.{NAME}", mode="testing")
        await r.count(BOB, BOB, BOB)
        r.domain.mx1.extensions.remove("STARTTLS")
        r.domain.mx1.starttls(r.domain.authority.context(f"other.{NAME}"))
        await r.count(BOB)
        assert counted(r.queue_dir) == [(NAME, "", 3), (NAME, "certificate-host-mismatch", 1)]
        make_older(r.queue_dir, 2)
        async with running(r.config) as relay:
            _, _, report = reported_in(await report_at(relay, r.domain))
        (policy,) = report["policies"]
        assert policy["policy"]["policy-type"] == "sts"
        assert policy["policy"]["policy-domain"] == NAME
        assert policy["policy"]["mx-host"] == [f"*.{NAME}"]
        assert policy["policy"]["policy-string"] == [
            "version: STSv1",
            "mode: testing",
            f"mx: *.{NAME}",
            "max_age: 86400",
        ]
        assert policy["summary"] == {"total-successful-session-count": 3, "total-failure-session-count": 1}
        (detail,) = policy["failure-details"]
        assert detail["result-type"] == "certificate-host-mismatch"
        assert (detail["receiving-mx-hostname"], detail["receiving-ip"]) == (MX1, "127.0.0.2")
        assert detail["failed-session-count"] == 1


async def test_a_missed_day_is_reported_after_the_start_signed_and_only_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.wants(f"mailto:tls@{REPORTS}")
        key = add_key(r.config, Algorithm.ED25519, "sender.test")
        await r.count(BOB)
        make_older(r.queue_dir, 2)
        async with running(r.config) as relay:
            mail = await report_at(relay, r.domain)
            metrics = await relay.metrics()
            assert await tlsrpt_send(r.config) == (0, [], "")
            complete = (await relay.metrics())["mailboat_tlsrpt_complete_until_timestamp_seconds"]
            assert complete in {day_of(time.time() - ago) * DAY for ago in (0, 60)}
        async with running(r.config) as relay:
            assert await tlsrpt_send(r.config) == (0, [], "")
        assert len(r.domain.mx2.mails) == 1
        assert r.domain.mx2.mails[0].sender == ""
        assert metrics["mailboat_tlsrpt_reports_total{result=queued}"] == 1
        message, part, report = reported_in(mail)
        assert verified(mail, key) == [True]
        tags = dict(tag.split("=", 1) for tag in "".join(str(message["DKIM-Signature"]).split()).split(";") if tag)
        assert {"tls-report-domain", "tls-report-submitter"} <= set(tags["h"].lower().split(":")), "RFC 8460 5.3"
        assert (tags["d"], "l" in tags) == ("sender.test", False), "RFC 8460 3"
        assert message["From"] == "tls@sender.test"
        assert message["TLS-Report-Submitter"] == "sender.test"
        assert message["TLS-Report-Domain"] == NAME
        assert part.get_content_type() == "application/tlsrpt+gzip"
        assert str(part.get_filename()).startswith(f"sender.test!{NAME}!")
        assert report["organization-name"] == "Sender Ltd"
        assert report["contact-info"] == "postmaster@sender.test"
        assert report["policies"][0]["policy"] == {"policy-type": "no-policy-found", "policy-domain": NAME}


async def test_a_report_goes_to_each_address(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.wants(f"mailto:tls@{REPORTS}", r.url())
        await r.count(BOB)
        make_older(r.queue_dir, 1)
        async with running(r.config) as relay:
            assert (await tlsrpt_send(r.config))[0] == 0
            _, _, mailed = reported_in(await report_at(relay, r.domain))
        assert r.server.taken == [mailed]
        assert r.server.posts[0][1] == "application/tlsrpt+gzip"


async def test_a_domain_without_a_record_costs_a_look_up_and_nothing_is_stored_or_sent(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        await r.count(BOB)
        assert counted(r.queue_dir) == []
        assert [q.name for q in r.domain.dns.queries if q.name.startswith("_smtp._tls")] == [f"_smtp._tls.{NAME}"]


async def test_without_organization_and_contact_nobody_is_asked_for_a_record(tmp_path: Path) -> None:
    async with rig(tmp_path, tlsrpt="[main]\norganization=Sender Ltd\n") as r:
        r.wants(f"mailto:tls@{REPORTS}")
        await r.count(BOB)
        assert counted(r.queue_dir) == []
        assert [q.name for q in r.domain.dns.queries if q.name.startswith("_smtp._tls")] == []


@pytest.mark.parametrize("header_obeyed", ["true", "false"])
async def test_a_report_is_delivered_though_its_receiver_s_policy_forbids_the_host_and_is_not_counted(
    tmp_path: Path, header_obeyed: str
) -> None:
    async with rig(tmp_path, f"tls_required_header={header_obeyed}") as r:
        r.wants(f"mailto:tls@{REPORTS}")
        r.wants(f"mailto:tls@{REPORTS}", domain=REPORTS)
        r.domain.publish(MX2, domain=REPORTS)
        r.domain.mx2.extensions.remove("STARTTLS")
        r.domain.mx2.starttls(Authority().context("elsewhere.test"))
        await r.count(BOB)
        make_older(r.queue_dir, 1)
        async with running(r.config) as relay:
            assert (await tlsrpt_send(r.config))[0] == 0
            await report_at(relay, r.domain)
            assert await relay.stop() == 0
        assert [domain for domain, _, _ in counted(r.queue_dir)] == [NAME]


async def test_a_report_that_is_not_taken_is_offered_again_and_accepted_once(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.wants(r.url())
        r.server.statuses = [500, 307]
        await r.count(BOB)
        make_older(r.queue_dir, 1)
        async with running(r.config):
            # The relay itself may have been the first to offer it.
            sent = [await tlsrpt_send(r.config) for _ in range(4)]
        assert sent[-1] == (0, [], "")
        told = [(status, report["state"]) for status, reports, _ in sent for report in reports]
        assert told[-2:] == [(75, "retry"), (0, "sent")]
        assert [status for status, _, _ in r.server.posts] == [500, 307, 201]
        (first, *others) = {body for _, _, body in r.server.posts}
        assert first
        assert others == []


async def test_only_the_day_that_is_named_is_reported(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.wants(r.url())
        await r.count(BOB)
        async with running(r.config):
            assert await tlsrpt_send(r.config) == (0, [], ""), "a day that is not over has no report"
        make_older(r.queue_dir, 1)
        async with running(r.config):
            assert (await tlsrpt_send(r.config, "--day", "2026-01-31"))[:2] == (0, [])
            status, _, err = await tlsrpt_send(r.config, "--day", "31.1.2026")
            assert (status, err) == (64, "mailboat tlsrpt: --day is not a day such as 2026-01-31\n")
            assert (await tlsrpt_send(r.config))[0] == 0
            (report,) = r.server.taken
            assert not report["date-range"]["start-datetime"].startswith("2026-01-31")
        status, _, err = await tlsrpt_send(r.config)
        assert status == 75
        assert "no relay is running" in err


async def test_hosts_that_the_settings_name_and_connections_that_are_used_again_are_not_counted(
    tmp_path: Path,
) -> None:
    async with rig(tmp_path, "no_tls_hosts[]=plain.test") as r:
        for domain in (NAME, "plain.test", "routed.test"):
            r.wants(f"mailto:tls@{REPORTS}", domain=domain)
        r.domain.dns.zone.mx("plain.test", (1, MX1))
        lines = [line for line in r.config.outbound if line not in EACH_A_CONNECTION]
        r.config.outbound_is(*lines, "[route:r]", "domains=routed.test", f"hosts=127.0.0.3:{r.domain.mx2.port}")
        await r.count(BOB, BOB, BOB, "bob@plain.test", "bob@routed.test")
        assert counted(r.queue_dir) == [(NAME, "", 1)]


async def test_mail_that_says_it_needs_no_tls_is_not_counted(tmp_path: Path) -> None:
    """Its connections follow no policy of the domain (RFC 8689 5)."""
    async with rig(tmp_path) as r:
        r.wants(f"mailto:tls@{REPORTS}")
        async with running(r.config) as relay:
            await relay.submit(BOB, body=b"TLS-Required: No\r\nSubject: hi\r\n\r\nGood day.\r\n")
            await relay.event("delivered")
            assert await relay.stop() == 0
        assert counted(r.queue_dir) == []
        await r.count(BOB)
        assert counted(r.queue_dir) == [(NAME, "", 1)]


async def test_each_way_in_which_tls_fails_has_its_result_type(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.wants(f"mailto:tls@{REPORTS}")
        r.domain.publish(MX1, MX2, mode="testing")
        own, other = r.domain.authority, Authority()
        for context in (own.context(MX1, expired=True), other.context(MX1), None):
            r.domain.mx1.extensions.remove("STARTTLS")
            if context is not None:
                r.domain.mx1.starttls(context)
            await r.count(BOB)
        assert counted(r.queue_dir) == [
            (NAME, "certificate-expired", 1),
            (NAME, "certificate-not-trusted", 1),
            (NAME, "starttls-not-supported", 1),
        ]


async def test_a_host_without_the_dane_that_the_settings_demand_gets_nothing_and_is_reported(tmp_path: Path) -> None:
    async with rig(tmp_path, f"force_dane_hosts[]={MX1}", "dane=false") as r:
        r.wants(r.url())
        await r.count(BOB)
        assert r.domain.mx1.connections == []
        assert len(r.domain.mx2.mails) == 1
        assert counted(r.queue_dir) == [(NAME, "", 1), (NAME, "dane-required", 1)]
        make_older(r.queue_dir, 2)
        async with running(r.config):
            assert (await tlsrpt_send(r.config))[0] == 0
        (report,) = r.server.taken
    (dane,) = [policy for policy in report["policies"] if "failure-details" in policy]
    assert dane["policy"] == {"policy-type": "tlsa", "policy-domain": NAME}
    (detail,) = dane["failure-details"]
    assert (detail["result-type"], detail["receiving-mx-hostname"]) == ("dane-required", MX1)


async def test_mail_waits_while_no_host_has_the_dane_that_the_settings_demand(tmp_path: Path) -> None:
    async with rig(tmp_path, f"force_dane_hosts[]={NAME}") as r, running(r.config) as relay:
        await relay.submit(BOB)
        await relay.event("deferred", enhanced="4.7.5", tls_policy="config", tls_level="verify")
        (entry,) = await relay.queue()
        words = f"DANE is demanded (force_dane_hosts), but {MX2} has no TLSA records that count"
        assert entry["last_reply"].endswith(words)
        status, out, _ = await command("tls", "explain", NAME, "--config", str(r.config.directory))
        assert (status, f"2 {MX2} [127.0.0.3]: not connected to: {words}" in out.splitlines()) == (0, True)


async def test_a_host_that_an_enforced_policy_does_not_list_is_a_failure(tmp_path: Path) -> None:
    async with rig(tmp_path) as r:
        r.wants(f"mailto:tls@{REPORTS}")
        r.domain.publish(MX2)
        await r.count(BOB)
        assert counted(r.queue_dir) == [(NAME, "", 1), (NAME, "validation-failure", 1)]


async def test_results_go_to_the_collector_of_libtlsrpt_and_nothing_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "collectd.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as collector:
        collector.bind(str(path))
        async with rig(tmp_path, tlsrpt=f"[main]\nsocket={path}\n") as r:
            r.wants(f"mailto:tls@{REPORTS}")
            await r.count(BOB, BOB)
            async with asyncio.timeout(30):
                loop = asyncio.get_running_loop()
                got = [json.loads(await loop.sock_recv(collector, 65_536)) for _ in range(2)]
            assert counted(r.queue_dir) == []
    assert got[0] == got[1]
    assert got[0] == {
        "dpv": "1",
        "d": NAME,
        "pr": f"v=TLSRPTv1; rua=mailto:tls@{REPORTS}",
        "policies": [
            {
                "policy-type": 9,
                "policy-string": [],
                "policy-domain": NAME,
                "mx-host": [],
                "failure-details": [],
                "t": 0,
                "f": 0,
            }
        ],
    }


async def test_a_collector_that_is_away_hinders_no_delivery(tmp_path: Path) -> None:
    async with rig(tmp_path, tlsrpt=f"[main]\nsocket={tmp_path}/nobody.sock\n") as r:
        r.wants(f"mailto:tls@{REPORTS}")
        await r.count(BOB)
