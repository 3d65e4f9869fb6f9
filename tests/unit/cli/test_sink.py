"""A line of `mailboat sink` says what came, and the scenarios in a cluster read it so."""

from __future__ import annotations

import pytest
from tests.e2e import sink

from mailboat.cli.sink import SinkMail, line_of


@pytest.mark.parametrize("tls", ["", "TLSv1.3"])
@pytest.mark.parametrize("subject", ["hi", "it's", 'a "b" -> c'])
def test_a_line_of_the_sinks_log_is_read_as_it_was_meant(tls: str, subject: str) -> None:
    body = f"Subject: {subject}\r\n\r\n.\r\n".encode()
    mail = SinkMail("a@b.test", "10.91.0.3", "relay-0.test", tls, ["c@d.test", "e@f.test"], body)
    read = sink.parsed(line_of(mail, 1_700_000_000.0))
    assert read == sink.Delivery(
        "a@b.test", ("c@d.test", "e@f.test"), len(body), "relay-0.test", "10.91.0.3", tls, subject
    )
