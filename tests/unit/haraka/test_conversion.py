"""A Haraka directory becomes one of Mailboat that passes its check, and each line that stays behind is named."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.pem import self_signed

from mailboat.cli.config import _plugin_faults, import_haraka
from mailboat.config.settings import Endpoint, InetPrefer, Protocol, Settings, TlsLevel
from mailboat.dkim.keys import Algorithm, make_key, to_pem
from mailboat.haraka.conversion import convert
from mailboat.haraka.writing import write
from mailboat.loading.load import load

Files = Mapping[str, str]


def imported(tmp_path: Path, files: Files) -> tuple[Settings, list[str], Path]:
    """What the new directory says, what is said about the old one, and where the new one is."""
    source, target = tmp_path / "haraka", tmp_path / "mailboat"
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)
    source.mkdir(exist_ok=True)
    product = convert(source)
    write(product, target, _plugin_faults)
    loaded = load(target, {})
    assert [str(fault) for fault in loaded.faults] == []
    assert loaded.settings is not None
    assert _plugin_faults(loaded.settings) == ()
    return loaded.settings, [str(note) for note in product.journal.sorted()], target


SKELETON = {
    "smtp.ini": "; what `haraka -i` writes\n;listen=[::0]:25\n;nodes=cpus\n",
    "connection.ini": "[haproxy]\n;hosts[]=10.0.0.1\n[max]\nbytes=26214400\n[headers]\n;max_received=100\n",
    "log.ini": "[main]\nlevel=info\n",
    "plugins": "# plugins\nhelo.checks\ntls\nrcpt_to.in_host_list\nqueue/smtp_forward\nmax_unrecognized_commands\n",
    "me": "mail.example.org\n",
    "host_list": "mail.example.org\n",
    "internalcmd_key": "secret\n",
}


def test_a_fresh_installation(tmp_path: Path) -> None:
    made, said, target = imported(tmp_path, SKELETON)
    assert made.me == "mail.example.org"
    assert made.smtp.databytes == 26_214_400
    assert made.smtp.listen == load_listen("25", tmp_path)
    assert made.relay_acl == ()
    assert made.plugins.names == ()
    assert "log.ini: not carried over: the event log goes to standard output" in "\n".join(said)
    assert "host_list: not carried over: Mailboat has no local domains" in "\n".join(said)
    assert not (target / "internalcmd_key").exists()


def load_listen(text: str, tmp_path: Path) -> tuple[Endpoint, ...]:
    """The endpoints that smtp.ini makes of a text."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "smtp.ini").write_text(f"listen={text}\n")
    loaded = load(other, {})
    assert loaded.settings is not None
    return loaded.settings.smtp.listen


def test_networks_that_together_admit_the_internet_are_not_carried_over(tmp_path: Path) -> None:
    files = {"me": "out.example.org\n", "plugins": "relay\n", "relay_acl_allow": "10.0.0.0/8\n2000::/3\n"}
    made, said, _ = imported(tmp_path, files)
    assert list(map(str, made.relay_acl)) == ["10.0.0.0/8"]
    assert "relay_acl_allow:2: not carried over: 2000::/3 would let the Internet relay" in said


SUBMISSION = {
    "me": "out.example.org\n",
    "smtp.ini": "listen=[::0]:587, 192.0.2.1:2525 ,[::0]:465\nnodes=2\ninactivity_timeout=120\ndaemonize=true\n",
    "plugins": "tls\nrelay\nauth/flat_file\nharaka-plugin-limit\nprocess_title\nlocal/custom\nrelay\n",
    "relay_acl_allow": "127.0.0.0/8\n10.1.2.3/8\n2001:db8::1\n0.0.0.0/0\nnobody\n",
    "relay.ini": "[relay]\nall=false\nforce_routing=true\n",
    "relay_dest_domains.ini": (
        '[domains]\nany={"nexthop":"smart.example.net:2525"}\npartner.example={"nexthop":"192.0.2.9"}\nbad={nonsense\n'
    ),
    "auth_flat_file.ini": "[core]\nmethods=PLAIN, LOGIN,CRAM-MD5,XOAUTH2\n"
    "[users]\nanna@example.org=0123\nbert=s;e#c=ret\n",
    "tls.ini": "minVersion=TLSv1.2\n[outbound]\nciphers=HIGH\nforce_tls_hosts[]=secure.example\n"
    "no_tls_hosts[]=127.0.0.2\nno_tls_hosts[]=192.168.31.1/24\nrejectUnauthorized=maybe\n[redis]\ndisable_expiry=5\n",
    "outbound.ini": "concurrency_max=50\nenable_tls=yes\nalways_split=true\nreceived_header=Example relay\n"
    "connect_timeout=10\ntemp_fail_intervals=1m, \\\n  5m*2, 1h*3\nmaxTempFailures=5\nlocal_mx_ok=0\ninet_prefer=v4\n",
    "limit.ini": "[outbound]\nenabled=true\ndelay=20\nexample.com=5\ndefault=9\nfree.example=0\n"
    "[rate_outbound]\nenabled=true\ndefault=100 / 1m\n"
    "[concurrency]\nmax=3\n",
    "plugin_timeout": "12\n",
    "auth/flat_file.timeout": "7\n",
    "queue_dir": "/var/spool/haraka\n",
    "outbound.bounce_message": "From: MAILER-DAEMON@{me}\nTo: {to}\nSubject: failure\n\nSorry: {reason}\n",
    "outbound.bounce_message_html": "<p>{reason}</p>\n",
}


