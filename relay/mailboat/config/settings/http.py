"""`http.ini`."""

from __future__ import annotations

from dataclasses import dataclass

from mailboat.config import values
from mailboat.config.nouns import Endpoint
from mailboat.config.settings.key import setting


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """`http.ini`: probes, metrics and the admin API."""

    listen: tuple[Endpoint, ...] = setting(
        (Endpoint("127.0.0.1", 9025),), values.endpoints, "Addresses of the admin listener.", restart=True
    )
    token_file: str = setting(
        "",
        values.path,
        "File with the bearer token that calls of `/v1/` must show where `listen` is not loopback.",
    )
    read_without_token: bool = setting(
        False,
        values.boolean,
        "Let every client of a listener that is not loopback read `/v1/`, senders and recipients included; what "
        "changes something asks for the token all the same.",
        restart=True,
    )
