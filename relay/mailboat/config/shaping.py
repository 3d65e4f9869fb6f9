"""Makes a table of limits and rules from `shaping.ini` and the built-in table. Pure; called by `parse`.

Unlike in other files, unknown keys and sections are faults: a limit that nobody reads would be missed too late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any

from mailboat.config import ini, providers
from mailboat.config.fault import Fault, Report
from mailboat.config.ini import MAIN, IniFile
from mailboat.config.sections import nearest, read_section
from mailboat.config.settings import OutboundSettings
from mailboat.config.settings.shaping import (
    INTERVALS,
    TIMEOUTS,
    WINDOW,
    BuiltinRules,
    ProviderSettings,
    RuleSettings,
    ScopeSettings,
    ShapingSettings,
    ShapingTable,
)
from mailboat.config.shaping_values import NAME, Unset, scope
from mailboat.shaping.limits import NOT_OBEYED, Limit
from mailboat.shaping.rules import ACTED_ON, ACTED_ON_PER, ActionKind, Rule, faults_of
from mailboat.shaping.scopes import DEFAULT_SOURCE, Scope, ScopeKind
from mailboat.shaping.table import BUILTIN, LimitTable, Provider, Said, SaidAt, Section

FILE = "shaping.ini"
RULE = "rule:"
_LATER = frozenset({"net"})
"""Names of keys to come: what is not obeyed is refused."""
_IN_OUTBOUND = {
    "messages_per_connection": "connection_max_messages",
    "connection_idle_timeout": "connection_idle_timeout",
    "inet": "inet_prefer",
    INTERVALS: INTERVALS,
    **{name: name for name in TIMEOUTS},
}
"""Properties that outbound.ini has as well: what is said there counts more than the built-in table."""
_FOREVER = frozenset({ActionKind.RETRY, ActionKind.DEFER, ActionKind.FAIL, ActionKind.ALERT})
"""What is done once, so that nothing has to end."""


@dataclass(frozen=True, slots=True)
class ShapingFile:
    """One file, or the built-in table: what it says, not yet merged."""

    settings: ShapingSettings
    sections: Mapping[Scope, Section]
    """With `Unset` among the values."""
    replaced: frozenset[Scope]
    """Sections that take nothing over."""
    providers: Mapping[str, Provider]
    rules: tuple[Rule, ...]


def read_shaping(file: IniFile, outbound: IniFile, settings: OutboundSettings, report: Report) -> LimitTable:
    """The table in force; faults are added to the report. `outbound`: outbound.ini, with its `settings`."""
    given = _read(file, report)
    report.faults += _section_faults(file, given, settings)
    report.warnings += _warnings(file, given)
    if given.settings.table is ShapingTable.NONE:
        base = ShapingFile(ShapingSettings(), {}, frozenset(), {}, ())
    else:
        base = builtin()
    overruled = {key for key, name in _IN_OUTBOUND.items() if outbound.get(MAIN, name)}
    sections: dict[Scope, dict[str, Said]] = {
        where: {key: said for key, said in section.items() if key not in overruled}
        for where, section in base.sections.items()
        if where not in given.replaced
    }
    for where, section in given.sections.items():
        merged = {**sections.get(where, {}), **section}
        sections[where] = {key: said for key, said in merged.items() if said.value is not Unset.UNSET}
    named = _merged_providers(base, given)
    if given.providers:  # the built-in table has no faults of its own, and looking for them takes milliseconds
        report.faults += _provider_faults(file, named)
    known = {provider.name for provider in named}
    ours = [rule for rule in base.rules if _counts(rule, given.settings.rules)]
    names = {rule.name for rule in given.rules}
    kept = (rule for rule in ours if rule.name not in names and all(where.name in known for where in rule.on))
    return LimitTable(sections, named, (*given.rules, *kept))


def retry_plans(table: LimitTable) -> list[tuple[float, ...]]:
    """All `temp_fail_intervals` of a table."""
    if not table.says(INTERVALS):
        return []
    return [section[INTERVALS].value for section in table.sections.values() if INTERVALS in section]


def settings_of(file: IniFile, report: Report) -> ShapingSettings:
    """`[main]`."""
    return ShapingSettings(**_values(file, MAIN, ShapingSettings, report))


@cache
def builtin() -> ShapingFile:
    """The built-in table."""
    report = Report()
    found = _read(ini.parse(providers.TABLE, BUILTIN), report, notes=(providers.ABOUT,))
    assert not report.faults, [str(fault) for fault in report.faults]
    return found


def _counts(rule: Rule, wanted: BuiltinRules) -> bool:
    if wanted is BuiltinRules.FIRST_HAND:
        return rule.name in providers.FIRST_HAND
    return wanted is BuiltinRules.ALL


def _read(file: IniFile, report: Report, notes: Iterable[str] = ()) -> ShapingFile:
    """What a file says. `notes`: keys for people."""
    sections: dict[Scope, Section] = {}
    named: dict[str, Provider] = {}
    rules = []
    replaced = set()
    for section, line in file.sections.items():
        if section == MAIN:
            continue
        if section.startswith(RULE):
            rules.append(_rule(file, section, report, notes))
            continue
        try:
            where = scope(section)
        except ValueError as error:
            known = (*(f"{kind}:" for kind in list(ScopeKind)[1:]), RULE, "default", MAIN)
            message = f"unknown section: {error}{nearest(section, known)}"
            report.faults.append(Fault(file.file, line, section, "", message))
            continue
        is_provider = where.kind is ScopeKind.PROVIDER and not where.source
        kind = ProviderSettings if is_provider else ScopeSettings
        values = _values(file, section, kind, report, notes)
        if values.pop("replace", False):
            replaced.add(where)
        if is_provider:
            lists = (values.pop(name, ()) for name in ("mx", "domain", "sample_mx"))
            named[where.name] = Provider(where.name, *lists)
        if where in sections:
            report.faults.append(Fault(file.file, line, section, "", "is the same section as one before"))
        sections[where] = {key: Said(value, _said_at(file, section, key)) for key, value in values.items()}
    return ShapingFile(settings_of(file, report), sections, frozenset(replaced), named, tuple(rules))


def _said_at(file: IniFile, section: str, key: str) -> SaidAt:
    entry = file.get(section, key)
    return SaidAt(file.file, entry.line if entry else 0, section)


def _values(file: IniFile, section: str, kind: type, report: Report, notes: Iterable[str] = ()) -> dict[str, Any]:
    """The values of a section, by field; an unknown key is a fault."""
    found = Report()
    values = read_section(file, section, kind, found)
    for fault in found.warnings:
        if fault.key in notes:
            continue
        if fault.key in _LATER:
            report.faults.append(replace(fault, message="is not obeyed yet: remove it"))
        else:
            report.faults.append(fault)
    report.faults += found.faults
    return values


def _rule(file: IniFile, section: str, report: Report, notes: Iterable[str]) -> Rule:
    name = section.removeprefix(RULE)
    if not NAME.fullmatch(name):
        report.faults.append(file.fault(section, "", "does not name a rule: letters, digits, `.`, `_` and `-`"))
    said = RuleSettings(**_values(file, section, RuleSettings, report, notes))
    given = {entry.key for entry in file.of(section)}
    for key in ("reply", "action"):
        if key not in given and not (key == "reply" and "regex" in given):
            report.faults.append(file.fault(section, key, f"is missing: write {key}[]="))
    if "for" not in given and any(action.kind not in _FOREVER for action in said.action):
        report.faults.append(file.fault(section, "for", "is missing: how long it holds"))
    return Rule(
        name=name,
        on=said.on,
        replies=(*said.reply, *said.regex),
        actions=said.action,
        samples=said.sample,
        others=said.others,
        stages=said.stage,
        trigger=said.trigger,
        per=said.per,
        spans=said.spans,
        recover=said.recover,
    )


def _merged_providers(base: ShapingFile, given: ShapingFile) -> tuple[Provider, ...]:
    """The providers of both. One that is replaced by nothing does not exist."""
    merged = dict(base.providers)
    for name, provider in given.providers.items():
        before = merged.get(name)
        if before is None or Scope(ScopeKind.PROVIDER, name) in given.replaced:
            before = Provider(name)
        merged[name] = Provider(
            name,
            provider.mx or before.mx,
            provider.domains or before.domains,
            provider.samples or before.samples,
        )
    # `replace=true` alone removes a provider of the built-in table; one that is new and empty is a fault.
    empty = {name for name in base.providers if not merged[name].mx and not merged[name].domains}
    return tuple(provider for name, provider in merged.items() if name not in empty)


def _provider_faults(file: IniFile, named: Iterable[Provider]) -> Iterator[Fault]:
    """What samples show to be wrong with providers, and what belongs to two of them."""
    all_of_them = tuple(named)
    for provider in all_of_them:
        section = f"{ScopeKind.PROVIDER}:{provider.name}"
        if not provider.mx and not provider.domains:
            yield file.fault(section, "mx", "is missing: a provider needs mx[] or domain[]")
        if provider.mx and not provider.samples:
            yield file.fault(section, "sample_mx", "is missing: a provider needs the MX hosts of one of its domains")
        alone = LimitTable(providers=(provider,))
        for sample in provider.samples:
            if not alone.provider_of("", sample):
                yield file.fault(section, "sample_mx", f"{', '.join(sample)}: not all are in mx")
    for one, other in combinations(all_of_them, 2):
        both = {*one.mx, *one.domains} & {*other.mx, *other.domains}
        both.update(_of_two(one, other))
        if both:
            # At the one that the file has: the built-in table has no faults of its own.
            first, second = (one, other) if file.sections.get(f"provider:{one.name}") else (other, one)
            message = f"{min(both)} belongs to [provider:{second.name}] too"
            yield file.fault(f"provider:{first.name}", "mx", message)


def _of_two(one: Provider, other: Provider) -> Iterator[str]:
    """Hosts in the samples of one that are the other's as well, by a pattern that is not more specific."""
    for provider, beside in ((one, other), (other, one)):
        together = LimitTable(providers=(provider, beside))
        for host in {host for sample in provider.samples for host in sample}:
            if together.provider_of("", (host,)) != provider.name:
                yield host


