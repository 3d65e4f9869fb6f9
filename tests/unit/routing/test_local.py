"""This machine's addresses, from the kernel's tables."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from tests.support.fixed_clock import FixedClock

from mailboat.model.clock import SystemClock
from mailboat.routing.local import REFRESH, LocalAddresses, _routed, parse_fib_trie, parse_if_inet6

FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     +-- 127.0.0.0/8 2 0 2
           |-- 127.0.0.1
              /32 host LOCAL
        |-- 127.255.255.255
           /32 link BROADCAST
     +-- 192.0.2.0/24 2 0 2
           |-- 192.0.2.0
              /24 link UNICAST
           |-- 192.0.2.{last}
              /32 host LOCAL
        |-- 192.0.2.255
           /32 link BROADCAST
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
20010db8000000000000000000000002 02 40 00 80     eth0
"""


def write(directory: Path, last: int) -> None:
    (directory / "fib_trie").write_text(FIB_TRIE.format(last=last))
    (directory / "if_inet6").write_text(IF_INET6)


def test_both_families_are_read(tmp_path: Path) -> None:
    write(tmp_path, 7)
    found = LocalAddresses(FixedClock(), tmp_path).addresses()
    assert found == {ipaddress.ip_address(text) for text in ("127.0.0.1", "192.0.2.7", "::1", "2001:db8::2")}


def test_an_ipv4_mapped_address_is_the_ipv4_one(tmp_path: Path) -> None:
    write(tmp_path, 7)
    local = LocalAddresses(FixedClock(), tmp_path)
    assert local.contains(ipaddress.ip_address("::ffff:192.0.2.7"))
    assert not local.contains(ipaddress.ip_address("192.0.2.8"))


def test_the_list_is_read_again_after_a_minute_or_on_demand(tmp_path: Path) -> None:
    write(tmp_path, 7)
    clock = FixedClock()
    local = LocalAddresses(clock, tmp_path)
    new = ipaddress.ip_address("192.0.2.8")
    assert not local.contains(new)
    write(tmp_path, 8)
    clock.advance(REFRESH - 1)
    assert not local.contains(new)
    clock.advance(1)
    assert local.contains(new)
    write(tmp_path, 9)
    local.refresh()
    assert not local.contains(new)


def test_a_kernel_without_ipv6_has_no_such_table(tmp_path: Path) -> None:
    (tmp_path / "fib_trie").write_text(FIB_TRIE.format(last=7))
    assert len(LocalAddresses(FixedClock(), tmp_path).addresses()) == 2


def test_without_proc_the_routing_is_asked(tmp_path: Path) -> None:
    """Whatever this machine's routes are, the answer is a set of addresses that it can bind to."""
    assert LocalAddresses(FixedClock(), tmp_path).addresses() == frozenset(_routed())


def test_this_machine_knows_its_loopback() -> None:
    assert LocalAddresses(SystemClock()).contains(ipaddress.ip_address("127.0.0.1"))


def test_empty_tables_hold_no_address() -> None:
    assert parse_fib_trie("") == []
    assert parse_if_inet6("\n") == []
