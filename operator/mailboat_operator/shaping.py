"""`spec.shaping` as the sections of `shaping.ini`. Pure; `spec` calls `read_shaping`.

Each value goes through the relay's own parser. What only the whole table shows (samples, sections that do not exist) is
for `relay_check` to find, which gets the path of each section from here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mailboat.config import ini
from mailboat.config.fault import Fault
from mailboat.config.ini import MAIN, Section
from mailboat.config.settings import NamedKey, keys_of
from mailboat.config.settings.shaping import BuiltinRules, ProviderSettings, RuleSettings, ShapingSettings
from mailboat.config.shaping import RULE
from mailboat.config.shaping_values import NAME, scope
from mailboat.config.text import quoted
from mailboat.shaping.limits import Each, LimitKey, Per
from mailboat.shaping.rules import ActionKind, RulePer, RuleStage
from mailboat.shaping.scopes import SOURCE, ScopeKind
from mailboat_operator import fields
from mailboat_operator.reader import SpecReader

PATH = "spec.shaping"
COMPARISONS_MAX = 5_000_000
"""Patterns times characters of samples: what the operator compares is bounded, whoever writes the resource."""

_KEYS: Mapping[type, Mapping[str, NamedKey]] = {
    kind: {key.ini: key for key in keys_of(kind)} for kind in (ShapingSettings, ProviderSettings, RuleSettings)
}
_RULES = {"FirstHand": BuiltinRules.FIRST_HAND, "All": BuiltinRules.ALL, "None": BuiltinRules.NONE}
_SCOPES = {kind.value.title(): kind for kind in ScopeKind}
_PER = {per.value.title(): per for per in Per}
_EACH = {each.value.title(): each for each in Each}
_RULE_PER = {per.value.title(): per for per in RulePer}
_STAGES = {
    **{stage.value.title(): stage for stage in RuleStage if stage is not RuleStage.STARTTLS},
    "StartTLS": RuleStage.STARTTLS,
}
_ACTIONS = {kind.value.title().replace("_", ""): kind for kind in ActionKind}


@dataclass(frozen=True, slots=True)
class ShapingSpec:
    """The file, and where its sections stand in the resource."""

    sections: Mapping[str, Section]
    places: Mapping[str, tuple[tuple[str, Mapping[str, str]], ...]] = field(default_factory=dict)
    """Section -> the objects that it is from: path, and fields by key."""

    def told(self, fault: Fault) -> str:
        """A fault of the file by what it is about in the resource."""
        message = fault.message
        if fault.section.startswith(RULE):
            message = f"{message} (rule {fault.section.removeprefix(RULE)})"
        places = self.places.get(fault.section, ())
        for path, names in places:
            if fault.key in names:
                return f"{path}.{names[fault.key]}: {message}"
        return f"{places[0][0] if places else PATH}: {message}"


def read_shaping(reader: SpecReader | None) -> ShapingSpec | None:
    """What the object says; None: nothing, not even that there is a file."""
    return None if reader is None else _Shaping(reader).read()


class _Shaping:
    """Collects sections and their places."""

    def __init__(self, reader: SpecReader) -> None:
        self._reader = reader
        self._sections: dict[str, dict[str, str | tuple[str, ...]]] = {}
        self._places: dict[str, list[tuple[str, Mapping[str, str]]]] = {}

    def read(self) -> ShapingSpec:
        reader = self._reader
        main = self._section(MAIN, reader, fields.SHAPING)
        if reader.has("table"):
            main["table"] = _checked(reader, "table", ShapingSettings, "table", reader.text("table").lower())
        main["rules"] = reader.word("rulesFrom", _RULES, BuiltinRules.FIRST_HAND).value
        for provider in reader.children("providers"):
            self._provider(provider)
        for number, each in enumerate(reader.children("scopes")):
            self._scope(each, number)
        for rule in reader.children("rules"):
            self._rule(rule)
        self._bound()
        places = {section: tuple(found) for section, found in self._places.items()}
        return ShapingSpec(self._sections, places)

    def _section(self, section: str, reader: SpecReader, names: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
        self._places.setdefault(section, []).append((reader.path, names))
        return self._sections.setdefault(section, {})

    def _named(self, prefix: str, reader: SpecReader, names: Mapping[str, str]) -> dict[str, str | tuple[str, ...]]:
        """The section of an object that has a name of its own."""
        name = reader.text("name")
        if not NAME.fullmatch(name):
            reader.fault("name", f"{quoted(name)} is not a name: letters, digits, `.`, `_` and `-`")
        elif f"{prefix}{name}" in self._sections:
            reader.fault("name", f"another one is {quoted(name)}, too")
        return self._section(f"{prefix}{name}", reader, names)

    def _provider(self, reader: SpecReader) -> None:
        keys = self._named(f"{ScopeKind.PROVIDER}:", reader, fields.SHAPING_PROVIDER)
        for key in ("mx", "domain"):
            _put(keys, key, tuple(_listed(reader, fields.SHAPING_PROVIDER[key], ProviderSettings, key, one=True)))
        _put(keys, "sample_mx", tuple(_sites(reader)))

    def _scope(self, reader: SpecReader, number: int) -> None:
        section = _scope_name(reader)
        own = {**fields.SHAPING_SCOPE, **{key: f"limits.{name}" for key, name in fields.SHAPING_LIMITS.items()}}
        if any(path.startswith(f"{PATH}.scopes[") for path, _ in self._places.get(section, ())):
            reader.fault("", f"scopes before number {number} have [{section}], too")
        keys = self._section(section, reader, own)
        if limits := reader.child("limits"):
            for key, name in fields.SHAPING_LIMITS.items():
                if limit := limits.child(name):
                    keys[key] = _checked(limits, name, ProviderSettings, key, _limit(limit, LimitKey(key)))
        for key, name in fields.SHAPING_SCOPE.items():
            if reader.has(name) and not (key == "replace" and reader.raw(name) is False):
                keys[key] = _checked(reader, name, ProviderSettings, key, _plain(reader, name))
        by_field = {name: key for key, name in {**fields.SHAPING_LIMITS, **fields.SHAPING_SCOPE}.items()}
        for where, name in reader.texts("unset"):
            key = by_field.get(name, "")
            if not key or key == "replace":
                reader.fault(where, f"{quoted(name)} is not the name of a limit or of a property")
            elif key in keys:
                reader.fault(where, f"{name} is set as well")
            else:
                keys[key] = "unset"

    def _rule(self, reader: SpecReader) -> None:
        keys = self._named(RULE, reader, fields.SHAPING_RULE)
        faults = len(reader.faults)
        _put(keys, "on", ", ".join(_scope_name(each) for each in reader.children("on")))
        _put(keys, "stage", ", ".join(_words(reader, "stages", _STAGES)))
        for key, name in (("reply", "replies"), ("sample", "samples"), ("not", "not")):
            _put(keys, key, tuple(_listed(reader, name, RuleSettings, key)))
        if trigger := reader.child("trigger"):
            keys["trigger"] = _checked(reader, "trigger", RuleSettings, "trigger", _trigger(trigger))
        _put(keys, "per", ", ".join(_words(reader, "per", _RULE_PER)))
        _put(keys, "action", tuple(_actions(reader)))
        _put(keys, "for", ", ".join(_listed(reader, "for", RuleSettings, "for", one=True)))
        if recover := reader.child("recover"):
            text = f"x2 every {recover.text('every')}"
            keys["recover"] = _checked(reader, "recover", RuleSettings, "recover", text)
        name = reader.text("name")
        reader.faults[faults:] = [f"{fault} (rule {name})" for fault in reader.faults[faults:]]

    def _bound(self) -> None:
        """Fault for more samples than are compared."""
        rules = [keys for section, keys in self._sections.items() if section.startswith(RULE)]
        patterns = sum(len(keys.get("reply", ())) for keys in rules)
        characters = sum(len(text) for keys in rules for key in ("sample", "not") for text in keys.get(key, ()))
        if patterns * characters > COMPARISONS_MAX:
            self._reader.fault("rules", "have too many patterns and samples: fewer, or shorter samples")


def _put(keys: dict[str, str | tuple[str, ...]], key: str, value: str | tuple[str, ...]) -> None:
    """Set a key, unless the value is empty."""
    if value:
        keys[key] = value


def _checked(reader: SpecReader, name: str, kind: type, key: str, text: str) -> str:
    """The text, after the relay's parser has read it; a fault of the field if it is refused."""
    try:
        ini.write({MAIN: {key: text}})
        _KEYS[kind][key].key.parse(text)
    except ValueError as error:
        reader.fault(name, str(error).removeprefix(f"{key}: "))
    return text