def _section_faults(file: IniFile, given: ShapingFile, settings: OutboundSettings) -> Iterator[Fault]:
    """Sections about what does not exist, and rules whose samples show a mistake."""
    known = {*given.providers, *(builtin().providers if given.settings.table is ShapingTable.BUILTIN else ())}
    routes = {route.name for route in settings.routes}
    for section, line in file.sections.items():
        if section == MAIN or section.startswith(RULE):
            continue
        try:
            where = scope(section)
        except ValueError:
            continue  # a fault already
        if why := _unknown(where, known, routes):
            yield Fault(file.file, line, section, "", why)
    for where, keys in given.sections.items():
        if where.kind is ScopeKind.DOMAIN and WINDOW in keys:
            message = "is about the hosts that domains share: write it in [site:HOST], where HOST is one of them"
            yield file.fault(str(where), WINDOW, message)
    for rule in given.rules:
        for where in rule.on:
            if why := _unknown(where, known, routes):
                yield file.fault(f"{RULE}{rule.name}", "on", f"{where}: {why}")
        if rule.replies:
            for key, why in faults_of(rule, given.rules):
                yield file.fault(f"{RULE}{rule.name}", key, why)


def _unknown(where: Scope, known: Iterable[str], routes: Iterable[str]) -> str:
    if where.source and where.source != DEFAULT_SOURCE:
        return f"there is no source {where.source}: `{DEFAULT_SOURCE}` is the one that there is"
    if where.kind is ScopeKind.PROVIDER and where.name not in known:
        return f"there is no provider {where.name}{nearest(where.name, known)}"
    if where.kind is ScopeKind.ROUTE and where.name not in routes:
        return f"outbound.ini has no [route:{where.name}]{nearest(where.name, routes)}"
    return ""


