"""Which mail a command is about: how it is written, and what it selects."""

from __future__ import annotations

import pytest
from tests.support.facts import entry, message

from mailboat.config.mail_selection import mail_selection
from mailboat.shaping.effective import Facts


@pytest.mark.parametrize(
    ("said", "is_selected"),
    [
        ({"domain": "Example.NET."}, True),
        ({"domain": ".net"}, True),
        ({"domain": ".example.net"}, False),
        ({"sender": "alice@example.org"}, True),
        ({"sender": "<alice@example.org>"}, True),
        ({"sender": "Alice@example.org"}, False),
        ({"sender": "example.org"}, True),
        ({"sender": "@EXAMPLE.org"}, True),
        ({"sender": ".org"}, True),
        ({"sender": "<>"}, False),
        ({"site": "MX2.example.net"}, True),
        ({"site": "mx3.example.net"}, False),
        ({"provider": "p"}, True),
        ({"provider": "q"}, False),
        ({"source": "default"}, True),
        ({"source": "other"}, False),
        ({"tenant": "default"}, True),
        ({"tenant": "shop"}, False),
        ({"label": "x"}, False),
        ({"domain": "example.net", "provider": "p", "sender": "example.org"}, True),
        ({"domain": "example.net", "provider": "p", "sender": "example.com"}, False),
    ],
)
def test_mail_is_selected_when_all_that_is_given_matches(said: dict[str, str], is_selected: bool) -> None:
    mail = entry(["bob@example.net"], of=message("M-1", sender="alice@example.org"))
    facts = Facts("example.net", ("mx1.example.net", "mx2.example.net"))
    selection = mail_selection(said)
    assert selection.fits(mail, "default", facts, "p") is is_selected
    assert selection.may_fit(mail, "default") or not is_selected


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, "give at least one of domain, provider, site, source, tenant, sender, label"),
        ({"domain": ""}, "domain: must be a string that is not empty"),
        ({"domain": 3}, "domain: must be a string that is not empty"),
        ({"domain": "a b"}, "domain: is not a domain name"),
        ({"sender": "a@b, c@d"}, "sender: "),
        ({"tenant": "a b"}, "tenant: is not the name of a tenant"),
    ],
)
def test_what_selects_nothing_is_refused_by_its_name(said: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match="^" + reason):
        mail_selection(said)