def _listed(reader: SpecReader, name: str, kind: type, key: str, *, one: bool = False) -> Iterator[str]:
    """The texts of a list. `one`: none of them may have a comma, which would make two of it."""
    for where, text in reader.texts(name):
        if one and "," in text:
            reader.fault(where, f"{quoted(text)} is not one item")
        yield _checked(reader, where, kind, key, text)


def _sites(reader: SpecReader) -> Iterator[str]:
    """Each sample's hosts on one line."""
    for number, site in enumerate(reader.items("sampleMX")):
        where = f"sampleMX[{number}]"
        if not isinstance(site, list) or not all(isinstance(host, str) and "," not in host for host in site):
            reader.fault(where, "is not a list of hosts")
        else:
            yield _checked(reader, where, ProviderSettings, "sample_mx", ", ".join(site))


def _words(reader: SpecReader, name: str, allowed: Mapping[str, Any]) -> Iterator[str]:
    for where, text in reader.texts(name):
        if text in allowed:
            yield str(allowed[text].value)
        else:
            reader.fault(where, f"{quoted(text)} is not one of {', '.join(allowed)}")


def _plain(reader: SpecReader, name: str) -> str:
    """A boolean, a number or a word as the file says it."""
    raw = reader.raw(name)
    return str(raw).lower() if isinstance(raw, bool | int | str) else "?"


