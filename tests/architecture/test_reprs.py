"""The repr of an object goes into logs and tracebacks: it shows no octets of a message."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator

import mailboat

PACKAGES = ("cli", "delivery", "hooks", "ingress", "message", "model", "queue", "smtp", "submission")
"""Where messages are handled."""
HOLDS_OCTETS = re.compile(r"\b(bytes|bytearray|memoryview|Body)\b")
NO_MESSAGE = {
    "SaslCredentials.ticket",
    "Envelope.mail",
    "Envelope.rcpts",
    "Image.base64",
    "Preparation.date",
    "Preparation.removed",
    "Preparation.trace",
    "MailTransaction._date",
}
"""Octets that no client sent as a message."""


def dataclasses_of_the_relay() -> Iterator[type]:
    for module in pkgutil.walk_packages(mailboat.__path__, "mailboat."):
        if module.name.split(".")[1] not in PACKAGES:
            continue
        for _, found in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if dataclasses.is_dataclass(found) and found.__module__ == module.name:
                yield found


def test_no_repr_shows_the_octets_of_a_message() -> None:
    shown = {
        f"{kind.__name__}.{field.name}"
        for kind in dataclasses_of_the_relay()
        for field in dataclasses.fields(kind)
        if field.repr and HOLDS_OCTETS.search(str(field.type)) and not str(field.type).startswith("Callable")
    }
    assert shown - NO_MESSAGE == set()
