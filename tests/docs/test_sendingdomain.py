"""docs/sendingdomain.md says what the code does: conditions and reasons."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.named_tests import rows_with_tests

from mailboat_operator.checks import RefReason
from mailboat_operator.sending.dmarc import dmarc_verdict
from mailboat_operator.sending.spf import SpfReason
from mailboat_operator.sending.status import SendingCondition, SendingReason

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sendingdomain.md").read_text()


def test_the_page_explains_every_reason_of_a_sending_domain_and_no_other() -> None:
    told = re.findall(r"^\| (?:`(\w+)`)? ?\| (?:True|False|Unknown) \| `(\w+)` \|", PAGE, re.MULTILINE)

    secrets = {RefReason.SECRET_NOT_FOUND, RefReason.SECRET_NOT_ALLOWED, RefReason.KEY_NOT_FOUND}
    dmarc = {dmarc_verdict(texts).reason for texts in ("", (), ("v=DMARC1; p=none",), ("v=DMARC1; p=none",) * 2)}
    assert {reason for _, reason in told} == {*SendingReason, *secrets, *SpfReason, *dmarc, "NoOperator"}
    assert [condition for condition, _ in told if condition] == list(SendingCondition)


def test_each_row_about_failures_names_tests_that_exist() -> None:
    assert len(rows_with_tests(PAGE)) >= 12
