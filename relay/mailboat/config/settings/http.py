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
        "File with the bearer token that requests to `/v1/` must carry if `listen` is not loopback.",
    )
    read_without_token: bool = setting(
        False,
        values.boolean,
        "Allow reading `/v1/`, senders and recipients included, without the token on a listener that is not loopback. "
        "Changes still require the token.",
        restart=True,
    )