def test_a_submission_server(tmp_path: Path) -> None:
    made, said, target = imported(tmp_path, SUBMISSION)
    assert Endpoint("192.0.2.1", 2525) in made.smtp.listen
    assert {endpoint.port for endpoint in made.smtp.listen} == {587, 2525}
    assert (made.smtp.nodes, made.smtp.inactivity_timeout) == (2, 120)
    assert list(map(str, made.relay_acl)) == ["127.0.0.0/8", "10.0.0.0/8", "2001:db8::1/128"]
    out = made.outbound
    assert (out.concurrency_max, out.enable_tls, out.always_split, out.local_mx_ok) == (50, True, True, False)
    assert out.received_header == "Example relay"
    assert out.connect_timeout == 10
    assert out.temp_fail_intervals == (60, 300, 300, 3600, 3600, 3600)
    assert out.inet_prefer is InetPrefer.V4
    assert [(route.domains, [str(host) for host in route.hosts]) for route in out.routes] == [
        (("*",), ["smart.example.net:2525"]),
        (("partner.example",), ["192.0.2.9"]),
    ]
    assert made.tls_outbound.force_tls_hosts == ("secure.example",)
    assert made.tls_outbound.no_tls_hosts == ("127.0.0.2", "192.168.31.0/24")
    assert (made.tls_outbound.ciphers, made.tls_outbound.reject_unauthorized) == ("HIGH", False)
    assert made.plugins.names == ("auth_flat_file", "limit", "process_title")
    assert made.bounce.text == SUBMISSION["outbound.bounce_message"]
    assert made.bounce.html == SUBMISSION["outbound.bounce_message_html"]
    users = target / "auth_flat_file.ini"
    assert "anna@example.org=0123\nbert=s;e#c=ret\n" in users.read_text()
    assert stat.S_IMODE(users.stat().st_mode) == 0o600
    assert (target / "limit.ini").read_text() == "[rate_outbound]\ndefault=100/1m\n"
    assert (target / "shaping.ini").read_text() == (
        "[domain:example.com]\nconnections=5\n\n[default]\nconnections=9 per domain\n\n"
        "[domain:free.example]\nconnections=none\n"
    )
    assert (target / "plugin_timeout").read_text() == "12\n"
    assert (target / "auth_flat_file.timeout").read_text() == "7\n"
    for line in (
        "auth_flat_file.ini:2: methods: not carried over: 'XOAUTH2' is not one of PLAIN, LOGIN, CRAM-MD5",
        "auth_flat_file.ini:4: anna@example.org: is text now; Haraka reads such a password as a number",
        "limit.ini:3: delay: not carried over: mail waits until a connection ends",
        "limit.ini:4: example.com: became connections=5 in shaping.ini [domain:example.com], counted over all workers",
        "limit.ini:11: max: not carried over: [concurrency] is about clients",
        "outbound.ini:8: maxTempFailures: not carried over: temp_fail_intervals rules",
        "plugins:6: local/custom: not carried over: Mailboat has no such plugin",
        "plugins:7: relay: not carried over: already listed in line 2",
        "queue_dir:1: not carried over: Haraka's queue files are not read",
        "relay_acl_allow:3: became 2001:db8::1/128",
        "relay_acl_allow:4: not carried over: 0.0.0.0/0 would let everybody relay",
        "relay_acl_allow:5: not carried over: is not an address or network",
        "relay_dest_domains.ini:4: bad: not carried over: not JSON",
        "smtp.ini: not carried over: 465: TLS from the first octet needs a certificate",
        "smtp.ini:4: daemonize: not carried over: the service manager or the container decides that",
        "tls.ini:7: rejectUnauthorized: became false, as Haraka reads 'maybe'",
        "tls.ini:9: disable_expiry: not carried over: if TLS fails and is not required, the same attempt continues",
    ):
        assert any(one.startswith(line) for one in said), f"{line}\n\n" + "\n".join(said)


