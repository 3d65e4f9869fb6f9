"""Lets the users of `auth_flat_file.ini` authenticate, and holds their senders to their domain.

docs/plugins/auth_flat_file.md
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from publicsuffixlist import PublicSuffixList

from mailboat.hooks import (
    CONT,
    DENY,
    OK,
    Address,
    Answer,
    AuthAttempt,
    Connection,
    Plugin,
    PluginConfig,
    Point,
    parse_address,
)
from mailboat.plugins import _passwords
from mailboat.plugins._hashing import Hashing, PasswordCheck

_METHODS: tuple[str, ...] = ("PLAIN", "LOGIN", "CRAM-MD5")
_DEFAULT: tuple[str, ...] = _METHODS[:2]
_KEYS = ("methods", "constrain_sender", "allow_plaintext")
_NOTE = "auth_flat_file"


@dataclass(frozen=True, slots=True)
class Users:
    """`auth_flat_file.ini`."""

    passwords: Mapping[str, str] = field(repr=False)
    """In clear, or a hash."""
    methods: Sequence[str]
    constrain_sender: bool
    allow_plaintext: bool
    decoy: str = field(repr=False)
    """A hash to check unknown users' passwords with, so that the time does not reveal which users exist."""

    def checking(self, attempt: AuthAttempt) -> PasswordCheck:
        """Whether the client knows the password of the user that it names, as work that is still to be done."""
        stored = self.passwords.get(attempt.user)
        against = self.decoy if stored is None else stored
        return PasswordCheck(
            lambda: _passwords.matches(attempt, against) and stored is not None, _passwords.memory_of(against)
        )


def register(plugin: Plugin) -> None:
    """Offer and check AUTH, and check senders."""
    config = plugin.config("auth_flat_file.ini", parse)
    hashing = Hashing(plugin.workers)
    plugin.on_close(hashing.close)
    attempts = plugin.metrics.counter("attempts", "AUTH attempts by result.", {"result": ("succeeded", "failed")})

    def offer(connection: Connection) -> Sequence[str]:
        users = config.value
        safe = connection.tls or users.allow_plaintext or _is_loopback(connection.remote_ip)
        return users.methods if safe and users.passwords else ()

    async def auth(connection: Connection, attempt: AuthAttempt) -> Answer:
        if not await hashing.run(config.value.checking(attempt), first=attempt.proven):
            attempts.inc("failed")
            plugin.logger.warning("%s: %r failed to authenticate by %s", *_who(connection, attempt))
            return CONT
        attempts.inc("succeeded")
        connection.notes[_NOTE] = attempt.user
        return OK

    async def mail(connection: Connection, sender: Address, _: object) -> Answer:
        user = connection.notes.get(_NOTE)
        if not config.value.constrain_sender or user is None or user != connection.auth_user:
            return CONT
        if may_send(user, sender):
            return CONT
        return DENY, f"5.7.1 Sender's domain {sender.ascii_domain} does not match that of the user {user}"

    _suffixes()  # read now, not while a client waits
    plugin.offer_auth(offer)
    plugin.register_hook(Point.AUTH, auth)
    plugin.register_hook(Point.MAIL, mail)


def _who(connection: Connection, attempt: AuthAttempt) -> tuple[str, str, str]:
    return connection.remote_ip, attempt.user, attempt.method


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a unix socket
        return False


def may_send(user: str, sender: Address) -> bool:
    """Whether the sender belongs to the same organisation as the user, as far as names tell."""
    if sender.is_null or "@" not in user:
        return True
    try:
        domain = parse_address(user).ascii_domain
    except ValueError:
        domain = user.rpartition("@")[2].lower()
    return domain == sender.ascii_domain or _organisation(domain) == _organisation(sender.ascii_domain)


def _organisation(domain: str) -> str:
    """The registered domain, such as `example.co.uk`; where the list knows none, the name itself."""
    return _suffixes().privatesuffix(domain) or domain


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    return PublicSuffixList(accept_unknown=False)


def parse(config: PluginConfig[None]) -> Users:
    """What the file says. ValueError for what is wrong with it."""
    for key in config.section("core"):
        if key not in _KEYS:
            raise ValueError(f"[core] {key}: not one of {', '.join(_KEYS)}")
    passwords = {user: config.read(user, _passwords.checked, "", "users") for user in config.section("users")}
    hashed = [stored for stored in passwords.values() if _passwords.is_hash(stored)]
    methods = config.read("methods", _methods, _DEFAULT, "core")
    if hashed:  # clients prefer CRAM-MD5 if it is offered, but it cannot be checked with a hash
        methods = tuple(name for name in methods if name != "CRAM-MD5")
        if not methods:
            raise ValueError("[core] methods: CRAM-MD5 alone needs passwords in clear text, but some are hashed")
    return Users(
        passwords,
        methods,
        constrain_sender=config.boolean("constrain_sender", True, "core"),
        allow_plaintext=config.boolean("allow_plaintext", False, "core"),
        decoy=hashed[0] if hashed else secrets.token_hex(16),
    )


def _methods(text: str) -> tuple[str, ...]:
    methods = tuple(name.strip().upper() for name in text.split(",") if name.strip())
    for name in methods:
        if name not in _METHODS:
            raise ValueError(f"is not one of {', '.join(_METHODS)}")
    return tuple(dict.fromkeys(methods))
