"""`mailboat queue suspend`, `resume`, `suspensions`, `bounce` and `reroute`, by the admin API of a running relay.

Commands of `cli.queue`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import Parameter

from mailboat.cli.queue import guarded, http_settings
from mailboat.cli.queue_source import Api
from mailboat.shaping.directive import DirectiveVerb

_Config = Annotated[Path, Parameter(help="The configuration directory of the relay.")]
_Reason = Annotated[str, Parameter(help="Why, for people.")]
_Json = Annotated[bool, Parameter(help="Print JSON, one object a line.")]
_HERE = Path()


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class SelectedMail:
    """The options that select mail; at least one, and all given ones must match."""

    domain: Annotated[str, Parameter(help="Mail to this domain; `.NAME`: below it.")] = ""
    provider: Annotated[str, Parameter(help="Mail to this provider of shaping.ini.")] = ""
    site: Annotated[str, Parameter(help="Mail to domains with this MX host.")] = ""
    source: Annotated[str, Parameter(help="Mail from this source.")] = ""
    tenant: Annotated[str, Parameter(help="Mail of this tenant; `default`: mail that belongs to no other.")] = ""
    sender: Annotated[str, Parameter(help="Mail from an address, a domain, `.NAME` below it, or `<>`.")] = ""
    label: Annotated[str, Parameter(help="Mail with this label.")] = ""

    @property
    def said(self) -> Mapping[str, object]:
        """The options that are given."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in named.items() if value}


_NONE = SelectedMail()


def bounce(
    *, reason: _Reason, config: _Config = _HERE, mail: SelectedMail = _NONE, no_dsn: bool = False, json: _Json = False
) -> int:
    """Bounce the selected mail that is queued now.

    Mail that is being attempted is bounced when the attempt ends without delivering it; it is not counted.

    Parameters
    ----------
    no_dsn
        Send no bounce messages.
    """
    return _apply(DirectiveVerb.BOUNCE, config, {**mail.said, "reason": reason, "dsn": not no_dsn}, json=json)


def reroute(
    *, route: str, reason: _Reason, config: _Config = _HERE, mail: SelectedMail = _NONE, json: _Json = False
) -> int:
    """Have the selected mail that is queued now go by a route, and attempt it now.

    Mail that is being attempted is rerouted when the attempt ends without delivering it; it is not counted.

    Parameters
    ----------
    route
        The name of a `[route]` in outbound.ini.
    """
    return _apply(DirectiveVerb.REROUTE, config, {**mail.said, "reason": reason, "route": route}, json=json)


def suspend(
    *,
    for_: Annotated[str, Parameter(name="--for", help="How long, such as 15m, 2h or 1d.")],
    reason: _Reason,
    config: _Config = _HERE,
    mail: SelectedMail = _NONE,
    json: _Json = False,
) -> int:
    """Suspend the selected mail, queued and still to come."""

    def body() -> int:
        one = Api(http_settings(config)).suspend({**mail.said, "for": for_, "reason": reason})
        print(orjson.dumps(one).decode() if json else one["id"])
        return os.EX_OK

    return guarded(body)


def resume(
    id: Annotated[str, Parameter(help="The id of a suspension.")],  # noqa: A002 - the field's word
    *,
    config: _Config = _HERE,
    json: _Json = False,
) -> int:
    """End a suspension."""

    def body() -> int:
        Api(http_settings(config)).resume(id)
        print(orjson.dumps({"id": id}).decode() if json else f"{id} resumed")
        return os.EX_OK

    return guarded(body)


def suspensions(*, config: _Config = _HERE, json: _Json = False) -> int:
    """List the suspensions in force."""

    def body() -> int:
        for one in Api(http_settings(config)).suspensions():
            print(orjson.dumps(one).decode() if json else _line(one))
        return os.EX_OK

    return guarded(body)


def _line(one: Mapping[str, str]) -> str:
    said = ", ".join(f"{name} {one[name]}" for name in SelectedMail.__annotations__ if name in one)
    return f"{one['id']}  until {one['until']}  {said}: {one['reason']}"


_DONE = {DirectiveVerb.BOUNCE: "bounced", DirectiveVerb.REROUTE: "rerouted"}


def _apply(verb: DirectiveVerb, config: Path, wanted: Mapping[str, object], *, json: bool) -> int:
    def body() -> int:
        count = Api(http_settings(config)).direct(verb, wanted)
        print(orjson.dumps({"count": count}).decode() if json else f"{count} {_DONE[verb]}")
        return os.EX_OK

    return guarded(body)
