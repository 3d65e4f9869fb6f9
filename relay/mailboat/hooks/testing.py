"""For tests of plugins: load one as the relay does, call it, and see its failures. No relay and no network.

    async with loaded(Path("plugins.d/greylist.py"), {"greylist.ini": "delay=60\\n"}) as plugin:
        decision = await plugin.ask("rcpt", connection(), parse_address("bob@example.com"), {})
        assert decision.code is DENYSOFT

Plugin authors import it, and so does the test that `mailboat plugin new` writes; the relay never does.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mailboat.config.plugins import plain
from mailboat.hooks.codes import Decision
from mailboat.hooks.loader import Plugins, PluginsError
from mailboat.hooks.objects import HMail, Todo
from mailboat.hooks.points import Point
from mailboat.hooks.transaction import LocalConnection, MessageTransaction
from mailboat.loading.load import load
from mailboat.model.address import NULL_SENDER
from mailboat.model.observer import HookFailure, Observer
from mailboat.smtp.grammar import parse_address, parse_sender

__all__ = ["LoadedPlugin", "PluginsError", "connection", "hmail", "loaded"]


class _Failures(Observer):
    """Records failures."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def hook_failed(self, point: str, plugin: str, reason: HookFailure) -> None:  # noqa: ARG002
        self.seen.append((str(point), str(reason)))


@dataclass(slots=True)
class LoadedPlugin:
    """A plugin, loaded from its own configuration directory."""

    directory: Path
    """The configuration directory; it is removed at the end."""
    plugins: Plugins = field(repr=False)
    _observer: _Failures = field(repr=False)

    @property
    def failures(self) -> list[tuple[str, str]]:
        """Point and reason (`raised`, `timeout`, `nonsense`) of each failure so far."""
        return self._observer.seen

    async def ask(self, point: Point | str, *args: object) -> Decision:
        """Call its hooks at a point, with the arguments of the point."""
        return await self.plugins.hooks.run(Point(point), *args)

    def offers(self, client: LocalConnection) -> tuple[str, ...]:
        """The AUTH mechanisms that it offers to a client."""
        return self.plugins.hooks.auth_mechanisms(client)

    def counter(self, name: str, *labels: str) -> float:
        """A counter of the plugin by its name without `mailboat_plugin_` and the plugin's name."""
        found = {counter.name: counter for counter in self.plugins.counters.snapshot()}
        return next(
            c.series[labels] for full, c in found.items() if full.endswith(f"_{name.removesuffix('_total')}_total")
        )

    def write(self, name: str, text: str) -> None:
        """Write a file of the configuration directory; `reload` applies it."""
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def reload(self) -> None:
        """Apply the present files. PluginsError or ValueError for a fault; then nothing has changed."""
        found = load(self.directory, {})
        if found.settings is None:
            raise ValueError("; ".join(map(str, found.faults)))
        self.plugins.stage(found.settings).commit()


@asynccontextmanager
async def loaded(plugin: Path | str, files: Mapping[str, str] | None = None) -> AsyncIterator[LoadedPlugin]:
    """Load a plugin, from its file or by the name of a shipped or installed one, and close it at the end.

    `files` are those of the configuration directory, name and text. Raises PluginsError when it does not load.
    """
    with tempfile.TemporaryDirectory() as directory:
        observer = _Failures()
        it = LoadedPlugin(Path(directory), Plugins(observer), observer)
        _fill(it, plugin, files or {})
        it.reload()
        try:
            yield it
        finally:
            await it.plugins.close(5.0)


def _fill(it: LoadedPlugin, plugin: Path | str, files: Mapping[str, str]) -> None:
    """Write the configuration directory."""
    name = plugin if isinstance(plugin, str) else plugin.stem
    if isinstance(plugin, Path):
        it.write(f"plugins.d/{plain(name)}.py", plugin.read_text(encoding="utf-8"))
    for file, text in {"plugins": f"{name}\n", "me": "relay.test\n", **files}.items():
        it.write(file, text)


def connection(
    remote_ip: str = "192.0.2.1",
    *,
    sender: str | None = "alice@example.org",
    recipients: tuple[str, ...] = (),
    message: bytes = b"",
    relaying: bool = False,
) -> LocalConnection:
    """A client; with a message under way unless `sender` is None. `message` is header and text with CRLF line ends."""
    transaction = None
    if sender is not None:
        transaction = MessageTransaction("TEST-1", parse_sender(sender), [parse_address(r) for r in recipients])
        if message:
            transaction.hold(message)
    return LocalConnection(transaction, uuid="TEST", relaying=relaying, remote_ip=remote_ip, hello_name="client.test")


def hmail(*recipients: str, sender: str = "alice@example.org", num_failures: int = 0) -> HMail:
    """An outbound message. The recipients are in one domain; the default is `bob@example.com`."""
    addresses = [parse_address(recipient) for recipient in recipients or ("bob@example.com",)]
    todo = Todo(
        domain=addresses[0].ascii_domain,
        mail_from=parse_sender(sender) if sender else NULL_SENDER,
        rcpt_to=addresses,
        notes={},
        queue_time=1_700_000_000_000,
        uuid="TEST-1",
    )
    return HMail("queue/queue-0.db", "TEST-1.1", num_failures, todo, {})
