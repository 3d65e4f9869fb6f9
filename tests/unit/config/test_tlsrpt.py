"""`tlsrpt.ini`: when reports are sent, and what is wrong."""

from __future__ import annotations

import pytest
from tests.support.config_directory import Directory

from mailboat.config.hash import config_hash
from mailboat.config.settings import TlsReportSettings
from mailboat.config.show import as_data


def test_without_the_file_nothing_is_counted_or_shown(directory: Directory) -> None:
    settings = directory.settings()
    assert settings.tlsrpt == TlsReportSettings()
    assert not settings.tlsrpt.counts
    assert "tlsrpt.ini" not in as_data(settings)


def test_organization_and_contact_switch_reports_on(directory: Directory) -> None:
    directory.write("tlsrpt.ini", "[main]\norganization=Example Ltd\ncontact=a@example.com\nfrom=tls@example.com\n")
    settings = directory.settings()
    assert settings.tlsrpt == TlsReportSettings("Example Ltd", "a@example.com", "tls@example.com")
    assert (settings.tlsrpt.reports, settings.tlsrpt.counts) == (True, True)
    assert as_data(settings)["tlsrpt.ini"]["main"]["from"] == "tls@example.com"


@pytest.mark.parametrize("given", ["organization", "contact"])
def test_one_of_both_alone_is_a_warning(directory: Directory, given: str) -> None:
    directory.write("tlsrpt.ini", f"[main]\n{given}=Example\n")
    loaded = directory.load()
    assert loaded.settings is not None
    assert not loaded.settings.tlsrpt.counts
    missing = {"organization": "contact", "contact": "organization"}[given]
    assert [str(warning) for warning in loaded.warnings] == [
        f"tlsrpt.ini:2: [main] {given}: no reports are sent, because {missing} is not set"
    ]


def test_the_collector_takes_the_place_of_reports(directory: Directory) -> None:
    directory.write("tlsrpt.ini", "[main]\nsocket=/run/collectd.sock\norganization=E\ncontact=a@example.com\n")
    loaded = directory.load()
    assert loaded.settings is not None
    settings = loaded.settings.tlsrpt
    assert (settings.reports, settings.counts, settings.socket) == (False, True, "/run/collectd.sock")
    assert [str(warning) for warning in loaded.warnings] == [
        "tlsrpt.ini:2: [main] socket: is set, so that the relay itself sends no reports"
    ]


def test_a_relative_socket_is_in_the_configuration_directory(directory: Directory) -> None:
    directory.write("tlsrpt.ini", "[main]\nsocket=collectd.sock\n")
    settings = directory.settings()
    assert settings.tlsrpt.socket == f"{settings.directory}/collectd.sock"


def test_the_hash_is_of_the_file_too(directory: Directory) -> None:
    directory.write("tlsrpt.ini", "[main]\n")
    assert directory.settings().hash == config_hash(None, None, tlsrpt=b"[main]\n") != config_hash(None, None)


def test_what_is_wrong_is_told_with_its_line(directory: Directory) -> None:
    directory.write("tlsrpt.ini", "[main]\nfrom=example.com\ncollect=operator\n")
    assert directory.faults() == [
        "tlsrpt.ini:2: [main] from: is not a mail address such as reports@example.com",
        "tlsrpt.ini:3: [main] collect: is not one of local",
    ]
