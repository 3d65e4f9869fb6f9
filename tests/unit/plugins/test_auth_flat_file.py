"""Users in a file: what the file may say, which passwords match, and from whose domain a user may send."""

from __future__ import annotations

import hmac
from pathlib import Path

import argon2
import bcrypt
import pytest
from tests.support.plugins import read

from mailboat.hooks import AuthAttempt, ConfigError, parse_address
from mailboat.model.address import NULL_SENDER
from mailboat.plugins.auth_flat_file import Users, may_send, parse

ARGON2 = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("sesame")
BCRYPT = bcrypt.hashpw(b"sesame", b"$2b$04$" + b"abcdefghijklmnopqrstuu").decode()
TICKET = b"<1@relay.test>"


def users(directory: Path, text: str) -> Users:
    return read(parse, directory, "auth_flat_file.ini", text)


def attempt(user: str, password: str) -> AuthAttempt:
    return AuthAttempt("PLAIN", user, password, lambda secret: secret == password)


def digested(user: str, password: str) -> AuthAttempt:
    def answer(secret: str) -> str:
        return hmac.new(secret.encode(), TICKET, "md5").hexdigest()

    return AuthAttempt("CRAM-MD5", user, None, lambda secret: answer(secret) == answer(password))


@pytest.mark.parametrize("stored", ["sesame", ARGON2, BCRYPT], ids=["clear", "argon2", "bcrypt"])
def test_each_kind_of_password_matches_itself_and_nothing_else(stored: str, tmp_path: Path) -> None:
    some = users(tmp_path, f"[users]\nanna@example.org={stored}\n")
    assert some.checking(attempt("anna@example.org", "sesame")).run()
    assert not some.checking(attempt("anna@example.org", "Sesame")).run()
    assert not some.checking(attempt("anna@example.org", "sesame" + "x" * 100)).run()
    assert not some.checking(attempt("Anna@example.org", "sesame")).run()
    assert not some.checking(attempt("nobody", "sesame")).run()
    assert not some.checking(attempt("anna@example.org", stored)).run() or stored == "sesame"


def test_cram_md5_is_for_passwords_in_clear(tmp_path: Path) -> None:
    some = users(tmp_path, f"[core]\nmethods=CRAM-MD5, PLAIN\n[users]\nanna=sesame\nbert={ARGON2}\n")
    assert some.checking(digested("anna", "sesame")).run()
    assert not some.checking(digested("anna", "other")).run()
    assert not some.checking(digested("bert", "sesame")).run()
    assert not some.checking(digested("bert", ARGON2)).run()
    assert some.methods == ("PLAIN",)


def test_an_unknown_user_is_checked_like_a_known_one(tmp_path: Path) -> None:
    assert users(tmp_path, f"[users]\nanna=sesame\nbert={BCRYPT}\n").decoy == BCRYPT
    first, second = (users(tmp_path, "[users]\nanna=sesame\n").decoy for _ in range(2))
    assert first != second


def test_no_password_is_shown(tmp_path: Path) -> None:
    assert "sesame" not in repr(users(tmp_path, "[users]\nanna=sesame\n"))


def test_numbers_are_passwords_like_others(tmp_path: Path) -> None:
    assert users(tmp_path, "[users]\nanna=0123\n").checking(attempt("anna", "0123")).run()


def test_what_is_not_said_has_safe_defaults(tmp_path: Path) -> None:
    some = users(tmp_path, "")
    assert (some.methods, some.constrain_sender, some.allow_plaintext) == (("PLAIN", "LOGIN"), True, False)
    assert some.passwords == {}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[core]\nmethods=PLAIN, GSSAPI\n", "is not one of"),
        (f"[core]\nmethods=CRAM-MD5\n[users]\nanna={BCRYPT}\n", "needs passwords in clear"),
        ("[core]\nmethod=PLAIN\n", "method: not one of"),
        ("[core]\nconstrain_sender=perhaps\n", "constrain_sender"),
        ("[users]\nanna=\n", "anna: has no password"),
        ("[users]\nanna=$6$salt$abcdef\n", "another kind"),
        ("[users]\nanna=$argon2id$v=19$broken\n", "argon2"),
        ("[users]\nanna=$2b$31$" + "a" * 53 + "\n", "minutes"),
        ("[users]\nanna=$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2g\n", "GiB"),
    ],
)
def test_what_cannot_be_meant_is_a_fault_and_shows_no_secret(text: str, fault: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        users(tmp_path, text)
    assert fault in str(caught.value)
    assert "salt" not in str(caught.value)


@pytest.mark.parametrize(
    ("user", "sender", "allowed"),
    [
        ("anna@example.com", "bert@example.com", True),
        ("anna@example.com", "bert@mail.EXAMPLE.com", True),
        ("anna@mail.example.com", "bert@example.com", True),
        ("anna@example.com", "bert@example.net", False),
        ("anna@example.co.uk", "bert@other.co.uk", False),
        ("anna@a.example.co.uk", "bert@b.example.co.uk", True),
        ("anna@a.github.io", "bert@b.github.io", False),
        ("anna@bücher.com", "bert@xn--bcher-kva.com", True),
        ("anna@one.test", "bert@two.test", False),
        ("anna@one.internal", "bert@one.internal", True),
        ("anna@one.internal", "bert@a.one.internal", False),
        ("anna@localdomain", "bert@localdomain", True),
        ("anna@co.uk", "bert@co.uk", True),
        ("anna", "bert@anything.example.com", True),
        ("anna@not a domain", "bert@example.com", False),
    ],
)
def test_senders_are_held_to_the_organisation_of_the_user(user: str, sender: str, allowed: bool) -> None:
    assert may_send(user, parse_address(sender)) is allowed


def test_the_null_sender_is_everybodys() -> None:
    assert may_send("anna@example.com", NULL_SENDER)