GATEWAY = {
    "smtp.ini": "port=2525\nlisten_host=192.0.2.7\npublic_ip=198.51.100.1\n",
    "plugins": "relay\nqueue/smtp_forward\nqueue/quarantine\nqueue/discard\n",
    "relay.ini": "[relay]\nacl=false\nall=true\ndest_domains=true\n",
    "relay_acl_allow": "10.0.0.0/8\n",
    "relay_dest_domains.ini": (
        '[domains]\none.example={"action":"accept"}\ntwo.example={"action":"perhaps","nexthop":"192.0.2.2:26"}\n'
    ),
    "smtp_forward.ini": "host=192.0.2.25\nport=2500\nenable_tls=true\nauth_type=plain\nauth_user=relay\n"
    "auth_pass=pa55;word\ntimeout=300\n[two.example]\nhost=192.0.2.3\n[six.example]\nhost=2001:db8::25\n[none.example]\nauth_user=x\n",
    "quarantine.ini": "quarantine_path=/srv/quarantine\n",
    "outbound.disabled": "true\n",
    "outbound.concurrency_max": "40\n",
    "outbound.temp_fail_intervals": "5m*3\n",
    "outbound.ipv6_enabled": "true\n",
    "databytes": "1000000\n",
    "http.ini": "listen=[::]:80\n",
    "plugins.d.old": "x\n",
}


def test_a_gateway_with_flat_files_of_old(tmp_path: Path) -> None:
    made, said, target = imported(tmp_path, GATEWAY)
    assert made.smtp.listen == (Endpoint("192.0.2.7", 2525),)
    assert made.smtp.databytes == 1_000_000
    assert made.relay_acl == ()
    out = made.outbound
    assert (out.disabled, out.concurrency_max, out.temp_fail_intervals) == (True, 40, (300, 300, 300))
    routes = {route.domains[0]: route for route in out.routes}
    assert {domain: str(route.hosts[0]) for domain, route in routes.items()} == {
        "*": "192.0.2.25:2500",
        "two.example": "192.0.2.3:25",
        "six.example": "[2001:db8::25]:25",
    }
    smart = routes["*"]
    assert (smart.auth_user, smart.auth_pass, smart.auth_type) == ("relay", "pa55;word", "PLAIN")
    assert smart.tls is TlsLevel.OPPORTUNISTIC
    assert routes["six.example"].tls is TlsLevel.DISABLED
    assert stat.S_IMODE(Path(smart.auth_pass_file).stat().st_mode) == 0o600
    assert "pa55" not in "".join(path.read_text() for path in target.glob("*.ini"))
    assert made.plugins.names == ("relay", "quarantine", "discard")
    assert '{"action":"deny"}' in (target / "relay_dest_domains.ini").read_text()
    assert (target / "quarantine.ini").read_text() == "[main]\ndirectory=/srv/quarantine\n"
    assert made.http.listen == (Endpoint("127.0.0.1", 9025),)
    for line in (
        "http.ini: not carried over: Haraka's HTTP server is for its plugins",
        "outbound.concurrency_max:1: became concurrency_max in outbound.ini",
        "outbound.disabled:1: became disabled in outbound.ini",
        "outbound.ipv6_enabled:1: not carried over: Haraka 3.0.4 dropped it",
        "plugins.d.old: not carried over: Mailboat does not read it",
        "relay.ini:3: all: not carried over: would let everybody relay",
        "smtp_forward.ini:7: timeout: not carried over: a route has no such key",
        "relay_dest_domains.ini:3: two.example: not carried over: Haraka never uses its nexthop",
        "smtp_forward.ini:13: auth_user: not carried over: [none.example] has no host",
    ):
        assert any(one.startswith(line) for one in said), f"{line}\n\n" + "\n".join(said)


