"""A whole relay with plugins of the test's own: `config.plug("name", code)` writes one into its directory."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.relay_process import RelayConfig


@dataclass
class PluginConfig(RelayConfig):
    """A configuration directory with plugins."""

    names: list[str] = field(default_factory=list)

    def plug(self, name: str, code: str, **files: str) -> None:
        """Write a plugin and list it. `name_ini="text"` are files for it."""
        directory = self.directory / "plugins.d"
        directory.mkdir(exist_ok=True)
        (directory / f"{name}.py").write_text("from mailboat.hooks import *\n" + textwrap.dedent(code))
        self.use(name, **files)

    def use(self, name: str, **files: str) -> None:
        """List a plugin that is there already."""
        for file, text in files.items():
            self.put(file.replace("_ini", ".ini"), text)
        self.names.append(name)
        self.put("plugins", "\n".join(self.names) + "\n")


def noted(path: Path) -> list[list[Any]]:
    """What the plugin of `NOTING` wrote so far."""
    import json

    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


NOTING = """
import json

def note(*what):
    with open({path!r}, "a") as file:
        file.write(json.dumps(what, default=str) + "\\n")
"""
"""The beginning of a plugin that notes what it hears in a file."""
