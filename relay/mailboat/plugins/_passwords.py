"""Stored passwords: in clear text, or as argon2 or bcrypt hashes. For `auth_flat_file`."""

from __future__ import annotations

import re

import argon2
import bcrypt

from mailboat.hooks import AuthAttempt

_ARGON2 = re.compile(r"\$argon2(id|i|d)\$")
_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_SOME_HASH = re.compile(r"\$[a-z0-9-]{1,20}\$.")
_COSTLIEST_BCRYPT = 16
"""Maximum of rounds as a power of two; each one more doubles the time of a check."""
_COSTLIEST_ARGON2 = 2**20
"""KiB of memory that one check may take."""
_BCRYPT_MEMORY = 4096
_LONGEST_BCRYPT = 72
"""Octets that bcrypt uses; a longer password would be equal to its beginning."""


def is_hash(stored: str) -> bool:
    """Whether this is a hash."""
    return _ARGON2.match(stored) is not None or _BCRYPT.fullmatch(stored) is not None


def memory_of(stored: str) -> int:
    """Octets of memory that a check needs; 0 for a password in clear text."""
    if _ARGON2.match(stored):
        return argon2.extract_parameters(stored).memory_cost * 1024
    return _BCRYPT_MEMORY if is_hash(stored) else 0


def matches(attempt: AuthAttempt, stored: str) -> bool:
    """Whether the client knows the password. A hash takes its time: not on the event loop."""
    if not is_hash(stored):
        return attempt.matches(stored)
    if attempt.password is None:  # CRAM-MD5 can only be checked with a password in clear text
        return False
    given = attempt.password.encode()
    if _BCRYPT.fullmatch(stored):
        return len(given) <= _LONGEST_BCRYPT and bcrypt.checkpw(given, stored.encode())
    try:
        return argon2.PasswordHasher().verify(stored, given)
    except argon2.exceptions.VerificationError:
        return False


def checked(text: str) -> str:
    """What stands behind a user, if it can be used. ValueError says why not, and never what it is."""
    if not text:
        raise ValueError("has no password")
    if match := _BCRYPT.fullmatch(text):
        if int(match[1]) > _COSTLIEST_BCRYPT:
            raise ValueError(f"each check of this hash would take minutes: its cost is over {_COSTLIEST_BCRYPT}")
    elif _ARGON2.match(text):
        try:
            parameters = argon2.extract_parameters(text)
        except argon2.exceptions.InvalidHashError:
            raise ValueError("is not a complete argon2 hash") from None
        if parameters.memory_cost > _COSTLIEST_ARGON2:
            raise ValueError("each check of this hash would take more than 1 GiB of memory")
    elif _SOME_HASH.match(text):
        raise ValueError("looks like a hash of another kind than argon2 and bcrypt")
    return text
