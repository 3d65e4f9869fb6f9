"""`mailboat shaping check`, `explain` and `test`, through the command and a DNS server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.dns_server import Behaviour, DnsServer
from tests.support.programs import Done, run
from tests.support.relay_process import COMMAND

GMAIL = ("gmail-smtp-in.l.google.com", "alt1.gmail-smtp-in.l.google.com")
RATE = "421-4.7.28 We have detected an unusual rate of\\n421 4.7.28 mail originating from your IP address"


@pytest.fixture
async def dns(tmp_path: Path) -> AsyncIterator[DnsServer]:
    """A DNS server, which the configuration directory names; gmail.com has hosts of Google's."""
    async with DnsServer.start() as server:
        (tmp_path / "outbound.ini").write_text(
            f"dns_servers={server.endpoint}\n[route:hub]\ndomains=hub.test\nhosts=192.0.2.2\n"
        )
        server.zone.mx("gmail.com", *enumerate(GMAIL))
        for name in GMAIL:
            server.zone.a(name, "192.0.2.1")
        yield server


async def shaping(*arguments: str | Path) -> Done:
    return await run(COMMAND, "shaping", *arguments)


async def test_check_says_what_is_there_and_warns(tmp_path: Path) -> None:
    (tmp_path / "shaping.ini").write_text("[main]\ntable=none\n[domain:d.test]\nconnections=2 per host\ninet=v4\n")
    done = await shaping("check", tmp_path)
    warning, summary = done.output.splitlines()
    assert (done.status, summary) == (0, "1 sections, 0 providers, 0 rules")
    assert warning.startswith("warning: shaping.ini:4: [domain:d.test] connections: is checked and shown, but")


async def test_check_names_file_and_line_of_each_fault(tmp_path: Path) -> None:
    (tmp_path / "shaping.ini").write_text("[domain:d.test]\nrate=5/1m burst 6\n[provider:p]\nmx[]=.p.test\n")
    done = await shaping("check", tmp_path)
    assert done.status == 78
    assert [line.partition(": ")[0] for line in done.output.splitlines()] == ["shaping.ini:2", "shaping.ini:3"]


async def test_explain_shows_what_holds_and_where_it_is_from(tmp_path: Path, dns: DnsServer) -> None:
    (tmp_path / "shaping.ini").write_text("[default]\nrate=30/1m\n[domain:gmail.com]\nconnections=3\ninet=v4\n")
    done = await shaping("explain", "Gmail.com", "--config", tmp_path, "--json")
    assert done.status == 0, done.output
    shown = json.loads(done.output)
    assert (shown["domain"], shown["provider"], shown["source"]) == ("gmail.com", "google", "default")
    assert shown["mx"] == sorted(GMAIL)
    assert len(shown["site"]) == 10
    assert [(limit["key"], limit["value"], limit["counted"], limit["from"]) for limit in shown["limits"]] == [
        ("connections", "10", "provider:google, source default", "built-in [provider:google]"),
        ("connections", "3", "domain:gmail.com, source default", "shaping.ini:4 [domain:gmail.com]"),
        ("rate", "30/1m", "default per site, source default", "shaping.ini:2 [default]"),
    ]
    assert {(limit["used"], limit["next"]) for limit in shown["limits"]} == {(None, None)}
    assert (shown["held_by"], shown["until"]) == (None, None)
    assert shown["properties"] == {
        "messages_per_connection": {"value": 50, "from": "built-in [provider:google]"},
        "recipients_per_message": {"value": None, "from": None},
        "connection_idle_timeout": {"value": 10.0, "from": "outbound.ini"},
        "inet": {"value": "v4", "from": "shaping.ini:5 [domain:gmail.com]"},
        "tls": {"value": "opportunistic", "from": "outbound.ini"},
    }


