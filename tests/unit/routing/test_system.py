"""/etc/resolv.conf and /etc/hosts: what is read of them, and that a change is followed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.fixed_clock import FixedClock

from mailboat.config.settings import Endpoint
from mailboat.routing.system import (
    REFRESH,
    HostAddresses,
    ResolvConf,
    SystemFiles,
    candidates,
    parse_hosts,
    parse_resolv_conf,
)

ONE, TWO = Endpoint("192.0.2.1", 53), Endpoint("2001:db8::1", 53)
LOCAL = (Endpoint("127.0.0.1", 53),)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", ResolvConf()),
        (
            "# none\nnameserver 192.0.2.1\nnameserver 2001:db8::1 # note\nnameserver x\nnameserver\n",
            ResolvConf((ONE, TWO)),
        ),
        ("search A.test. b.test\noptions rotate ndots:5 timeout:1\n", ResolvConf((), ("a.test", "b.test"), 5)),
        ("search a.test\ndomain b.test c.test\n", ResolvConf((), ("b.test",))),
        ("domain b.test\nsearch a.test\nsearch .\n", ResolvConf()),
        ("options ndots:99\n", ResolvConf(ndots=15)),
        ("options ndots:x ndots:-1 ndots\n", ResolvConf()),
    ],
)
def test_resolv_conf_is_read_as_libc_reads_it(text: str, found: ResolvConf) -> None:
    assert parse_resolv_conf(text) == found


def test_hosts_gives_all_addresses_of_a_name_in_whatever_case_it_is_written() -> None:
    text = "192.0.2.1 Hub.test hub # other\n#192.0.2.9 hub\n2001:db8::1\thub\nnonsense hub\nfe80::1%lo hub\n192.0.2.2\n"
    assert parse_hosts(text) == {
        "hub.test": HostAddresses(("192.0.2.1",)),
        "hub": HostAddresses(("192.0.2.1",), ("2001:db8::1",)),
    }


@pytest.mark.parametrize(
    ("name", "ndots", "order"),
    [
        ("hub", 1, ("hub.a.test", "hub.b.test", "hub")),
        ("hub.mail", 1, ("hub.mail", "hub.mail.a.test", "hub.mail.b.test")),
        ("hub.mail", 2, ("hub.mail.a.test", "hub.mail.b.test", "hub.mail")),
        ("hub.", 5, ("hub",)),
    ],
)
def test_ndots_says_whether_a_name_is_first_asked_for_as_it_stands(
    name: str, ndots: int, order: tuple[str, ...]
) -> None:
    assert candidates(name, ResolvConf((), ("a.test", "b.test"), ndots)) == order


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_that_is_written_later_is_noticed_whether_replaced_or_written_in_place(
    tmp_path: Path, *, replace: bool
) -> None:
    clock, conf = FixedClock(), tmp_path / "resolv.conf"
    conf.write_text("# the network is not up yet\n")
    system = SystemFiles(clock, resolv_conf=conf, hosts=tmp_path / "hosts")
    assert system.resolv_conf().servers == LOCAL
    later = tmp_path / "later" if replace else conf
    later.write_text("nameserver 192.0.2.1\n")
    later.replace(conf)
    clock.advance(REFRESH)
    assert system.resolv_conf().servers == (ONE,)


@pytest.mark.parametrize("content", [None, "", "search a.test\n", "nameserver x\n"])
def test_a_file_that_is_gone_or_says_nothing_any_more_leaves_the_last_good_servers(
    tmp_path: Path, content: str | None
) -> None:
    clock, conf = FixedClock(), tmp_path / "resolv.conf"
    conf.write_text("nameserver 192.0.2.1\n")
    system = SystemFiles(clock, resolv_conf=conf, hosts=tmp_path / "hosts")
    assert system.resolv_conf().servers == (ONE,)
    if content is None:
        conf.unlink()
    else:
        conf.write_text(content)
    clock.advance(REFRESH)
    assert system.resolv_conf().servers == (ONE,)


def test_without_the_files_this_host_is_asked_and_no_name_is_known(tmp_path: Path) -> None:
    system = SystemFiles(FixedClock(), resolv_conf=tmp_path / "none", hosts=tmp_path / "none")
    assert system.resolv_conf() == ResolvConf(LOCAL)
    assert system.host("localhost") is None
