"""Access tokens: the request to a token server (RFC 6749), its answer, and the interface of token sources. Pure.

`token_client` sends the request, `tokens` caches tokens; `delivery.attempt` gets a token before it connects. The text
of a failure never has a secret or a token, because it is logged and stored in the queue.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from mailboat.config.settings import OAuthGrant
from mailboat.model.observer import TokenResult

DEFAULT_LIFETIME = 600.0
"""Lifetime of a token in seconds if the server gives no `expires_in`, which RFC 6749 5.1 allows."""
MAX_LIFETIME = 86_400.0
"""Seconds after which a token is always renewed."""
RENEW_AHEAD = 300.0
"""Seconds before its expiry that a token is renewed; a quarter of its lifetime if that is shorter."""

_TOKEN = re.compile(r"[!-~]{1,16384}")  # RFC 6749 A.12, without blanks: RFC 6750 2.1
_ERROR_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class TokenError(Exception):
    """No access token is available; the message says why, for people."""

    def __init__(self, reason: str, result: TokenResult = TokenResult.FAILED, retry_at: float = 0.0) -> None:
        """`retry_at`: the server failed recently and is not asked before this monotonic time."""
        super().__init__(reason)
        self.result = result
        self.retry_at = retry_at


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token and its expiry in monotonic time, which all processes of a machine share."""

    value: str = field(repr=False)
    renew_at: float
    expires_at: float


class TokenSource(Protocol):
    """A source of access tokens."""

    async def token(self, grant: OAuthGrant, refused: str = "") -> AccessToken:
        """A valid token; not `refused`, which a host has just refused, unless no other is available yet.

        Raises:
            TokenError: there is none.
        """


@dataclass(frozen=True, slots=True)
class Granted:
    """The answer of a token server."""

    value: str = field(repr=False)
    lifetime: float
    """Seconds."""
    refresh_token: str = field(default="", repr=False)
    """Replaces the one that was sent (RFC 6749 6); empty: no change."""

    def at(self, now: float) -> AccessToken:
        """The token, if it was requested at `now`."""
        ahead = min(RENEW_AHEAD, self.lifetime / 4)
        return AccessToken(self.value, now + self.lifetime - ahead, now + self.lifetime - ahead / 10)


def form(grant: OAuthGrant, refresh_token: str) -> dict[str, str]:
    """The fields of the request: RFC 6749 4.4.2, or 6 with a refresh token; the client as in RFC 6749 2.3.1."""
    kind = "refresh_token" if refresh_token else "client_credentials"
    fields = {
        "grant_type": kind,
        "refresh_token": refresh_token,
        "client_id": grant.client_id,
        "client_secret": grant.client_secret,
        "scope": grant.scope,
    }
    return {name: value for name, value in fields.items() if value}


def server_of(grant: OAuthGrant) -> str:
    """The token server for people, without the query, which may have secrets."""
    url = urlsplit(grant.token_url)
    return f"{url.scheme}://{url.netloc}{url.path}"


def read_answer(status: int, body: bytes, sent: Mapping[str, str]) -> Granted:
    """Parse the answer to a `form`. Raises TokenError."""
    if 300 <= status <= 399:
        raise TokenError(f"it answered {status}, a redirect, which is not followed")
    answer = _json(body)
    if status != 200:
        code = _error_code(answer.get("error"), sent) if isinstance(answer, dict) else ""
        refused = TokenResult.REFUSED if 400 <= status <= 499 else TokenResult.FAILED
        raise TokenError(f"it answered {status}" + f" ({code})" * bool(code), refused)
    if not isinstance(answer, dict):
        raise TokenError("its answer is not a JSON object")
    token, kind = answer.get("access_token"), answer.get("token_type", "Bearer")
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        raise TokenError("its answer has no usable access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":  # RFC 6749 7.1: other types are not supported
        raise TokenError("its token_type is not Bearer")
    renewed = answer.get("refresh_token")
    return Granted(token, _lifetime(answer.get("expires_in")), renewed if isinstance(renewed, str) else "")


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _error_code(code: object, sent: Mapping[str, str]) -> str:
    """RFC 6749 5.2's error code; empty for anything else, and if it contains a secret that was sent."""
    if not isinstance(code, str) or not _ERROR_CODE.fullmatch(code):
        return ""
    secrets = [sent[name] for name in ("client_secret", "refresh_token") if name in sent]
    return "" if any(code in secret or secret in code for secret in secrets) else code


def _lifetime(seconds: object) -> float:
    """`expires_in`, which some servers send as a string."""
    try:
        lifetime = float(seconds) if isinstance(seconds, int | float | str) else DEFAULT_LIFETIME
    except (ValueError, OverflowError):
        lifetime = DEFAULT_LIFETIME
    if not math.isfinite(lifetime) or lifetime <= 0:
        lifetime = DEFAULT_LIFETIME
    return min(lifetime, MAX_LIFETIME)
