"""Which lists of `relay_acl_allow` admit the Internet, and what is left of them at a start."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from tests.support.config_directory import Directory

from mailboat.config.acl import surplus

EVERY_SLASH_8 = [f"{first}.0.0.0/8" for first in range(1, 224)]
PRIVATE = ["10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1/128"]


@pytest.mark.parametrize(
    "open_relay",
    [
        ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3"],
        ["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/3"],
        ["0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/4"],  # all but 208.0.0.0/4
        ["2000::/3"],
        ["2000::/4"],  # everything that the registries have been given
        ["2400::/8", "2600::/8", "2800::/8", "2a00::/8", "2c00::/8"],
    ],
)
def test_networks_that_together_admit_the_internet_admit_nobody_at_a_start(
    directory: Directory, open_relay: list[str]
) -> None:
    directory.write("relay_acl_allow", "\n".join([*PRIVATE, *open_relay, "8.8.8.8", "2a00:1::/32"]))
    loaded = directory.load()
    assert loaded.settings is not None
    assert [str(n) for n in loaded.settings.relay_acl] == [*PRIVATE, "8.8.8.8/32", "2a00:1::/32"]
    (told,) = loaded.tolerated
    assert loaded.warnings == loaded.tolerated
    assert str(told).startswith("relay_acl_allow: admits ")
    lines = ", ".join(str(number) for number, _ in enumerate(open_relay, 5))
    assert f"that is an open relay; a start leaves out line {lines}, a reload is refused" in str(told)


def test_where_small_networks_add_up_all_that_are_public_admit_nobody() -> None:
    networks = [ip_network(line) for line in [*EVERY_SLASH_8, *PRIVATE, "192.0.2.0/24"]]
    assert {str(n) for n in surplus(networks)} == {*EVERY_SLASH_8} - {"10.0.0.0/8", "127.0.0.0/8"}


@pytest.mark.parametrize(
    "own",
    [
        PRIVATE,
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"],
        ["224.0.0.0/3", "0.0.0.0/8"],
        ["0.0.0.0/1", "8000::/1"],
        EVERY_SLASH_8[:128],
        [f"{first:x}::/12" for first in range(0x2400, 0x2420, 0x10)],
    ],
)
def test_other_lists_are_left_whole(own: list[str]) -> None:
    assert surplus([ip_network(line) for line in own]) == frozenset()


def test_a_long_list_of_single_hosts_is_judged(directory: Directory) -> None:
    directory.write("relay_acl_allow", "\n".join(f"203.{n >> 8}.{n & 255}.1" for n in range(60_000)))
    assert len(directory.settings().relay_acl) == 60_000
