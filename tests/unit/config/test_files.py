"""The same files make the same settings, whether they are in a directory or in memory."""

from __future__ import annotations

from pathlib import Path

from tests.support.pem import self_signed

from mailboat.config.fault import Report
from mailboat.config.files import ConfigFiles, GivenFiles
from mailboat.config.parse import settings_of
from mailboat.config.settings import Settings
from mailboat.loading.directory import ConfigDirectory

KEY, CERTIFICATE = self_signed("relay.example.com")
GOOD = {
    "me": "relay.example.com\n",
    "smtp.ini": "listen=127.0.0.1:2525\nsmtps_listen=127.0.0.1:4650\n",
    "http.ini": "token_file=token\n",
    "token": "t0ken\n",
    "outbound.ini": "concurrency_max=7\n[route:a]\ndomains=*\nhosts=smtp.example.net\nca=roots.pem\n",
    "roots.pem": CERTIFICATE.decode(),
    "tls.ini": "key=tls.key\ncert=tls.crt\n",
    "tls.key": KEY.decode(),
    "tls.crt": CERTIFICATE.decode(),
    "relay_acl_allow": "192.0.2.0/24\n",
    "senders_allow": "example.com\n",
    "outbound.bounce_message": "{no_such_word}\n",
    "plugins": "headers\n",
}
BAD = {
    "smtp.ini": "listen=\nlisten\n",
    "outbound.ini": "queue_dir=.\n[route:a]\ndomains=*\nhosts=h.example\nauth_user=u\nca=tls.key\n",
    "tls.ini": "key=tls.key\ncert=missing\n",
    "tls.key": KEY.decode(),
    "relay_acl_allow": "everybody\n",
    "plugins": "_hashing\nheaders\nheaders\n",
    "plugin_timeout": "soon\n",
}


def both(tmp_path: Path, contents: dict[str, str]) -> tuple[tuple[Settings, Report], tuple[Settings, Report]]:
    """What is read of a directory that has these files, and of their octets alone."""
    directory = tmp_path / "config"
    directory.mkdir()
    for name, text in contents.items():
        (directory / name).write_text(text)
    on_disk, given = Report(), Report()
    octets = {name: text.encode() for name, text in contents.items()}
    return (
        read(ConfigDirectory(directory, on_disk), on_disk),
        read(GivenFiles(octets, given, str(directory)), given),
    )


def read(files: ConfigFiles, report: Report) -> tuple[Settings, Report]:
    return settings_of(files, report, host_name="pod.example.com"), report


def test_given_octets_make_the_settings_that_a_directory_makes(tmp_path: Path) -> None:
    on_disk, given = both(tmp_path, GOOD)

    assert given == on_disk
    assert given[1].faults == []
    assert given[0].outbound.concurrency_max == 7
    assert [warning.file for warning in given[1].warnings] == ["outbound.bounce_message"]


def test_given_octets_have_the_faults_that_a_directory_has(tmp_path: Path) -> None:
    on_disk, given = both(tmp_path, BAD)

    assert given[1] == on_disk[1]
    assert {fault.file for fault in given[1].faults} == {*BAD} - {"tls.key"}
    assert [fault.file for fault in given[1].tolerated] == ["plugins"]


def test_the_name_of_the_host_and_the_queue_directory_are_arguments() -> None:
    report = Report()

    settings = settings_of(GivenFiles({}, report), report, host_name="pod.example.com", queue_dir="/var/queue")

    assert (settings.me, settings.outbound.queue_dir, report.faults) == ("pod.example.com", "/var/queue", [])
