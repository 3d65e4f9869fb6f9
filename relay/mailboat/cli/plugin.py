"""`mailboat plugin`: lists plugins and the order of their hooks, and creates a new plugin."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from cyclopts import App

from mailboat.cli.plugin_template import PLUGIN, TEST
from mailboat.config.plugins import plain
from mailboat.config.settings import Settings
from mailboat.hooks import Hooks, Point
from mailboat.hooks.loader import Plugins, PluginsError
from mailboat.hooks.source import PluginKind, PluginSource, available
from mailboat.loading.load import load
from mailboat.model.observer import Observer

app = App(name="plugin", help="List plugins and the order in which they are called, or create one.")

_NAME = re.compile(r"[a-z][a-z0-9_]*")


@app.command(name="list")
def list_plugins(*, config: Path | None = None) -> int:
    """List all plugins: name, source, and whether each is in use.

    Parameters
    ----------
    config
        A configuration directory: its `plugins.d` is included, and `*` marks plugins in its file `plugins`.
    """
    used: dict[str, int] = {}
    if config is not None:
        settings = _settings(config)
        if settings is None:
            return os.EX_CONFIG
        used = {plain(name): number for number, name in enumerate(settings.plugins.names, 1)}
    seen: dict[str, PluginSource] = {}
    for source in available(config):
        seen.setdefault(plain(source.name), source)  # the first one is used
    width = max(map(len, seen), default=0)
    for name, source in sorted(seen.items(), key=lambda item: (used.get(item[0], len(used) + 1), item[0])):
        print(f"{'*' if name in used else ' '} {name:<{width}}  {_where(source)}")
    return 0


@app.command
def order(*, config: Path = Path()) -> int:
    """Show the hooks of each point in the order in which they are called; runs the plugins' `register`.

    Parameters
    ----------
    config
        The configuration directory.
    """
    settings = _settings(config)
    if settings is None:
        return os.EX_CONFIG
    try:
        lines = asyncio.run(_order(settings))
    except PluginsError as error:
        for fault in error.faults:
            print(fault, file=sys.stderr)
        return os.EX_CONFIG
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


@app.command
def new(name: str, /, *, directory: Path = Path()) -> int:
    """Write NAME.py, a plugin to start from, and test_NAME.py, a test of it that passes.

    Nothing is overwritten. To use it, put NAME.py into `plugins.d` of a configuration directory, and NAME into
    `plugins`.

    Parameters
    ----------
    name
        Lower-case letters, digits and underscores.
    directory
        The directory to write to, such as `plugins.d` of a configuration directory.
    """
    if not _NAME.fullmatch(name):
        print(
            f"mailboat plugin new: {name!r} is not a name of lower-case letters, digits, underscores", file=sys.stderr
        )
        return os.EX_USAGE
    texts = {f"{name}.py": PLUGIN, f"test_{name}.py": TEST}
    try:
        there = [file for file in texts if (directory / file).exists()]
        if there:
            print(f"mailboat plugin new: {', '.join(there)} already exists", file=sys.stderr)
            return os.EX_CANTCREAT
        directory.mkdir(parents=True, exist_ok=True)
        for file, text in texts.items():
            with (directory / file).open("x", encoding="utf-8") as out:
                out.write(text.replace("@name@", name))
            print(directory / file)
    except OSError as error:
        print(f"mailboat plugin new: {error}", file=sys.stderr)
        return os.EX_CANTCREAT
    return 0


def _settings(directory: Path) -> Settings | None:
    """The loaded directory; None, after printing its faults, if it cannot be used."""
    loaded = load(directory, os.environ)
    for fault in loaded.faults:
        print(fault, file=sys.stderr)
    return loaded.settings


def _where(source: PluginSource) -> str:
    return source.kind.value if source.kind is PluginKind.SHIPPED else f"{source.kind.value} {source.where}"


async def _order(settings: Settings) -> list[str]:
    plugins = Plugins(Observer())
    hooks = plugins.stage(settings).commit()
    lines = list(_lines(hooks))
    await plugins.close(5.0)
    return lines


def _lines(hooks: Hooks) -> Iterator[str]:
    for point in Point:
        for number, hook in enumerate(hooks.of(point), 1):
            kind = "async" if hook.is_async else "sync"
            function = getattr(hook.function, "__name__", type(hook.function).__name__)
            priority = f", priority {hook.priority}" if hook.priority else ""
            yield f"{point:<20} {number:>2}. {hook.plugin} ({function}, {kind}{priority})"
