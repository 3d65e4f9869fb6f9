"""A class name stands once in the tree, so that a name in a log, a traceback or a search means one thing."""

from __future__ import annotations

from collections import defaultdict

from tests.architecture.test_layout import SOURCES, classes_of, name_of


def places_by_class() -> dict[str, list[str]]:
    """Where each class is defined, nested ones included."""
    places = defaultdict(list)
    for path in SOURCES:
        for cls in classes_of(path):
            places[cls.name].append(name_of(path))
    return places


def test_a_class_name_stands_once_in_the_tree() -> None:
    double = {name: places for name, places in places_by_class().items() if len(places) > 1}
    assert double == {}
