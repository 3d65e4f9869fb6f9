"""The values at the edges of a JSON schema: ends of ranges, words of enumerations, short and long texts of patterns.

    edges({"type": "integer", "minimum": 1, "maximum": 9}) == [1, 9]
    edges({"type": "string", "pattern": "^[a-c]{1,3}$"}) == ["a", "c", "aaa", "ccc"]

For tests that hold a schema to the program that reads what it lets in.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from jsonschema import Draft202012Validator

# The parser of `re` itself: a pattern is read as it is matched.
_re: Any = importlib.import_module("re._parser")

_MANY = 126
"""How often `*` and `+` repeat what is before them, at most: as many labels as a name of 253 characters has but one."""


def edges(schema: dict[str, Any]) -> list[Any]:
    """Values that the schema takes, at its edges; each once, of numbers the least first."""
    validator = Draft202012Validator(schema)
    return [value for value in dict.fromkeys(_candidates(schema)) if validator.is_valid(value)]


def _candidates(schema: dict[str, Any]) -> Iterator[Any]:
    for choice in schema.get("anyOf", ()):
        yield from _candidates(choice)
    yield from schema.get("enum", ())
    if schema.get("type") == "boolean":
        yield from (False, True)
    for key in ("const", "minimum", "maximum"):
        if key in schema:
            yield schema[key]
    if "pattern" in schema:
        yield from _texts(_re.parse(schema["pattern"]))


def _texts(sequence: Any) -> list[str]:
    """Texts that match: all parts at their first text, each part at each of its others in turn, all at their last."""
    parts = [_part(operator, argument) for operator, argument in sequence]
    first, last = ([part[end] for part in parts] for end in (0, -1))
    found = ["".join(first)]
    for number, part in enumerate(parts):
        found += ["".join([*first[:number], text, *first[number + 1 :]]) for text in part[1:]]
    return list(dict.fromkeys([*found, "".join(last)]))


def _part(operator: Any, argument: Any) -> list[str]:
    match str(operator):
        case "AT":
            return [""]
        case "LITERAL":
            return [chr(argument)]
        case "IN":
            return [text for each in argument for text in _part(*each)]
        case "RANGE":
            return [chr(argument[0]), chr(argument[1])]
        case "BRANCH":
            return [text for branch in argument[1] for text in _texts(branch)]
        case "SUBPATTERN":
            return _texts(argument[-1])
        case "MAX_REPEAT":
            least, most, repeated = argument
            counts = sorted({least, max(least, 1), min(int(most), _MANY)})
            return list(dict.fromkeys(text * count for count in counts for text in _texts(repeated)))
    raise NotImplementedError(f"{operator} in a pattern of a schema")