def _scope_name(reader: SpecReader) -> str:
    """The name of the section."""
    kind = reader.word("scope", _SCOPES, ScopeKind.DEFAULT)
    name, source = reader.text("name"), reader.text("source")
    section = kind.value if kind is ScopeKind.DEFAULT and not name else f"{kind}:{name}"
    section += f"{SOURCE}{source}" if source else ""
    if "," in section:
        reader.fault("name", f"{quoted(name)} has a comma")
        return section
    try:
        ini.write({section: {}})
        return str(scope(section))
    except ValueError as error:
        reader.fault("name", f"[{section}] {error}")
    return section


def _limit(reader: SpecReader, key: LimitKey) -> str:
    if reader.flag("none"):
        amount = "none"
    elif key is LimitKey.CONNECTIONS:
        amount = str(reader.number("value"))
    else:
        amount = _rate(reader)
    per, each = reader.word("per", _PER, None), reader.word("each", _EACH, None)
    suffixes = (
        f" per {per}" if per else "",
        " all sources" if reader.flag("allSources") else "",
        f" each {each}" if each else "",
    )
    return amount + "".join(suffixes)


def _rate(reader: SpecReader) -> str:
    burst = f" burst {reader.number('burst')}" if reader.has("burst") else ""
    return f"{reader.number('count')}/{reader.text('period')}{burst}"


def _trigger(reader: SpecReader) -> str:
    count = str(reader.number("count", 1))
    return f"{count}/{reader.text('period')}" if reader.has("period") else count


def _actions(reader: SpecReader) -> Iterator[str]:
    for number, action in enumerate(reader.children("actions")):
        kind = action.word("type", _ACTIONS, ActionKind.ALERT)
        text = kind.value
        if action.has("after"):
            text += f" {action.text('after')}"
        if action.has("factor") or action.has("floor"):
            text += f" *{_factor(action)} floor {_amount(action.child('floor'))}"
        if action.has("value"):
            text += f" ={_amount(action.child('value'))}"
        yield _checked(reader, f"actions[{number}]", RuleSettings, "action", text)


def _factor(reader: SpecReader) -> str:
    raw = reader.raw("factor")
    if not isinstance(raw, int | float):
        return "?"
    return f"{raw:.6f}".rstrip("0")


def _amount(reader: SpecReader | None) -> str:
    """A rate, or a number."""
    if reader is None:
        return ""
    return _rate(reader) if reader.has("period") else str(reader.number("count"))
