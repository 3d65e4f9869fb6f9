"""A plugin during registration: the argument of `register(plugin)`. Made by `loader`, read by `chain`."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from mailboat.hooks.codes import CONT, Answer, Code
from mailboat.hooks.metrics import PluginMetrics
from mailboat.hooks.objects import Connection
from mailboat.hooks.plugin_config import PluginConfig, PluginFiles
from mailboat.hooks.points import POINTS, Point

HookFunction = Callable[..., Answer] | Callable[..., Coroutine[Any, Any, Answer]]
"""`hook_POINT`: takes the parameters of its point; sync functions are called in a thread, never on the event loop."""
AuthOffer = Callable[[Connection], Sequence[str]]
"""The mechanisms to offer to this connection now. Called on the event loop: it must not block."""

Numbers = Callable[[], Mapping[str, Mapping[str, float]]]
"""Metrics as they are now, by name and label value (empty where there is no label)."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Hook:
    """One function at one point."""

    point: Point
    function: HookFunction
    plugin: str
    priority: int = 0
    """Lower is called first; equal ones in the order of `config/plugins`."""
    on_failure: Code = CONT
    timeout: float = 30.0
    """Seconds; 0: none."""
    is_async: bool = field(init=False)
    arity: int = field(init=False)
    """Number of arguments of its point."""

    def __post_init__(self) -> None:
        call = getattr(self.function, "__call__", None)  # noqa: B004 - of an object, its own
        is_async = inspect.iscoroutinefunction(self.function) or inspect.iscoroutinefunction(call)
        object.__setattr__(self, "is_async", is_async)
        object.__setattr__(self, "arity", len(POINTS[self.point].parameters))


class Plugin:
    """One plugin while it registers."""

    def __init__(self, name: str, metrics: PluginMetrics, files: PluginFiles, numbers: Numbers = dict) -> None:
        self.name = name
        """As in `config/plugins`."""
        self.metrics = metrics
        self.logger = logging.getLogger(f"mailboat.plugins.{name.replace('/', '.')}")
        """Logs to the relay's diagnostics, with the plugin's name."""
        self.hooks: list[Hook] = []
        self.auth_offers: list[AuthOffer] = []
        self.starters: list[Callable[[], object]] = []
        self.closers: list[Callable[[], object]] = []
        self.numbers = numbers
        """The metrics of this worker now, by name and label value; call it on the event loop. Empty without a relay."""
        self.workers = 1
        """Number of worker processes of the relay, which share the machine. Each loads its plugins."""
        self._files = files

    def register_hook(
        self, point: Point | str, function: HookFunction, priority: int = 0, on_failure: Code = CONT
    ) -> None:
        """Have `function` called at `point`; hooks of lower priority come first.

        `on_failure` is the answer when the function raises, takes too long or gives an invalid answer, at points of the
        client's side; CONT lets the mail pass. ValueError for an unknown point, or an answer that the point does not
        accept.
        """
        try:
            point = Point(point)
        except ValueError:
            raise ValueError(f"{point!r} is not a hook point; the points are {', '.join(Point)}") from None
        facts = POINTS[point]
        possible = on_failure in facts.answers and on_failure is not Code.OK  # a failure must not admit mail
        if on_failure is not CONT and not (facts.choice_of_failure and possible):
            raise ValueError(f"on_failure={on_failure.value} is not possible at {point}")
        if not callable(function):
            raise ValueError(f"the hook registered at {point} is not callable")  # noqa: TRY004
        if on_failure is CONT:
            on_failure = facts.failure
        self.hooks.append(Hook(point, function, self.name, priority, on_failure))

    @overload
    def config(self, name: str, *, secret: bool = True) -> PluginConfig[None]: ...

    @overload
    def config(
        self, name: str, parse: Callable[[PluginConfig[None]], _T], *, secret: bool = True
    ) -> PluginConfig[_T]: ...

    def config(
        self, name: str, parse: Callable[[PluginConfig[None]], Any] | None = None, *, secret: bool = True
    ) -> PluginConfig[Any]:
        """A file of the configuration directory, read now, and again after each change.

        `parse` returns `config.value`; its ValueError is a fault of the configuration: the relay does not start with
        it, and a later change is refused, while the last good one stays in force.

        `secret=False`: the file never holds a password, key or token. Then `mailboat relay --last-good` keeps a copy,
        and starts with it if the file has a fault.
        """
        return self._files.config(name, parse, secret=secret)

    def offer_auth(self, function: AuthOffer) -> None:
        """Have `function` return the AUTH mechanisms to offer to a connection."""
        self.auth_offers.append(function)

    def on_start(self, function: Callable[[], object]) -> None:
        """Have `function` called on the event loop once the plugin is in force; it may be async and run for as long
        as the plugin."""
        self.starters.append(function)

    def on_close(self, function: Callable[[], object]) -> None:
        """Have `function`, sync or async, called once when this plugin is replaced or the relay stops."""
        self.closers.append(function)
