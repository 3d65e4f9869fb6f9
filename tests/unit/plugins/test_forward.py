"""The plugin `forward`: where which mail goes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.pem import self_signed
from tests.support.plugged import Plugged, hmail

from mailboat.hooks import CONT, OK, TlsLevel
from mailboat.plugins import forward

INI = """
host=rest.test:2525, [2001:db8::1]:26
auth_user=u
auth_pass=p
[example.com]
host=example.test
tls=required
[.example.com]
host=below.test
[.deep.example.com]
host=/run/lmtp.sock
using_lmtp=true
[bücher.test]
host=idn.test
[from:Shop.test]
host=smtps://u%40x:p%3Aw@shop-hop.test
bind=192.0.2.9
bind_helo=out.shop.test
"""


async def hosts(it: Plugged, to: str, sender: str = "a@b.test", **notes: Any) -> list[str]:
    mail = hmail(to, sender, notes)
    answer = await it.ask("get_mx", mail, mail.todo.domain)
    if answer is CONT:
        return []
    code, found = answer
    assert code is OK
    return [str(mx) for mx in found] if isinstance(found, tuple) else [found]


@pytest.mark.parametrize(
    ("to", "sender", "expected"),
    [
        ("a@else.test", "a@b.test", ["smtp://rest.test:2525", "smtp://[2001:db8::1]:26"]),
        ("a@example.com", "a@b.test", ["smtp://example.test:25"]),
        ("a@x.example.com", "a@b.test", ["smtp://below.test:25"]),
        ("a@x.deep.example.com", "a@b.test", ["lmtp:/run/lmtp.sock"]),
        ("a@example.com", "a@shop.test", ["smtps://shop-hop.test:465"]),
        ("a@example.com", "", ["smtp://example.test:25"]),
        ("a@xn--bcher-kva.test", "a@b.test", ["smtp://idn.test:25"]),
    ],
)
async def test_by_sender_then_by_recipient_then_the_rest(
    tmp_path: Path, to: str, sender: str, expected: list[str]
) -> None:
    assert await hosts(Plugged.of(forward, tmp_path, forward_ini=INI), to, sender) == expected


async def test_what_a_section_says_of_its_hosts_goes_along(tmp_path: Path) -> None:
    it = Plugged.of(forward, tmp_path, forward_ini=INI)
    (_, (mx, _)) = await it.ask("get_mx", hmail("a@else.test"), "else.test")
    assert (mx.auth_user, mx.auth_pass, mx.tls) == ("u", "p", None)
    (_, (mx,)) = await it.ask("get_mx", hmail("a@example.com"), "example.com")
    assert (mx.auth_user, mx.tls, mx.port_given) == ("", TlsLevel.REQUIRED, False)
    (_, (mx,)) = await it.ask("get_mx", hmail("a@x.test", "a@shop.test"), "x.test")
    assert (mx.auth_user, mx.auth_pass, mx.bind, mx.bind_helo) == ("u@x", "p:w", "192.0.2.9", "out.shop.test")


async def test_without_a_host_for_the_rest_it_goes_by_mx(tmp_path: Path) -> None:
    it = Plugged.of(forward, tmp_path, forward_ini="[one.test]\nhost=hop.test\n")
    assert await hosts(it, "a@two.test") == []
    assert await hosts(Plugged.of(forward, tmp_path / "none"), "a@two.test") == []


@pytest.mark.parametrize(
    ("notes", "expected"),
    [
        ({"queue": {"next_hop": "smtp://noted.test:99"}}, ["smtp://noted.test:99"]),
        ({"queue": {"next_hop": "smtp://noted.test", "wants": "smtp_forward"}}, ["smtp://noted.test"]),
        ({"queue.next_hop": "noted.test"}, ["noted.test"]),
        ({"queue": {"next_hop": "smtp://noted.test", "wants": "other"}}, []),
        ({"queue": {"wants": "outbound"}}, []),
        ({"queue": {"wants": "forward"}}, ["smtp://example.test:25"]),
        ({"queue": "x"}, ["smtp://example.test:25"]),
    ],
)
async def test_notes_go_before_the_file(tmp_path: Path, notes: dict[str, Any], expected: list[str]) -> None:
    assert await hosts(Plugged.of(forward, tmp_path, forward_ini=INI), "a@example.com", **notes) == expected


async def test_a_change_of_the_file_is_taken_live(tmp_path: Path) -> None:
    it = Plugged.of(forward, tmp_path, forward_ini="host=one.test\n")
    (tmp_path / "forward.ini").write_text("host=two.test\n")
    staged, faults = it.files.stage()
    assert faults == []
    for file in staged:
        file.apply()
    assert await hosts(it, "a@example.com") == ["smtp://two.test:25"]


@pytest.mark.parametrize(
    "text",
    ["host=a b\n", "host=x.test:99999\n", "hosts=x.test\n", "[a.test]\ntls=required\n", "host=x.test\ntls=maybe\n",
     "[*]\nhost=x.test\n", "[a b]\nhost=x.test\n", "[a.test,b.test]\nhost=x.test\n",
     "host=http://x.test\n", "[a.test]\nhost=\n"],
)  # fmt: skip
def test_what_names_no_host_is_a_fault(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match=r"forward\.ini|host|domain"):
        Plugged.of(forward, tmp_path, forward_ini=text)


async def test_a_private_ca_and_leave_to_go_without_tls_go_along_with_the_password(tmp_path: Path) -> None:
    pem = self_signed("ca.test")[1]
    (tmp_path / "private.pem").write_bytes(pem)
    ini = "host=x.test\nauth_user=u\nauth_pass=p\nca=private.pem\nauth_without_tls=true\n"
    it = Plugged.of(forward, tmp_path, forward_ini=ini)
    (_, (mx,)) = await it.ask("get_mx", hmail("a@else.test"), "else.test")
    assert (mx.ca, mx.auth_without_tls) == (pem.decode(), True)


@pytest.mark.parametrize(("content", "reason"), [(None, "does not exist"), ("x", "the file holds no PEM certificate")])
def test_roots_that_cannot_be_used_are_a_fault(tmp_path: Path, content: str | None, reason: str) -> None:
    if content is not None:
        (tmp_path / "private.pem").write_text(content)
    with pytest.raises(ValueError, match=rf"forward\.ini:2: \[main\] ca: .*{reason}"):
        Plugged.of(forward, tmp_path, forward_ini="host=x.test\nca=private.pem\n")
