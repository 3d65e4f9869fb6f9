"""The conditions of a SendingDomain: what its keys and their records are judged by, and what the user is told to do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.sending_domain import sending_resource, sending_spec

from mailboat.dkim.keys import Algorithm
from mailboat.dkim.record import Finding, Publication
from mailboat_operator.metrics import NEEDED
from mailboat_operator.sending.keys import DomainKey, KeyState
from mailboat_operator.sending.life import CHECK, KeyPlan
from mailboat_operator.sending.rows import missing_records, read_rows
from mailboat_operator.sending.status import SendingFindings, compute, told_changes

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SPEC = sending_spec(dkim={"algorithms": ["RSA2048"]})
FOUND = Finding(Publication.PUBLISHED)


def row(state: KeyState, selector: str = "mb1", **more: Any) -> DomainKey:
    key = DomainKey(selector, Algorithm.RSA, "v=DKIM1; k=rsa; p=AAAA", "sha256:00", NOW, NOW, state)
    return replace(key, **more)


def status(*rows: DomainKey, old: dict[str, Any] | None = None, **findings: Any) -> dict[str, Any]:
    resource = sending_resource() | {"status": old or {}}
    active = frozenset(key.selector for key in rows if key.state is KeyState.ACTIVE)
    given: dict[str, Any] = {
        "plan": KeyPlan(rows, (), CHECK, unjudged=False),
        "checked": True,
        "signing": (active,),
        **findings,
    }
    return compute(resource, SPEC, SendingFindings(**given), NOW)


def conditions(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in found["conditions"]}


def ready_message(found: dict[str, Any]) -> str:
    return next(str(c["message"]) for c in found["conditions"] if c["type"] == "Ready")


def test_a_key_that_signs_and_whose_record_is_seen_makes_the_domain_ready() -> None:
    found = conditions(status(row(KeyState.ACTIVE), records={"mb1": FOUND}))

    assert (found["KeysReady"], found["RecordsPublished"]) == (("True", "KeysReady"), ("True", "RecordsPublished"))
    assert found["Ready"] == ("True", "Ready")


STEPS = [
    (row(KeyState.GENERATED), timedelta(), "WaitingForRecords"),
    (row(KeyState.PUBLISHED, seen=True, seen_at=NOW), HOUR, "WaitingForCaches"),
    (row(KeyState.PUBLISHED, seen=True, seen_at=NOW - HOUR), HOUR, "WaitingForPods"),
]


@pytest.mark.parametrize(("key", "wait", "reason"), STEPS, ids=[reason for *_, reason in STEPS])
def test_what_the_first_key_waits_for_is_said(key: DomainKey, wait: timedelta, reason: str) -> None:
    found = status(key, waits={"mb1": wait}, records={"mb1": FOUND})

    assert conditions(found)["KeysReady"] == ("False", reason)
    assert conditions(found)["Ready"] == ("False", reason)


def test_a_record_that_is_missing_is_told_with_the_command_that_prints_it() -> None:
    found = status(row(KeyState.GENERATED), records={"mb1": Finding(Publication.MISSING)})

    assert conditions(found)["Ready"] == ("False", "RecordMissing")
    assert "kubectl get sd -n mail example-com -o jsonpath='{range .status.records" in ready_message(found)


WRONG = {
    Publication.MISMATCH: "KeyMismatch",
    Publication.REVOKED: "RecordRevoked",
    Publication.MULTIPLE: "MultipleRecords",
    Publication.UNUSABLE: "RecordUnusable",
}


@pytest.mark.parametrize("publication", WRONG)
def test_what_is_wrong_with_a_record_counts_more_than_one_that_is_missing(publication: Publication) -> None:
    records = {"mb1": Finding(Publication.MISSING), "mb2": Finding(publication, "do this")}

    found = status(row(KeyState.ACTIVE), row(KeyState.GENERATED, "mb2"), records=records)

    assert conditions(found)["RecordsPublished"] == ("False", WRONG[publication])
    assert ready_message(found) == "mb2: do this"


def test_a_revoked_key_whose_record_is_gone_is_no_fault() -> None:
    rows = row(KeyState.ACTIVE), row(KeyState.REVOKED, "mb0")

    found = conditions(status(*rows, records={"mb1": FOUND, "mb0": Finding(Publication.MISSING)}))

    assert found["RecordsPublished"][0] == "True"


def test_a_silent_dns_makes_it_unknown_and_before_it_is_asked_the_last_word_stays() -> None:
    before = status(row(KeyState.ACTIVE), records={"mb1": FOUND})

    silent = status(row(KeyState.ACTIVE), old=before, silence="ns1 does not answer")
    restarted = status(row(KeyState.ACTIVE), old=before, checked=False)

    assert conditions(silent)["RecordsPublished"] == ("Unknown", "DNSUnavailable")
    assert conditions(restarted)["RecordsPublished"] == ("True", "RecordsPublished")


def test_a_status_reads_back_as_the_same_keys() -> None:
    rows = (
        row(KeyState.ACTIVE, seen=True, seen_at=NOW, signed=NOW),
        row(KeyState.RETIRING, "mb0", seen=False, seen_at=NOW, signed=NOW, unused_since=NOW),
        row(KeyState.GENERATED, "theirs", existing=True),
    )

    assert read_rows(status(*rows), "example.com") == rows


@pytest.mark.parametrize("since", ["yesterday", "2026-11-28", "2026-11-28T12:00:00", "", None, 1])
def test_a_damaged_row_is_left_out(since: object) -> None:
    found = status(row(KeyState.ACTIVE), row(KeyState.RETIRING, "mb0"))
    found["keys"][1]["since"] = since

    assert [key.selector for key in read_rows(found, "example.com")] == ["mb1"]


def test_a_time_that_somebody_wrote_with_another_offset_is_the_same_time() -> None:
    found = status(row(KeyState.ACTIVE))
    found["keys"][0]["since"] = "2026-11-28T14:00:00+02:00"

    assert [key.since for key in read_rows(found, "example.com")] == [NOW]


def test_the_record_can_be_pasted_into_a_zone() -> None:
    (record,) = status(row(KeyState.GENERATED))["records"]

    assert record["zoneLine"] == 'mb1._domainkey.example.com. 3600 IN TXT "v=DKIM1; k=rsa; p=AAAA"'


def test_the_same_findings_give_an_equal_status_and_no_event() -> None:
    first = status(row(KeyState.ACTIVE), records={"mb1": FOUND})
    again = status(row(KeyState.ACTIVE), old=first, records={"mb1": FOUND})

    assert again == first
    assert list(told_changes(first, again)) == []


def test_each_step_of_a_key_is_an_event_and_only_trouble_a_warning() -> None:
    before = status(row(KeyState.GENERATED), records={"mb1": Finding(Publication.MISSING)})
    after = status(row(KeyState.ACTIVE), old=before, records={"mb1": FOUND})
    mended = [(reason, warning) for reason, _, warning in told_changes(before, after)]
    broken = [(reason, warning) for reason, _, warning in told_changes(after, before)]

    assert mended == [("KeyActive", False), ("KeysReady", False), ("RecordsPublished", False)]
    assert ("RecordMissing", True) in broken


def test_a_record_is_missing_where_its_key_has_signed_and_the_dns_does_not_show_it() -> None:
    rows = (
        row(KeyState.ACTIVE, seen=False, seen_at=NOW),
        row(KeyState.ACTIVE, "mb2", seen=True, seen_at=NOW),
        row(KeyState.RETIRING, "mb3", seen=False, seen_at=NOW),
        row(KeyState.GENERATED, "mb4", seen=False, seen_at=NOW),
        row(KeyState.ACTIVE, "mb5"),
    )

    assert [missing_records(status(*rows), state) for state in NEEDED] == [1, 1]
    assert missing_records({}, "Active") == 0