async def test_explain_says_in_words_what_delivery_does_not_obey_yet(tmp_path: Path, dns: DnsServer) -> None:
    (tmp_path / "shaping.ini").write_text("[domain:gmail.com]\nconnections=3 per host\n")
    done = await shaping("explain", "gmail.com", "--config", tmp_path)
    lines = done.output.splitlines()
    assert lines[1] == "provider google, source default"
    assert lines[2].endswith("from built-in [provider:google]")
    assert lines[3].endswith("from shaping.ini:2 [domain:gmail.com]; not obeyed yet")
    assert "messages_per_connection 50: from built-in [provider:google]" in lines


async def test_explain_knows_a_route(tmp_path: Path, dns: DnsServer) -> None:
    done = await shaping("explain", "hub.test", "--config", tmp_path, "--json")
    shown = json.loads(done.output)
    assert (shown["site"], shown["mx"], shown["provider"], shown["limits"]) == ("route:hub", [], None, [])


async def test_without_an_answer_of_the_dns_nothing_can_be_shown(tmp_path: Path, dns: DnsServer) -> None:
    dns.zone.behave("d.test", Behaviour.SERVFAIL, "MX")
    done = await shaping("explain", "d.test", "--config", tmp_path)
    assert done.status == 75
    assert done.output.startswith("mailboat shaping explain: ")


async def test_an_unknown_source_is_refused(tmp_path: Path, dns: DnsServer) -> None:
    done = await shaping("explain", "gmail.com", "--source", "b", "--config", tmp_path)
    assert (done.status, "there is no source b" in done.output) == (64, True)


async def test_a_reply_is_said_to_fire_its_rule(tmp_path: Path, dns: DnsServer) -> None:
    done = await shaping("test", RATE, "--domain", "gmail.com", "--stage", "mail", "--config", tmp_path, "--json")
    assert done.status == 0, done.output
    assert json.loads(done.output) == {
        "rule": "google-rate-source",
        "on": "provider:google",
        "trigger": "2/600s",
        "actions": ["rate *0.5 floor 6/1m"],
        "for": [1800.0],
    }


@pytest.mark.parametrize(
    ("reply", "domain", "stage"),
    [("250 ok", "gmail.com", "mail"), (RATE, "gmail.com", "ehlo"), (RATE, "hub.test", "mail")],
    ids=["other reply", "other stage", "other destination"],
)
async def test_a_reply_that_fires_nothing_is_said_to(
    tmp_path: Path, dns: DnsServer, reply: str, domain: str, stage: str
) -> None:
    done = await shaping("test", reply, "--domain", domain, "--stage", stage, "--config", tmp_path)
    assert (done.status, done.output[:9]) == (1, "no rule: ")


P = "[provider:p]\nmx[]=.p.test\nsample_mx[]=a.p.test\n"
R = "[rule:r]\non=provider:google\nreply[]=421 *\nsample[]=421 x\naction[]=suspend\nfor=1h\n"


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("[provider:p]\nmx[]=.p.test\nsample_mx[]=a.q.test\n", "shaping.ini:3: [provider:p] sample_mx"),
        (R.replace("421 x", "451 x"), "shaping.ini:4: [rule:r] sample"),
        (R + R.replace("rule:r", "rule:s"), "shaping.ini:10: [rule:s] sample"),
        (P + "[provider:q]\nmx[]=a.p.test\nsample_mx[]=a.p.test\n", "shaping.ini:2: [provider:p] mx"),
        ("[default]\nrate=5/1m burst 6\n", "shaping.ini:2: [default] rate"),
    ],
    ids=["sample of a provider", "sample of a rule", "shadowed rule", "two providers", "burst"],
)
async def test_config_check_names_the_line_of_what_cannot_hold(tmp_path: Path, text: str, where: str) -> None:
    (tmp_path / "shaping.ini").write_text(text)
    done = await run(COMMAND, "config", "check", tmp_path)
    assert done.status == 78
    assert [line for line in done.output.splitlines() if line.startswith(f"{where}: ")], done.output