def test_next_hops_by_sender_go_to_the_plugin_forward(tmp_path: Path) -> None:
    files = {
        "plugins": "queue/smtp_forward\n",
        "smtp_forward.ini": "domain_selector=mail_from\nhost=192.0.2.1\n"
        "[brand.example]\nhost=192.0.2.2\nauth_user=u\nauth_pass=p\n",
    }
    made, _, target = imported(tmp_path, files)
    assert made.plugins.names == ("forward",)
    assert [route.domains for route in made.outbound.routes] == [("*",)]
    text = "[from:brand.example]\nhost=192.0.2.2:25\nauth_user=u\nauth_pass=p\ntls=disabled\n"
    assert (target / "forward.ini").read_text() == text
    assert stat.S_IMODE((target / "forward.ini").stat().st_mode) == 0o600


def test_keys_and_certificates_come_along_for_their_owners_eyes(tmp_path: Path) -> None:
    key, certificate = (pem.decode() for pem in self_signed("mail.example.org"))
    files = {
        "smtp.ini": "listen=0.0.0.0:25,0.0.0.0:465\n",
        "tls.ini": "key[]=keys/one.pem\nkey[]=keys/two.pem\ncert=one.crt\n[no_tls_hosts]\n192.0.2.4\n",
        "keys/one.pem": key,
        "one.crt": certificate,
    }
    made, said, target = imported(tmp_path, files)
    assert made.smtp.smtps_listen == (Endpoint("0.0.0.0", 465),)
    assert made.smtp.listen == (Endpoint("0.0.0.0", 25),)
    assert made.tls.key == str(target / "keys" / "one.pem")
    assert stat.S_IMODE(Path(made.tls.key).stat().st_mode) == 0o600
    assert any(line.startswith("tls.ini:2: key: not carried over: only the first one is used") for line in said)
    assert any(line.startswith("tls.ini:5: 192.0.2.4: not carried over") for line in said)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, True) for word in ("true", "YES", "1", "on", "enabled", "ok")),
        *((word, False) for word in ("false", "t", "true ; sure", "", "2")),
    ],
)
def test_booleans_are_read_as_haraka_reads_them(tmp_path: Path, text: str, value: bool) -> None:
    """Also those that their author meant otherwise: the relay does as Haraka did, and says so."""
    made, _, _ = imported(tmp_path, {"outbound.ini": f"[main]\nalways_split={text}\n"})
    assert made.outbound.always_split is value


@pytest.mark.parametrize("text", ["60 min", "90", "4s", "1w", "1m*2*3", "0x10s"])
def test_a_schedule_that_haraka_refuses_or_misreads_is_left_out(tmp_path: Path, text: str) -> None:
    made, said, _ = imported(tmp_path, {"outbound.ini": f"temp_fail_intervals={text}\nmaxTempFailures=7\n"})
    assert made.outbound.temp_fail_intervals is None
    assert made.outbound.max_temp_failures == 7
    assert any(line.startswith("outbound.ini:1: temp_fail_intervals: not carried over: ") for line in said)


def test_the_last_of_two_values_counts_and_odd_lines_are_named(tmp_path: Path) -> None:
    text = "concurrency_max=1\n  ; comment\nno key here!\n concurrency_max = 7 \nlocal_mx_ok\nquiet=1\nend \\"
    made, said, _ = imported(tmp_path, {"outbound.ini": text})
    assert made.outbound.concurrency_max == 7
    assert [line.partition(": ")[0] for line in said if line.startswith("outbound.ini:")] == [
        "outbound.ini:1",
        "outbound.ini:3",
        "outbound.ini:6",
        "outbound.ini:7",
    ]


def test_nothing_at_all_is_a_directory_too(tmp_path: Path) -> None:
    made, _, _ = imported(tmp_path, {})
    assert made.relay_acl == ()


