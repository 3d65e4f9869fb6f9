"""The text of MTA-STS (RFC 8461): the TXT record that announces a policy, and the policy.

Pure. `sts_fetch` fetches policies, `sts_cache` remembers them, and `security` applies them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from mailboat.config.hosts import domain_name
from mailboat.model.sts import StsAnswer, StsMode, StsPolicy

MAX_AGE = 31_557_600
"""Upper bound of `max_age` in seconds, one year (RFC 8461 3.2); a larger value counts as this one."""
MAX_MX = 64
"""Maximum of different `mx` lines of a policy."""

_VERSION = "v=STSv1;"
_ID = re.compile(r"[A-Za-z0-9]{1,32}")
_SECONDS = re.compile(r"[0-9]{1,10}")
_WSP = " \t"
_MAX_PATTERN = 256


class StsSyntaxError(ValueError):
    """A policy is invalid. The text is of the relay's own words."""


def record_id(texts: Iterable[str]) -> str:
    """The id in the TXT records of `_mta-sts.DOMAIN`; empty when they announce no policy (RFC 8461 3.1)."""
    records = [text for text in texts if text.startswith(_VERSION)]
    if len(records) != 1:
        return ""
    for field in records[0].split(";")[1:]:
        name, equals, value = field.strip(_WSP).partition("=")
        if name == "id" and equals:
            return value if _ID.fullmatch(value) else ""
    return ""


def read_policy(body: bytes) -> StsPolicy:
    """The policy in the body of an HTTPS answer (RFC 8461 3.2).

    Raises:
        StsSyntaxError: what is wrong with it.
    """
    fields: dict[str, str] = {}
    mx: list[str] = []
    for line in body.decode("utf-8", "replace").split("\n"):
        key, _, value = line.removesuffix("\r").partition(":")
        if key == "mx":
            mx.append(value.strip(_WSP))
        else:
            fields.setdefault(key, value.strip(_WSP))
    if fields.get("version") != "STSv1":
        raise StsSyntaxError("no version: STSv1")
    mode = _mode(fields.get("mode"))
    if mode is not StsMode.NONE and not mx:
        raise StsSyntaxError(f"no mx, with mode: {mode}")
    hosts = tuple(dict.fromkeys(filter(None, map(_pattern, mx))))
    if len(hosts) > MAX_MX:
        raise StsSyntaxError(f"more than {MAX_MX} mx")
    return StsPolicy(mode, _max_age(fields.get("max_age")), hosts)


def refusal(answer: StsAnswer, domain: str, host: str) -> str:
    """Why no mail for a domain may be sent to a host of its MX records; empty if it may (RFC 8461 5)."""
    if answer.pending:
        return f"the MTA-STS policy of {domain} is not fetched yet"
    policy = answer.policy
    if policy is None or policy.mode is not StsMode.ENFORCE or policy.matches(host):
        return ""
    return f"no usable MX by policy (mta-sts: {host} is not listed by {domain})"


def _mode(value: str | None) -> StsMode:
    try:
        return StsMode(value or "")
    except ValueError:
        raise StsSyntaxError("no known mode") from None


def _max_age(value: str | None) -> int:
    if value is None or not _SECONDS.fullmatch(value):
        raise StsSyntaxError("no max_age in seconds")
    return min(int(value), MAX_AGE)


def _pattern(text: str) -> str:
    """An `mx` value, normalised; empty when it cannot match any host, which does not make the policy invalid."""
    wildcard = "*." if text.startswith("*.") else ""
    try:
        return wildcard + domain_name(text.removeprefix(wildcard)) if len(text) <= _MAX_PATTERN else ""
    except ValueError:
        return ""
