"""A plugin that is registered, without a relay around it: a test asks its hooks by their points."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from mailboat.hooks import Address, HMail, Plugin, Todo
from mailboat.hooks.loader import register
from mailboat.hooks.metrics import Counters
from mailboat.hooks.plugin_config import PluginFiles
from mailboat.hooks.transaction import LocalConnection, MessageTransaction


@dataclass
class Plugged:
    """A plugin and what is around it."""

    directory: Path
    plugin: Plugin
    files: PluginFiles
    counters: Counters = field(default_factory=Counters)

    @classmethod
    def of(cls, module: ModuleType, directory: Path, **files: str) -> Plugged:
        """Register a module; `name_ini="text"` are its files. Raises what registering raises."""
        directory.mkdir(exist_ok=True)
        for name, text in files.items():
            (directory / name.replace("_ini", ".ini")).write_text(text)
        counters = Counters()
        around = PluginFiles(directory)
        name = module.__name__.rpartition(".")[2]
        plugin = Plugin(name, counters.of(name), around)
        register(plugin, module)
        return cls(directory, plugin, around, counters)

    async def ask(self, point: str, *args: object) -> Any:
        """What its hook at a point answers."""
        (hook,) = (hook for hook in self.plugin.hooks if hook.point == point)
        answer = hook.function(*args)
        return await answer if inspect.isawaitable(answer) else answer

    def count(self, name: str) -> float:
        """One of its counters, all labels together."""
        (counter,) = (
            c for c in self.counters.snapshot() if c.name == f"mailboat_plugin_{self.plugin.name}_{name}_total"
        )
        return sum(counter.series.values())


def person(text: str) -> Address:
    """An address from its text; empty is the null sender."""
    local, _, domain = text.rpartition("@")
    return Address(local, domain, domain.lower())


def hmail(
    to: str = "bob@there.test", sender: str = "alice@sender.test", notes: Mapping[str, Any] | None = None
) -> HMail:
    """A message on its way out."""
    whom = person(to)
    todo = Todo(whom.host, person(sender), [whom], dict(notes or {}), 0, "ABCDEF-1")
    return HMail("/queue/queue-0.db", "ABCDEF-1.1", 0, todo, {})


def client(
    *to: str, sender: str = "alice@sender.test", body: bytes = b"Subject: hi\r\n\r\nGood day.\r\n"
) -> LocalConnection:
    """A client with a whole message."""
    message = MessageTransaction("ABCDEF-1", person(sender), [person(text) for text in to or ("bob@there.test",)])
    message.hold(body)
    return LocalConnection(message, remote_ip="192.0.2.7", hello_name="client.test")