_NAMES = [
    *("outbound.ini", "smtp.ini", "connection.ini", "tls.ini", "relay.ini", "relay_dest_domains.ini", "plugins", "me"),
    *("auth_flat_file.ini", "smtp_forward.ini", "limit.ini", "quarantine.ini", "relay_acl_allow", "databytes"),
]
_WORDS = [
    *("[main]", "[outbound]", "[relay]", "[domains]", "[users]", "[core]", "[max]", "=", "listen", "host", "key[]"),
    *("cert", "enabled", "true", "1", "-1", "\n", "\n", "\n", "\\", " ", ";", "\x00", "\ud7ff", "a.b", "relay"),
    *("queue/smtp_forward", "auth/flat_file", "limit", "methods", "PLAIN", "bytes", "concurrency_max", "any"),
    *('{"nexthop":"x"}', "../x", "/", "%"),
]


@given(st.dictionaries(st.sampled_from(_NAMES), st.lists(st.sampled_from(_WORDS), max_size=30).map("".join)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_whatever_the_files_hold_what_is_written_passes_the_check(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, str]
) -> None:
    imported(tmp_path_factory.mktemp("any"), files)


def test_the_command_prints_the_notes_and_refuses_to_overwrite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = tmp_path / "haraka", tmp_path / "new" / "mailboat"
    source.mkdir()
    (source / "me").write_text("mail.example.org\n")
    (source / "internalcmd_key").write_text("x\n")
    assert import_haraka(source, target) == 0
    out, err = capsys.readouterr()
    assert "internalcmd_key: not carried over: there are no commands over SMTP" in out
    assert f"{target} is written; " in err
    (target / "me").write_text("changed.example.org\n")
    assert import_haraka(source, target) == 73
    assert "already exists" in capsys.readouterr().err
    assert (target / "me").read_text() == "changed.example.org\n"
    assert import_haraka(tmp_path / "nowhere", tmp_path / "x") == 66
    assert import_haraka(source, source / "me" / "x") == 73
    assert sorted(path.name for path in tmp_path.iterdir()) == ["haraka", "new"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mailboat"]


def test_what_would_not_pass_the_check_is_taken_out_and_named(tmp_path: Path) -> None:
    files = {"me": "not a name\n", "tls.ini": "cert=one.pem\nciphers=NONSENSE\n", "one.pem": "no certificate\n"}
    _, said, target = imported(tmp_path, files)
    assert not (target / "me").exists()
    assert any(line.startswith("me: not carried over: ") for line in said)
    assert any(line.startswith("tls.ini") and "not carried over" in line for line in said), said


def test_what_a_plugin_would_not_take_is_taken_out_and_named(tmp_path: Path) -> None:
    files = {
        "plugins": "relay\nlimit\nauth/flat_file\nprocess_title\n",
        "limit.ini": "[outbound]\nenabled=true\nexample.com=lots\n..=3\n"
        "[rate_outbound]\nenabled=true\na.example=lots\n",
        "auth_flat_file.ini": "[core]\nmethods=PLAIN\n[users]\nanna=$x$unknown hash\n",
        "relay.ini": "[relay]\ndest_domains=true\n",
        "relay_dest_domains.ini": '[domains]\nany={"action":"accept"}\none.example={"action":"accept"}\n',
    }
    made, said, _ = imported(tmp_path, files)
    assert made.plugins.names == ("relay", "limit", "auth_flat_file", "process_title")
    for key in ("example.com", "..", "a.example"):
        assert any(line.startswith("limit.ini") and f"{key}: not carried over" in line for line in said), said
    assert any(line.startswith("auth_flat_file.ini") and "not carried over" in line for line in said)
    assert "relay_dest_domains.ini:2: any: not carried over: action accept for every domain" in "\n".join(said)


def test_links_and_pipes_and_huge_files_are_named_and_not_followed_for_ever(tmp_path: Path) -> None:
    source = tmp_path / "haraka"
    source.mkdir()
    os.mkfifo(source / "outbound.ini")
    (source / "smtp.ini").write_bytes(b"x" * (2**20 + 1))
    (source / "plugins").write_bytes(b"\xff\xfe")
    (source / "tls.ini").mkdir()
    said = "\n".join(map(str, convert(source).journal.sorted()))
    for line in (
        "outbound.ini: not carried over: is not a regular file",
        "smtp.ini: not carried over: is larger than 1 MiB",
        "plugins: not carried over: is not UTF-8 text",
        "tls.ini: not carried over: ",
    ):
        assert line in said


def test_next_hops_may_be_urls_and_their_passwords_are_not_shown(tmp_path: Path) -> None:
    made, said, target = imported(
        tmp_path,
        {
            "me": "out.example.org\n",
            "plugins": "relay\n",
            "relay_dest_domains.ini": "[domains]\n"
            'one.example={"nexthop":"smtp://ann:p%40ss@192.0.2.1:2525"}\n'
            'two.example={"nexthop":"lmtp://store.example.net"}\n'
            'three.example={"nexthop":"smtps://[2001:db8::1]"}\n'
            'four.example={"nexthop":"gopher://ann:p%40ss@h"}\n'
            'five.example={"nexthop":"smtp://ann:p%40ss@h:port"}\n',
        },
    )
    routes = {route.domains[0]: route for route in made.outbound.routes}
    assert sorted(routes) == ["one.example", "three.example", "two.example"]
    one, two, three = (routes[f"{name}.example"] for name in ("one", "two", "three"))
    assert ([str(host) for host in one.hosts], one.auth_user, one.auth_pass) == (["192.0.2.1:2525"], "ann", "p@ss")
    assert ([str(host) for host in two.hosts], two.protocol) == (["store.example.net:24"], Protocol.LMTP)
    assert ([str(host) for host in three.hosts], three.tls) == (["[2001:db8::1]:465"], TlsLevel.IMPLICIT)
    assert not [line for line in said if "p%40ss" in line or "p@ss" in line]
    assert "relay_dest_domains.ini:2: one.example: became [route:…] in outbound.ini, to 192.0.2.1:2525" in said
    assert any(
        line.startswith("relay_dest_domains.ini:5: four.example: not carried over: the next hop is") for line in said
    )
    assert any(
        line.startswith("relay_dest_domains.ini:6: five.example: not carried over: the next hop is") for line in said
    )
    assert "p@ss" not in (target / "outbound.ini").read_text()


def test_smtp_forward_goes_before_next_hops_of_relay_as_in_haraka(tmp_path: Path) -> None:
    files = {
        "me": "out.example.org\n",
        "plugins": "relay\nqueue/smtp_forward\n",
        "relay_dest_domains.ini": '[domains]\none.example={"nexthop":"192.0.2.1"}\n',
    }
    forward = {"smtp_forward.ini": "enable_outbound=true\nhost=192.0.2.2\n"}
    made, said, _ = imported(tmp_path / "on", {**files, **forward})
    assert [(route.domains, str(route.hosts[0])) for route in made.outbound.routes] == [(("*",), "192.0.2.2:25")]
    assert any(
        line.startswith("relay_dest_domains.ini:2: one.example: not carried over: Haraka never uses its nexthop")
        for line in said
    )
    made, _, _ = imported(tmp_path / "off", {**files, "smtp_forward.ini": "enable_outbound=false\nhost=192.0.2.2\n"})
    assert [(route.domains, str(route.hosts[0])) for route in made.outbound.routes] == [(("one.example",), "192.0.2.1")]


def test_dkim_keys_sign_here_too_under_the_names_that_the_dns_has(tmp_path: Path) -> None:
    key = to_pem(make_key(Algorithm.ED25519)).decode()
    settings, notes, target = imported(
        tmp_path,
        {
            "plugins": "dkim\n",
            "dkim.ini": "[sign]\nenabled=true\nselector=main\ndomain=example.net\nheaders=From, Precedence\n"
            "[verify]\ntimeout=9\n",
            "dkim/Example.com/private": key,
            "dkim/Example.com/selector": "S1\n",
            "dkim/broken.example/selector": "S1\n",
            "dkim.private.key": key,
        },
    )
    assert settings.signer is not None
    assert set(settings.signer.domains) == {"example.com", "example.net"}
    assert (settings.signer.fallback, settings.dkim.headers) == ("example.net", ("from", "precedence"))
    file = target / "dkim" / "s1._domainkey.example.com.pem"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert any("dkim/broken.example/private" in note for note in notes)
    assert any("signed, not verified" in note for note in notes)


@pytest.mark.parametrize("text", ["", "[sign]\nenabled=false\n"])
def test_dkim_that_did_not_sign_there_does_not_sign_here(tmp_path: Path, text: str) -> None:
    key = to_pem(make_key(Algorithm.ED25519)).decode()
    files = {"plugins": "dkim\n", "dkim.ini": text, "dkim/a.example/private": key, "dkim/a.example/selector": "s"}
    settings, _, _ = imported(tmp_path, files)
    assert settings.signer is None
