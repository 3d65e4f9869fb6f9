"""The commands of an envelope."""

from __future__ import annotations

from tests.support.attempts import make_entry

from mailboat.delivery.envelope import envelope_for
from mailboat.delivery.offers import PeerOffers
from mailboat.model.address import NULL_SENDER, Address
from mailboat.model.envelope import Message, Recipient

UMLAUT = Address("jürgen", "bücher.test", "xn--bcher-kva.test")


def message(sender: Address = NULL_SENDER, *, smtputf8: bool = False) -> Message:
    """A message of 7 octets."""
    return Message("id", sender, 7, 0.0, {"SMTPUTF8": ""} if smtputf8 else {})


def test_commands_carry_what_was_offered() -> None:
    entry = make_entry("a@there.test", "b@there.test", parameters={"SMTPUTF8": "", "BODY": "8BITMIME"})
    offers = PeerOffers({"SIZE": "", "8BITMIME": "", "SMTPUTF8": ""})
    envelope = envelope_for(entry.message, entry.recipients, offers, 0.0)

    assert envelope.mail == b"MAIL FROM:<sender@here.test> SIZE=29 BODY=8BITMIME SMTPUTF8"
    assert envelope.rcpts == [b"RCPT TO:<a@there.test>", b"RCPT TO:<b@there.test>"]


def test_an_international_domain_goes_as_a_labels_without_smtputf8_and_as_is_with_it() -> None:
    people = [Recipient(1, UMLAUT)]

    assert envelope_for(message(), people, PeerOffers(), 0.0).rcpts == ["RCPT TO:<jürgen@xn--bcher-kva.test>".encode()]
    with_utf8 = envelope_for(message(smtputf8=True), people, PeerOffers({"SMTPUTF8": ""}), 0.0)
    assert with_utf8.rcpts == ["RCPT TO:<jürgen@bücher.test>".encode()]


def test_a_final_dot_of_the_domain_is_not_passed_on() -> None:
    people = [Recipient(1, Address("r", "example.net.", "example.net"))]
    assert envelope_for(message(), people, PeerOffers(), 0.0).rcpts == [b"RCPT TO:<r@example.net>"]
    with_utf8 = envelope_for(message(smtputf8=True), people, PeerOffers({"SMTPUTF8": ""}), 0.0)
    assert with_utf8.rcpts == [b"RCPT TO:<r@example.net>"]
