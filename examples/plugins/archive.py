"""Keeps a copy of each message in a directory, and says in its header that it did.

    directory=/var/lib/mailboat/archive

Plain functions, for writing files blocks: they run in a thread.
"""

from __future__ import annotations

from pathlib import Path

from mailboat.hooks import DENYSOFT, Answer, Connection, Plugin, PluginConfig

PIECE = 2**20

config: PluginConfig[Path]


def parse(file: PluginConfig[None]) -> Path:
    """The directory; a relay whose archive cannot be written does not start."""
    directory = Path(file.get("directory") or "archive")
    if not directory.is_dir():
        raise ValueError(f"directory={directory} is not a directory")
    return directory


def register(plugin: Plugin) -> None:
    """Mail that could not be archived is refused for now, rather than let through without a copy."""
    global config
    config = plugin.config("archive.ini", parse)
    plugin.register_hook("data_post", hook_data_post, on_failure=DENYSOFT)


def hook_data_post(connection: Connection) -> Answer:
    """The whole message is there."""
    message = connection.transaction
    assert message is not None
    message.header.remove("X-Archived")
    message.header.add("X-Archived", message.uuid)
    with message.body.open() as source, (config.value / f"{message.uuid}.eml").open("xb") as copy:
        while piece := source.read(PIECE):
            copy.write(piece)
    return None
