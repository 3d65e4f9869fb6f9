"""SendingDomains in the files of relays: which keys pods get, which sign, and what the hash covers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.outbound_config import KEY, UID, files, parsed, resolved

from mailboat.config.fault import Report
from mailboat.config.files import GivenFiles
from mailboat.config.parse import settings_of
from mailboat.dkim.keys import Algorithm, SigningKey, make_key, to_pem
from mailboat_operator import names
from mailboat_operator.desired.children import Desired, build
from mailboat_operator.desired.dkim import dkim_secrets
from mailboat_operator.sending.keys import DomainKey, KeyState
from mailboat_operator.sending.signed import SignedDomain, StoredKey, file_name, key_files, signed_domain

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEYS = {name: SigningKey("example.com", name, make_key(Algorithm.ED25519)) for name in ("a", "b")}
STORED: dict[str, StoredKey] = key_files(
    {file_name(name, "example.com"): to_pem(key.private) for name, key in KEYS.items()}
)


def row(selector: str, state: KeyState, **more: Any) -> DomainKey:
    key = KEYS[selector]
    signed = NOW if state not in (KeyState.GENERATED, KeyState.PUBLISHED) else None
    made = DomainKey(selector, key.algorithm, key.record, key.public_hash, NOW, NOW, state, signed=signed)
    return replace(made, **more)


def domain(*rows: DomainKey, hold: bool = True) -> SignedDomain:
    found = signed_domain("example.com", rows, STORED, hold=hold)
    assert found is not None
    return found


def rendered(*domains: SignedDomain) -> Desired:
    spec = parsed({})
    return build(KEY, UID, spec, resolved(spec), bytes(32), domains)


def dkim_ini(*domains: SignedDomain) -> str:
    return files(rendered(*domains))["dkim.ini"].decode()


def test_without_sending_domains_there_is_no_dkim_ini_and_the_hash_is_what_it_was() -> None:
    spec = parsed({})

    assert "dkim.ini" not in files(rendered())
    assert rendered().hash == build(KEY, UID, spec, resolved(spec), bytes(32)).hash


def test_the_hash_names_a_key_that_pods_have_before_it_signs() -> None:
    before = rendered(domain(row("a", KeyState.ACTIVE), row("b", KeyState.GENERATED)))
    after = rendered(domain(row("a", KeyState.ACTIVE), row("b", KeyState.PUBLISHED)))

    assert f"selectors=a {KEYS['a'].public_hash}\n" in files(after)["dkim.ini"].decode()
    assert f"; b._domainkey.example.com {KEYS['b'].public_hash}\n" in files(after)["dkim.ini"].decode()
    assert before.hash != after.hash


@pytest.mark.parametrize("state", KeyState)
def test_pods_get_the_keys_whose_records_the_dns_shows(state: KeyState) -> None:
    given = domain(row("a", state)).files

    assert bool(given) is (state in (KeyState.PUBLISHED, KeyState.ACTIVE, KeyState.RETIRING))


def test_a_domain_without_a_key_that_may_sign_sends_as_before_it_had_any() -> None:
    assert "signing=off" in dkim_ini(domain(row("a", KeyState.GENERATED)))


@pytest.mark.parametrize(("hold", "word"), [(True, "hold"), (False, "off")])
def test_a_domain_that_has_signed_holds_its_mail_or_not_while_no_key_may_sign(hold: bool, word: str) -> None:
    assert f"signing={word}\n" in dkim_ini(domain(row("a", KeyState.REVOKED), row("b", KeyState.PUBLISHED), hold=hold))


def test_another_key_under_the_name_of_one_is_not_given_to_pods() -> None:
    """They would refuse the whole configuration."""
    changed = domain(row("a", KeyState.ACTIVE, public_hash=f"sha256:{'0' * 64}"), row("b", KeyState.ACTIVE))

    assert changed.signing == ("b",)
    assert set(changed.files) == {file_name("b", "example.com")}


def test_a_relay_signs_with_what_is_rendered() -> None:
    contents = files(rendered(domain(row("a", KeyState.ACTIVE), row("b", KeyState.RETIRING))))
    keys = {f"dkim/{name}": content for name, content in contents.items() if name.endswith(".pem")}
    report = Report()

    settings = settings_of(GivenFiles(contents | keys, report), report, host_name="relay.test")

    assert not report.faults
    assert settings.signer is not None
    assert [key.selector for key in settings.signer.keys_for([b"From: joe@example.com\r\n"])] == ["a"]


def test_all_keys_of_a_domain_are_in_one_secret_and_many_domains_share_eight() -> None:
    domains = [SignedDomain(f"d{number}.example", {f"{number}.pem": b"x"}) for number in range(400)]

    secrets = dkim_secrets(domains)

    assert tuple(secrets) == names.DKIM_SECRETS
    assert sum(map(len, secrets.values())) == 400
    assert max(map(len, secrets.values())) < 100
    assert dkim_secrets(domains[:1]) != dkim_secrets(domains[1:2])
