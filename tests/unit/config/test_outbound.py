"""`outbound.ini`: its keys, `[bind]`, `[route:NAME]`, and what must fit together in it."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from tests.support.pem import self_signed

from mailboat.config.settings import Bind, Endpoint, InetPrefer, Protocol, RouteHost, TlsLevel
from mailboat.config.show import as_text

if TYPE_CHECKING:
    from tests.support.config_directory import Directory


def test_every_key_of_the_seed_is_read(directory: Directory) -> None:
    directory.write(
        "outbound.ini",
        "disabled=true\nconcurrency_max=7\nenable_tls=no\nalways_split=on\nreceived_header=Ours\nconnect_timeout=9\n"
        "local_mx_ok=1\ntemp_fail_intervals=1m, 5m*2, 1h*3\ninet_prefer=v4\n",
    )
    outbound = directory.settings().outbound
    assert (outbound.disabled, outbound.concurrency_max, outbound.enable_tls) == (True, 7, False)
    assert (outbound.always_split, outbound.received_header, outbound.connect_timeout) == (True, "Ours", 9.0)
    assert (outbound.local_mx_ok, outbound.inet_prefer) == (True, InetPrefer.V4)
    assert outbound.temp_fail_intervals == (60, 300, 300, 3600, 3600, 3600)


def test_an_empty_interval_list_is_the_default_schedule_and_none_is_no_retry(directory: Directory) -> None:
    directory.write("outbound.ini", "temp_fail_intervals=\n")
    assert directory.settings().outbound.temp_fail_intervals is None
    directory.write("outbound.ini", "temp_fail_intervals=none\n")
    assert directory.settings().outbound.temp_fail_intervals == ()


def test_a_bare_number_of_intervals_is_a_fault_where_haraka_crashes(directory: Directory) -> None:
    directory.write("outbound.ini", "\ntemp_fail_intervals=90\n")
    assert directory.faults() == [
        "outbound.ini:2: [main] temp_fail_intervals: has no unit: s, m, h or d must follow the number"
    ]


def test_intervals_win_over_max_temp_failures_with_a_warning(directory: Directory) -> None:
    directory.write("outbound.ini", "maxTempFailures=3\ntemp_fail_intervals=5s\n")
    assert directory.warnings() == [
        "outbound.ini:1: [main] maxTempFailures: has no effect if temp_fail_intervals is set"
    ]


def test_the_queue_lies_below_the_directory_unless_the_environment_says_otherwise(directory: Directory) -> None:
    assert directory.settings().outbound.queue_dir == str(directory.path / "queue")
    directory.write("outbound.ini", "queue_dir=/var/spool/mailboat\n")
    assert directory.settings().outbound.queue_dir == "/var/spool/mailboat"
    assert directory.settings(MAILBOAT_QUEUE_DIR="/data/q").outbound.queue_dir == "/data/q"
    assert directory.settings(MAILBOAT_QUEUE_DIR="").outbound.queue_dir == "/var/spool/mailboat"


def test_the_environment_names_dns_servers_where_the_configuration_names_none(directory: Directory) -> None:
    assert directory.settings().outbound.dns_servers == ()
    given = {"MAILBOAT_DNS_SERVERS": "127.0.0.1:5335"}
    assert directory.settings(**given).outbound.dns_servers == (Endpoint("127.0.0.1", 5335),)
    directory.write("outbound.ini", "dns_servers=192.0.2.53\n")
    assert directory.settings(**given).outbound.dns_servers == (Endpoint("192.0.2.53", 53),)
    assert directory.settings(MAILBOAT_DNS_SERVERS="").hash == directory.settings(**given).hash


def test_a_dns_server_of_the_environment_that_is_no_address_is_a_fault(directory: Directory) -> None:
    (fault,) = directory.load(MAILBOAT_DNS_SERVERS="dns.example.com").faults
    assert str(fault) == "MAILBOAT_DNS_SERVERS: is not an IP address: a DNS server needs one"


@pytest.mark.parametrize(("value", "reason"), [(".", "is the configuration directory itself"), ("", "is empty")])
def test_the_queue_cannot_be_the_configuration_directory(directory: Directory, value: str, reason: str) -> None:
    directory.write("outbound.ini", f"queue_dir={value}\n")
    assert directory.faults()[0].startswith(f"outbound.ini:1: [main] queue_dir: {reason}")


def test_bind_entries_keep_their_order(directory: Directory) -> None:
    directory.write("outbound.ini", "[bind]\nrelay-0=192.0.2.10 relay-0.example.com\ndefault=2001:db8::1\n")
    assert directory.settings().outbound.binds == (
        ("relay-0", Bind(ip_address("192.0.2.10"), None, "relay-0.example.com")),
        ("default", Bind(None, ip_address("2001:db8::1"))),
    )


def test_faults_of_bind_entries_name_the_pod(directory: Directory) -> None:
    directory.write("outbound.ini", "[bind]\na=10.0.0.5/24\nb[]=192.0.2.1\n")
    assert directory.faults() == [
        "outbound.ini:2: [bind] a: has host bits set: write the address alone, or the network's own",
        "outbound.ini:3: [bind] b: takes one value: write b= without []",
    ]


def test_a_route_is_read_with_its_password(directory: Directory) -> None:
    directory.write("secrets/provider", "päss word \n")
    directory.write(
        "outbound.ini",
        "[route:provider]\ndomains=*, example.com\nhosts=a.example:587, b.example/10\nprotocol=lmtp\ntls=required\n"
        "auth_user=0123\nauth_pass_file=secrets/provider\nauth_type=login\nrequire_auth=true\n",
    )
    (route,) = directory.settings().outbound.routes
    assert (route.name, route.domains) == ("provider", ("*", "example.com"))
    assert route.hosts == (RouteHost("a.example", 587), RouteHost("b.example", 0, 10))
    assert (route.protocol, route.tls, route.auth_type) == (Protocol.LMTP, TlsLevel.REQUIRED, "LOGIN")
    assert (route.auth_user, route.auth_pass, route.require_auth) == ("0123", "päss word ", True)
    assert route.auth_pass_file == str(directory.path / "secrets/provider")
    assert "päss" not in repr(directory.settings())


@pytest.mark.parametrize(
    ("lines", "warnings"),
    [
        ("tls=disabled", ["outbound.ini:6: [route:r] tls: is disabled: the password is sent in the clear"]),
        (
            "auth_without_tls=true",
            ["outbound.ini:6: [route:r] auth_without_tls: is on: the password may be sent in the clear"],
        ),
        ("tls=required\nauth_without_tls=true", []),
        ("", []),
    ],
)
def test_a_password_that_may_be_read_on_its_way_is_warned_of(
    directory: Directory, lines: str, warnings: list[str]
) -> None:
    directory.write("password", "secret")
    route = "[route:r]\ndomains=*\nhosts={}\nauth_user=u\nauth_pass_file=password\n" + lines
    directory.write("outbound.ini", route.format("smart.test"))
    assert directory.warnings() == warnings
    directory.write("outbound.ini", route.format("127.0.0.1, [::1]:26"))
    assert directory.warnings() == [], "what stays on this machine is read by nobody"


def test_the_roots_of_a_route_are_read(directory: Directory) -> None:
    pem = self_signed("ca.test")[1].decode()
    directory.write("private.pem", pem)
    directory.write("outbound.ini", "[route:r]\ndomains=*\nhosts=a\nca=private.pem\n")
    (route,) = directory.settings().outbound.routes
    assert (route.ca, route.ca_pem) == (str(directory.path / "private.pem"), pem)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "does not exist"),
        ("", "OpenSSL refuses it: the file holds no PEM certificate"),
        ("-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n", "OpenSSL refuses it"),
    ],
)
def test_roots_that_cannot_be_used_are_a_fault(directory: Directory, content: str | None, reason: str) -> None:
    if content is not None:
        directory.write("private.pem", content)
    directory.write("outbound.ini", "[route:r]\ndomains=*\nhosts=a\nca=private.pem\n")
    (fault,) = directory.faults()
    assert fault.startswith("outbound.ini:4: [route:r] ca: ")
    assert reason in fault


def test_a_user_may_stand_in_a_file_as_the_password_does(directory: Directory) -> None:
    directory.write("user", " rélay\\ \n")
    directory.write("password", "secret")
    directory.write("outbound.ini", "[route:r]\ndomains=*\nhosts=a\nauth_user_file=user\nauth_pass_file=password\n")
    settings = directory.settings()
    (route,) = settings.outbound.routes
    assert (route.user, route.auth_user, route.auth_pass) == (" rélay\\ ", "", "secret")
    assert route.auth_user_file == str(directory.path / "user")
    assert "rélay" not in repr(settings) + as_text(settings)


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ("hosts=a", "outbound.ini:1: [route:r] domains: is missing: a route needs domains or senders"),
        ("domains=*\nhosts=", "outbound.ini:3: [route:r] hosts: is missing: a route needs hosts"),
        ("domains=a.example\nhosts=a:x", "outbound.ini:3: [route:r] hosts: the port is not one from 1 to 65535"),
        (
            "domains=*\nhosts=a\nauth_user=u",
            "outbound.ini:1: [route:r] auth_pass_file: is missing: a user needs a password",
        ),
        (
            "domains=*\nhosts=a\nauth_pass_file=password",
            "outbound.ini:1: [route:r] auth_user: is missing: a password needs a user",
        ),
        (
            "domains=*\nhosts=a\nrequire_auth=true",
            "outbound.ini:1: [route:r] auth_user: is missing: with require_auth all mail would be deferred",
        ),
        (
            "domains=*\nhosts=/run/x\ntls=required",
            "outbound.ini:4: [route:r] tls: required cannot be had over a unix socket: it has no name to verify",
        ),
        (
            "domains=*\nhosts=a\nauth_user=u\nauth_pass_file=nowhere",
            "outbound.ini:5: [route:r] auth_pass_file: the file does not exist",
        ),
        (
            "domains=*\nhosts=a\nauth_user_file=password\nauth_user=u\nauth_pass_file=password",
            "outbound.ini:4: [route:r] auth_user_file: is set, and so is auth_user: set one of them",
        ),
        (
            "domains=*\nhosts=a\nauth_user_file=password",
            "outbound.ini:1: [route:r] auth_pass_file: is missing: a user needs a password",
        ),
        (
            "domains=*\nhosts=a\nauth_user_file=lines\nauth_pass_file=password",
            "outbound.ini:4: [route:r] auth_user_file: the file has more than one line",
        ),
        (
            "domains=*\nhosts=a\nauth_user=u\nauth_pass_file=empty",
            "outbound.ini:5: [route:r] auth_pass_file: the file is empty",
        ),
        (
            "domains=*\nhosts=a\nauth_user=u\nauth_pass_file=lines",
            "outbound.ini:5: [route:r] auth_pass_file: the file has more than one line",
        ),
    ],
)
def test_a_route_that_cannot_work_is_a_fault(directory: Directory, lines: str, fault: str) -> None:
    directory.write("password", "secret\n")
    directory.write("empty", "\n")
    directory.write("lines", "secret\nsecret\n")
    directory.write("outbound.ini", f"[route:r]\n{lines}\n")
    assert directory.faults() == [fault]


def test_a_route_needs_a_plain_name(directory: Directory) -> None:
    directory.write("outbound.ini", "[route:]\ndomains=*\nhosts=a\n")
    assert directory.faults()[0].startswith("outbound.ini:1: [route:]: '' is not a route's name")


@pytest.mark.parametrize(
    ("first", "second", "what"),
    [("*", "*", "all domains (`*`)"), ("a.example,b.example", "B.example.", "b.example"), (".a.b", "*.a.b", ".a.b")],
)
def test_two_routes_for_one_domain_are_a_fault(directory: Directory, first: str, second: str, what: str) -> None:
    directory.write("outbound.ini", f"[route:x]\ndomains={first}\nhosts=a\n[route:y]\ndomains={second}\nhosts=b\n")
    assert directory.faults() == [f"outbound.ini:5: [route:y] domains: {what} already belongs to [route:x]"]


def test_a_route_by_sender_is_for_all_domains_unless_it_names_some(directory: Directory) -> None:
    directory.write(
        "outbound.ini",
        "[route:a]\nsenders=Ann@Shop.example, .EU.shop.example, <>\nhosts=a.example.\ninet_prefer=v4-only\n"
        "[route:b]\nsenders=shop.example\ndomains=club.example\nhosts=b\n[route:c]\ndomains=*\nhosts=c\n",
    )
    first, second, third = directory.settings().outbound.routes
    assert (first.domains, first.senders) == (("*",), ("ann@shop.example", ".eu.shop.example", "<>"))
    assert (first.hosts, first.inet_prefer) == ((RouteHost("a.example."),), InetPrefer.V4_ONLY)
    assert (second.domains, second.senders) == (("club.example",), ("shop.example",))
    assert (third.senders, third.inet_prefer) == ((), None)
    shown = as_text(directory.settings())
    assert "senders=ann@shop.example, .eu.shop.example, <>\n" in shown
    assert "inet_prefer=v4-only\n" in shown


def test_two_routes_for_one_domain_and_one_sender_are_a_fault(directory: Directory) -> None:
    directory.write("outbound.ini", "[route:x]\nsenders=a.example\nhosts=a\n[route:y]\nsenders=A.example\nhosts=b\n")
    assert directory.faults() == [
        "outbound.ini:4: [route:y] domains: all domains (`*`) from a.example already belongs to [route:x]"
    ]


def test_a_password_in_the_file_is_not_read_and_not_repeated(directory: Directory) -> None:
    directory.write("outbound.ini", "[route:r]\ndomains=*\nhosts=a\nauth_pass=hunter2\n")
    (warning,) = directory.warnings()
    assert "auth_pass_file" in warning
    assert "hunter2" not in warning


def test_unknown_names_are_warnings_that_suggest_the_near_one(directory: Directory) -> None:
    directory.write(
        "outbound.ini",
        "concurency_max=7\nzzz=1\npool_timeout=3\n[bnd]\nx=1\n[qqq]\n[route:r]\nhost=a\ndomains=*\nhosts=a\n",
    )
    warnings = directory.warnings()
    assert warnings[:2] == [
        "outbound.ini:1: [main] concurency_max: unknown key; did you mean concurrency_max?",
        "outbound.ini:2: [main] zzz: unknown key",
    ]
    assert "pool_timeout: is not read: Haraka 3.0 dropped" in warnings[2]
    assert warnings[3:] == [
        "outbound.ini:4: [bnd]: unknown section; did you mean bind?",
        "outbound.ini:6: [qqq]: unknown section",
        "outbound.ini:8: [route:r] host: unknown key in [route:r]; did you mean hosts?",
    ]
