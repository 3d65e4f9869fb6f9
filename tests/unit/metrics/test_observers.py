"""Several observers behind one: each hears every fact."""

from __future__ import annotations

import inspect

import pytest

from mailboat.model.observer import Observer, Observers

FACTS = [name for name in vars(Observer) if not name.startswith("_")]


class Heard(Observer):
    """Notes what it is told of one fact."""

    def __init__(self, fact: str) -> None:
        self.heard: list[tuple[object, ...]] = []
        setattr(self, fact, lambda *given: self.heard.append(given))


@pytest.mark.parametrize("fact", FACTS)
def test_every_fact_reaches_each_observer_with_all_it_says(fact: str) -> None:
    first, second = Heard(fact), Heard(fact)
    given = tuple(f"{fact} {at}" for at in range(len(inspect.signature(getattr(Observer(), fact)).parameters)))
    getattr(Observers(first, second), fact)(*given)
    assert first.heard == second.heard == [given]
