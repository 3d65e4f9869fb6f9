"""Expressions of the dashboard, put together from the names of metrics. Pure; knows nothing of Grafana's panels."""

from __future__ import annotations

SELECTED = 'namespace=~"$namespace", job=~"$job", pod=~"$pod"'
"""The dashboard's variables: each expression is about the relays that they choose."""


def series(name: str, *matchers: str) -> str:
    """The chosen relays' series of a metric."""
    return f"{name}{{{', '.join((SELECTED, *matchers))}}}"


def rate(name: str, *matchers: str) -> str:
    """How fast a counter rises, a second, over an interval that fits the zoom and the scrapes."""
    return f"rate({series(name, *matchers)}[$__rate_interval])"


def total(expression: str, by: str = "") -> str:
    """The sum over all chosen relays, or one a value of the labels `by`."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def share(name: str, matcher: str) -> str:
    """Which part of a counter's rise has a label, from 0 to 1; nothing while it does not rise."""
    return f"{total(rate(name, matcher))} / ({total(rate(name))} > 0)"


def quantile(q: float, name: str, *matchers: str) -> str:
    """What so large a part of a histogram's observations stays below, over all chosen relays."""
    return f"histogram_quantile({q:g}, {total(rate(f'{name}_bucket', *matchers), 'le')})"


def mean(name: str) -> str:
    """The mean of a histogram's observations; nothing while there are none."""
    return f"{total(rate(f'{name}_sum'))} / ({total(rate(f'{name}_count'))} > 0)"
