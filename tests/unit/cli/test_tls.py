"""How `mailboat tls explain` words what was found."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from mailboat.cli.tls import as_json, as_text
from mailboat.config.settings import TlsLevel
from mailboat.model.sts import StsAnswer
from mailboat.model.tls import PolicySource
from mailboat.routing.answers import TlsRequirement, Unroutable
from mailboat.routing.explain import Explanation, HostFinding

HOST = HostFinding("mx.test", 10, addresses=("192.0.2.1", "192.0.2.2"))
FOUND = Explanation("d.test", "", secure=True, sts=None, hosts=(HOST,), unroutable=None, notes=(), failed=False)
BY_CONFIG = PolicySource.CONFIG


@pytest.mark.parametrize(
    ("tls", "words"),
    [
        (TlsRequirement(), "TLS with any certificate if it is offered: nobody demands TLS"),
        (
            TlsRequirement(verify=True, reason="rejectUnauthorized", policy=BY_CONFIG),
            "TLS with a valid certificate if it is offered: rejectUnauthorized",
        ),
        (
            TlsRequirement(TlsLevel.DISABLED, reason="enable_tls is off", policy=BY_CONFIG),
            "TLS is not used: enable_tls is off",
        ),
        (TlsRequirement(TlsLevel.ENCRYPT, reason="DANE: x", policy=PolicySource.DANE), "TLS is demanded: DANE: x"),
        (
            TlsRequirement(TlsLevel.IMPLICIT, reason="route hub", policy=PolicySource.ROUTE),
            "verified TLS is demanded: route hub",
        ),
        (TlsRequirement(refusal="not listed", policy=PolicySource.STS), "not connected to: not listed"),
    ],
)
def test_a_line_says_of_a_host_what_is_demanded_and_by_whom(tls: TlsRequirement, words: str) -> None:
    found = replace(FOUND, hosts=(replace(HOST, tls=tls),))
    assert list(as_text(found)) == [
        "d.test: by MX, authenticated (DNSSEC)",
        f"10 mx.test [192.0.2.1, 192.0.2.2]: {words}",
    ]


def test_json_has_the_same_reason_for_programs() -> None:
    unused = replace(HOST, host="b.test", addresses=(), unused="it has no address")
    (first, second) = as_json(replace(FOUND, hosts=(HOST, unused)))["mx"]
    assert (first["policy"], first["level"], first["verify"], first["reason"], first["used"]) == (
        "none",
        "clear",
        False,
        "nobody demands TLS",
        True,
    )
    assert (second["reason"], second["used"]) == ("it has no address", False)


@pytest.mark.parametrize(("permanent", "what"), [(True, "bounces"), (False, "waits")])
def test_a_domain_without_hosts_says_what_happens_to_its_mail(permanent: bool, what: str) -> None:
    found = replace(FOUND, hosts=(), unroutable=Unroutable(permanent, "4.4.3", "why"), notes=("a note",))
    assert list(as_text(found))[1:] == [f"mail {what}: 4.4.3 why", "note: a note"]
    assert as_json(found)["error"] == "4.4.3 why"


def test_a_domain_without_a_policy_and_mail_by_a_route_are_told_apart() -> None:
    assert list(as_text(replace(FOUND, sts=StsAnswer(inf), hosts=())))[1:] == ["MTA-STS: none"]
    assert list(as_text(replace(FOUND, route="hub", hosts=()))) == ["d.test: by route hub"]
