"""TLS reports of an OutboundConfig: the `tlsrpt.ini` that pods read, and the hash that they report of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.config_directory import Directory
from tests.support.outbound_config import KEY, UID, faults_of, files, parsed, rendered, resolved

from mailboat.config.hash import config_hash
from mailboat.config.settings import Settings, TlsReportSettings
from mailboat_operator.desired.children import build
from mailboat_operator.relay_check import RelayFaults, relay_faults

LEAST = {"organization": "Example; Ltd.", "contact": "tls@example.com"}
ALL = {**LEAST, "from": "postmaster@example.com", "sendingIP": False}


def in_pod(path: Path, spec: dict[str, Any]) -> Settings:
    """What a pod makes of the children of a resource."""
    directory = Directory(path)
    for name, content in files(rendered(spec)).items():
        directory.write(name, content)
    return directory.settings()


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        (LEAST, TlsReportSettings("Example; Ltd.", "tls@example.com")),
        (ALL, TlsReportSettings("Example; Ltd.", "tls@example.com", "postmaster@example.com", sending_ip=False)),
    ],
)
def test_a_pod_reads_the_reports_of_the_resource_and_reports_the_hash_that_the_operator_expects(
    tmp_path: Path, reports: dict[str, Any], expected: TlsReportSettings
) -> None:
    settings = in_pod(tmp_path, {"tlsReports": reports})
    assert settings.tlsrpt == expected
    assert settings.tlsrpt.reports
    assert settings.hash == rendered({"tlsReports": reports}).hash


def test_the_hash_has_the_file_before_that_of_the_tenants(tmp_path: Path) -> None:
    spec = {"tlsReports": LEAST, "tenants": [{"name": "shop"}]}
    desired = rendered(spec)
    found = files(desired)
    expected = config_hash(
        found["outbound.ini"], found["tls.ini"], found["tenants.ini"], dkim=None, tlsrpt=found["tlsrpt.ini"]
    )
    assert desired.hash == expected == in_pod(tmp_path, spec).hash


def test_without_reports_there_is_no_file_and_the_hash_is_what_it_was() -> None:
    desired = rendered({})
    found = files(desired)
    assert "tlsrpt.ini" not in found
    assert desired.hash == config_hash(found["outbound.ini"], found["tls.ini"])


@pytest.mark.parametrize(
    ("reports", "fault"),
    [
        ({}, "spec.tlsReports.organization: is missing"),
        ({"organization": "Example"}, "spec.tlsReports.contact: is missing"),
        ({**LEAST, "from": "postmaster"}, "spec.tlsReports.from: is not a mail address"),
        ({**LEAST, "sendingIP": "maybe"}, "spec.tlsReports.sendingIP: is neither true"),
    ],
)
def test_what_is_wrong_with_reports_is_told_with_its_path(reports: dict[str, Any], fault: str) -> None:
    assert any(found.startswith(fault) for found in faults_of({"tlsReports": reports}))


def test_the_relay_takes_what_is_rendered() -> None:
    spec = parsed({"tlsReports": ALL})
    assert relay_faults(spec, build(KEY, UID, spec, resolved(spec), bytes(32))) == RelayFaults((), ())
