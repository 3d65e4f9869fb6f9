"""A directory as a whole: every file optional, all faults at once, and never an exception for what the files say."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from mailboat.config.hash import config_hash
from mailboat.config.settings import DEFAULT_RELAY_ACL, Endpoint
from mailboat.loading.load import load, restart_needed

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.config_directory import Directory

FILES = ["smtp.ini", "http.ini", "outbound.ini", "tls.ini", "relay_acl_allow", "plugins", "me"]
TEXT_FILES = [*FILES, "outbound.bounce_message", "outbound.bounce_message_html"]


def test_an_empty_directory_gives_the_defaults(tmp_path: Path) -> None:
    loaded = load(tmp_path, {})
    assert loaded.faults == ()
    assert loaded.settings is not None
    assert loaded.settings.relay_acl == DEFAULT_RELAY_ACL
    assert loaded.settings.bounce.text is None
    assert loaded.settings.me


def test_a_missing_directory_is_a_fault(tmp_path: Path) -> None:
    loaded = load(tmp_path / "none", {})
    assert loaded.settings is None
    assert [fault.message for fault in loaded.faults] == ["is not a directory that can be read"]


def test_all_faults_of_all_files_come_at_once_in_order(directory: Directory) -> None:
    directory.write("me", "not a name")
    directory.write("smtp.ini", "nodes=x\nlisten=1.2.3.4\n")
    directory.write("http.ini", "broken\nlisten=a\n")
    directory.write("outbound.ini", "disabled=maybe\nmx_port=0\n")
    directory.write("tls.ini", "minVersion=SSLv2\n")
    directory.write("relay_acl_allow", "127.0.0.1\nfoo\n")
    directory.write("plugins", "../evil\n")
    places = [":".join(fault.split(":", 2)[:2]) for fault in directory.faults()]
    assert places == [
        *("me:1", "smtp.ini:1", "smtp.ini:2", "http.ini:1", "http.ini:2", "outbound.ini:1", "outbound.ini:2"),
        *("tls.ini:1", "relay_acl_allow:2", "plugins:1"),
    ]


@pytest.mark.parametrize("name", TEXT_FILES)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#\n" * 600_000, "is larger than 1 MiB"),
        (b"# ok\n# \xff\n", "is not UTF-8 text: see line 2"),
        (b"# ok\n# ok\n#\0\n", "is not text: line 3 has a NUL octet"),
    ],
    ids=["huge", "not UTF-8", "NUL"],
)
def test_a_file_that_is_no_text_is_a_fault(directory: Directory, name: str, content: bytes, reason: str) -> None:
    directory.write(name, content)
    assert directory.faults() == [f"{name}: {reason}"]


@pytest.mark.parametrize("name", TEXT_FILES)
def test_a_pipe_in_place_of_a_file_is_a_fault_and_no_wait(directory: Directory, name: str) -> None:
    path = directory.path / name
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    assert directory.faults() == [f"{name}: is not a regular file"]


def test_a_directory_in_place_of_a_file_is_a_fault(directory: Directory) -> None:
    directory.write("outbound.ini/x", "")
    assert directory.faults() == ["outbound.ini: cannot be read: Is a directory"]


def test_a_symlink_that_leads_in_a_circle_is_a_fault(directory: Directory) -> None:
    (directory.path / "outbound.ini").symlink_to("outbound.ini")
    assert directory.faults() == ["outbound.ini: cannot be read: Too many levels of symbolic links"]


def test_me_is_the_first_line_that_is_no_comment(directory: Directory) -> None:
    directory.write("me", "# who\n\n Mail.Example.COM \nother\n")
    assert directory.settings().me == "mail.example.com"


def test_listeners_read_and_default_to_loopback(directory: Directory) -> None:
    assert directory.settings().smtp.listen == (Endpoint("127.0.0.1", 2525), Endpoint("::1", 2525))
    directory.write("smtp.ini", "listen=127.0.0.1:25\n")
    assert directory.settings().smtp.listen == (Endpoint("127.0.0.1", 25),)


def test_listeners_do_not_take_each_others_places(directory: Directory) -> None:
    directory.write("smtp.ini", "listen=127.0.0.1:9025, 127.0.0.1:0\n")
    directory.write("http.ini", "listen=127.0.0.1:9025, 127.0.0.1:0\n")
    assert directory.faults() == ["http.ini:1: [main] listen: 127.0.0.1:9025 is in smtp.ini too"]


def test_the_listeners_of_smtp_ini_do_not_take_each_others_places(directory: Directory) -> None:
    directory.write("smtp.ini", "listen=127.0.0.1:2525\nsubmission_listen=127.0.0.1:2525, 127.0.0.1:2587\n")
    assert directory.faults() == ["smtp.ini:2: [main] submission_listen: 127.0.0.1:2525 is in listen too"]
    directory.write("smtp.ini", "listen=\nsubmission_listen=2587\n")
    assert directory.settings().smtp.endpoints == (Endpoint("0.0.0.0", 2587), Endpoint("::", 2587))


def test_senders_allow_holds_domains_parents_and_addresses(directory: Directory) -> None:
    assert directory.settings().senders_allow is None
    directory.write("senders_allow", "# ours\nExample.COM.\n.example.com\nShop@b\u00fccher.example\n")
    assert directory.settings().senders_allow == frozenset(
        {"example.com", ".example.com", "Shop@xn--bcher-kva.example"}
    )
    directory.write("senders_allow", "")
    assert directory.settings().senders_allow == frozenset()


@pytest.mark.parametrize("line", ["example.com, example.org", "*.example.com", "@example.com", "a b@example.com", "*"])
def test_what_is_no_sender_is_a_fault_of_its_line(directory: Directory, line: str) -> None:
    directory.write("senders_allow", f"example.com\n{line}\n")
    [fault] = directory.faults()
    assert fault.startswith("senders_allow:2: ")


def test_a_relay_that_listens_nowhere_is_a_fault(directory: Directory) -> None:
    directory.write("smtp.ini", "listen=\n")
    assert directory.faults() == [
        "smtp.ini:1: [main] listen: is empty, and so is smtps_listen: no mail could be received"
    ]


def test_an_admin_listener_beyond_loopback_without_a_token_is_a_warning(directory: Directory) -> None:
    directory.write("http.ini", "listen=192.0.2.1:9025\n")
    (warning,) = directory.warnings()
    assert warning.startswith("http.ini:1: [main] listen: is not loopback and there is no token_file: ")
    directory.write("token", "t0ken\n")
    directory.write("http.ini", "listen=192.0.2.1:9025\ntoken_file=token\n")
    assert directory.settings().http.token_file == str(directory.path / "token")


def test_a_token_file_must_hold_a_token(directory: Directory) -> None:
    directory.write("token", "")
    directory.write("http.ini", "token_file=token\n")
    assert directory.faults() == ["http.ini:1: [main] token_file: the file is empty"]


def test_relay_permissions_replace_the_default(directory: Directory) -> None:
    directory.write("relay_acl_allow", "# pods\n10.1.2.3/16\n\n2001:db8::1\n::ffff:192.0.2.0/120\n")
    assert directory.settings().relay_acl == (
        ip_network("10.1.0.0/16"),
        ip_network("2001:db8::1/128"),
        ip_network("192.0.2.0/24"),
    )
    directory.write("relay_acl_allow", "# nobody\n")
    assert directory.settings().relay_acl == ()


@pytest.mark.parametrize(
    ("lines", "version"),
    [("0.0.0.0/0", 4), ("::/0", 6), ("0.0.0.0/1\n128.0.0.0/1", 4), ("::ffff:0:0/96", 4), ("8000::/1\n::/1", 6)],
)
def test_permission_for_everybody_is_a_fault(directory: Directory, lines: str, version: int) -> None:
    directory.write("relay_acl_allow", lines)
    assert directory.faults() == [f"relay_acl_allow: allows every IPv{version} address: that is an open relay"]


def test_permission_for_a_large_part_of_the_internet_is_a_warning(directory: Directory) -> None:
    directory.write("relay_acl_allow", "10.0.0.0/8\n128.0.0.0/2\n")
    assert directory.warnings() == ["relay_acl_allow:2: 128.0.0.0/2 lets a large part of the Internet relay"]


def test_a_module_that_shipped_plugins_share_is_no_plugin_and_left_out_at_a_start(directory: Directory) -> None:
    directory.write("plugins", "_checks\nheaders\n__init__\n")
    loaded = directory.load()
    assert loaded.settings is not None
    assert loaded.settings.plugins.names == ("headers",)
    message = "is an internal module of Mailboat, not a plugin: a start ignores it, a reload is refused"
    assert list(map(str, loaded.tolerated)) == [f"plugins:1: _checks {message}", f"plugins:3: __init__ {message}"]
    assert loaded.warnings == loaded.tolerated


def test_plugins_keep_their_order_and_are_named_once(directory: Directory) -> None:
    directory.write("plugins", "# first\nauth/flat_file\nprocess_title\n")
    assert directory.settings().plugins.names == ("auth/flat_file", "process_title")
    directory.write("plugins", "a\nb\na\na b\n/etc/passwd\n")
    assert directory.faults() == [
        "plugins:3: a is listed twice: first in line 1",
        "plugins:4: 'a b' is not the name of a plugin",
        "plugins:5: '/etc/passwd' is not the name of a plugin",
    ]


def test_bounce_templates_come_as_they_are(directory: Directory) -> None:
    directory.write("outbound.bounce_message", "Zurück: {reason}\r\n")
    directory.write("outbound.bounce_message_html", "<p>{reason}</p>")
    directory.write("outbound.bounce_message_image", b"\x89PNG\0\xff")
    bounce = directory.settings().bounce
    assert (bounce.text, bounce.html, bounce.image) == ("Zurück: {reason}\r\n", "<p>{reason}</p>", b"\x89PNG\0\xff")


def test_files_that_somebody_expects_to_be_read_are_warnings(directory: Directory) -> None:
    directory.write("outbound.disabled", "true")
    directory.write("outbund.ini", "")
    directory.write("relay.ini", "")
    assert directory.warnings() == [
        "outbound.disabled: is not read: write disabled in outbound.ini",
        "outbund.ini: is not read by the relay; did you mean outbound.ini?",
    ]


def test_the_hash_follows_the_documented_recipe(directory: Directory) -> None:
    directory.write("outbound.ini", "disabled=true\n")
    directory.write("tls.ini", b"[outbound]\r\n")
    recipe = b"outbound.ini 14\ndisabled=true\ntls.ini 12\n[outbound]\r\n"
    expected = f"sha256:{hashlib.sha256(recipe).hexdigest()}"
    assert directory.settings().hash == expected == config_hash(b"disabled=true\n", b"[outbound]\r\n")


def test_text_that_moves_between_the_files_changes_the_hash() -> None:
    hashes = {
        config_hash(outbound, tls)
        for outbound, tls in [(b"ab", b""), (b"a", b"b"), (b"", b"ab"), (b"ab", None), (None, b"ab"), (None, None)]
    }
    assert len(hashes) == 6


def test_only_some_keys_need_a_restart(directory: Directory) -> None:
    before = directory.settings()
    directory.write("smtp.ini", "listen=127.0.0.1:26\nnodes=2\nmax_errors=3\n")
    directory.write("outbound.ini", "queue_dir=elsewhere\ndisabled=true\n")
    assert restart_needed(before, before) == []
    assert restart_needed(before, directory.settings()) == [
        "smtp.ini [main] listen",
        "smtp.ini [main] nodes",
        "outbound.ini [main] queue_dir",
    ]
    assert restart_needed(before, replace(before, me="other")) == []


@given(name=st.sampled_from(FILES), content=st.binary(max_size=60) | st.text("a=[]\\\n:/*,.1 #").map(str.encode))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_no_content_makes_loading_raise(directory: Directory, name: str, content: bytes) -> None:
    for other in FILES:
        (directory.path / other).unlink(missing_ok=True)
    directory.write(name, content)
    for fault in directory.faults():
        assert fault.isprintable()
        assert fault.startswith(name) or name in ("smtp.ini", "http.ini")


def test_delivery_is_off_until_an_outbound_ini_that_is_awaited_is_there(directory: Directory) -> None:
    directory.write("smtp.ini", "await_outbound=true\n")
    loaded = directory.load()
    assert loaded.settings is not None
    assert loaded.settings.outbound.disabled
    assert loaded.settings.awaits_outbound
    (warning,) = directory.warnings()
    assert warning.startswith("outbound.ini: does not exist yet")
    directory.write("outbound.ini", "concurrency_max=7\n")
    assert not directory.settings().outbound.disabled
    assert not directory.settings().awaits_outbound


def test_a_placeholder_of_a_bounce_template_that_stands_for_nothing_is_a_warning(directory: Directory) -> None:
    directory.write("outbound.bounce_message", "{reason} {resaon}")
    directory.write("outbound.bounce_message_html", "<p>{who}</p>")
    assert directory.warnings() == [
        "outbound.bounce_message: {resaon} is not a placeholder: `?` is inserted",
        "outbound.bounce_message_html: {who} is not a placeholder: `?` is inserted",
    ]
