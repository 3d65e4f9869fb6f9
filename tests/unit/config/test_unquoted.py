"""What stands behind a key is never quoted: it may be a password that slipped there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mailboat.config import ini
from mailboat.config.settings import (
    HttpSettings,
    NamedKey,
    OutboundSettings,
    Route,
    SmtpSettings,
    TlsSettings,
    keys_of,
)

if TYPE_CHECKING:
    from tests.support.config_directory import Directory

SECRET = "Tr0ub4dor&3"
SLIPS = (
    SECRET,
    f"{SECRET}, x",
    f"x, {SECRET}:99999",
    f"/{SECRET}",
    f"smtp://user:{SECRET}@h",
    f"é{SECRET}",
    f"{SECRET}\\",
    f"{SECRET}\x01",
)
CASES = [
    (file, section, key)
    for file, section, kind in (
        ("smtp.ini", "main", SmtpSettings),
        ("http.ini", "main", HttpSettings),
        ("outbound.ini", "main", OutboundSettings),
        ("outbound.ini", "route:r", Route),
        ("outbound.ini", "bind", None),
        ("tls.ini", "main", TlsSettings),
        ("tls.ini", "outbound", TlsSettings),
    )
    for key in (keys_of(kind) if kind else [None])
]


@pytest.mark.parametrize(("file", "section", "key"), CASES)
def test_no_fault_or_warning_shows_a_value(directory: Directory, file: str, section: str, key: NamedKey | None) -> None:
    name = "default" if key is None else f"{key.ini}[]" if key.is_list else key.ini
    for slip in SLIPS:
        directory.write(file, f"[{section}]\n{name}={slip}\n")
        loaded = directory.load()
        told = [str(fault) for fault in (*loaded.faults, *loaded.warnings)]
        assert not [line for line in told if SECRET in line], slip


@pytest.mark.parametrize("name", ["me", "relay_acl_allow", "plugin_timeout"])
def test_no_fault_shows_a_line_of_a_list(directory: Directory, name: str) -> None:
    directory.write(name, f"{SECRET} x\n")
    faults = directory.faults()
    assert faults
    assert SECRET not in "".join(faults)


@pytest.mark.parametrize(
    "line", [SECRET, f"ann@example.com {SECRET}", f"[users {SECRET}", f"ann&bob={SECRET}", f"ann smith = {SECRET}"]
)
def test_a_line_with_a_slip_is_named_by_its_number_only(line: str) -> None:
    (fault,) = ini.parse(f"[users]\n{line}\n", "auth_flat_file.ini").faults
    assert str(fault).startswith("auth_flat_file.ini:2: the line is ")
    assert SECRET not in str(fault)


@pytest.mark.parametrize("user", ["o'brien@example.com", "jürgen", "влад@пример.test", "हिन्दी", "ann"])
def test_the_name_of_a_user_may_have_an_apostrophe_and_letters_of_all_scripts(user: str) -> None:
    file = ini.parse(f"[users]\n{user}={SECRET}\n", "auth_flat_file.ini")
    assert file.faults == ()
    assert file.as_dict()["users"] == {user: SECRET}
    assert ini.parse(ini.write(file.as_dict()), "again.ini").as_dict() == file.as_dict()