def _warnings(file: IniFile, given: ShapingFile) -> Iterator[Fault]:
    """What is not obeyed yet, and what probably is a mistake."""
    of_providers = {name: provider.name for provider in given.providers.values() for name in provider.domains}
    for section in given.sections.values():
        for key, said in section.items():
            if isinstance(said.value, Limit) and said.value.per in NOT_OBEYED:
                message = f"is checked and shown, but delivery does not obey limits per {said.value.per} yet"
                yield file.fault(said.said_at.section, key, message)
    for where in given.sections:
        if where.kind is ScopeKind.DOMAIN and where.name in of_providers:
            message = f"belongs to [provider:{of_providers[where.name]}], whose limits hold as well"
            yield file.fault(str(where), "", message)
    for rule in given.rules:
        for action in rule.actions:
            if action.kind not in ACTED_ON:
                message = f"{action}: is checked, but delivery does not do it yet"
                yield file.fault(f"{RULE}{rule.name}", "action", message)
        if rule.recover is not None:
            yield file.fault(f"{RULE}{rule.name}", "recover", "is checked, but no rule has steps back yet")
        for per in sorted(rule.per - ACTED_ON_PER):
            yield file.fault(f"{RULE}{rule.name}", "per", f"{per}: is checked, but such a rule suspends nothing yet")
