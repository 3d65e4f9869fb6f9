"""Plugins from files: what is found, what is refused with file and line, and what a reload keeps or replaces."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path

import pytest
from tests.support.config_directory import Directory
from tests.support.plugin_chain import Failures

from mailboat.hooks import CONTINUE, Point
from mailboat.hooks.loader import Plugins, PluginsError
from mailboat.model.observer import HookFailure


class Rig:
    """A configuration directory and the plugins of a worker."""

    def __init__(self, path: Path) -> None:
        self.directory = Directory(path)
        self.directory.write("me", "relay.test\n")
        self.failures = Failures()
        self.plugins = Plugins(self.failures)

    def file(self, name: str, text: str) -> None:
        """A file of plugins.d."""
        self.directory.write(f"plugins.d/{name}.py", text)

    def take(self, *names: str) -> None:
        """List these plugins and put them into force."""
        self.directory.write("plugins", "".join(f"{name}\n" for name in names))
        self.reload()

    def reload(self) -> None:
        """Take the directory as it is."""
        self.plugins.stage(self.directory.settings()).commit()

    def faults(self, *names: str) -> list[str]:
        """Why these plugins are refused."""
        with pytest.raises(PluginsError) as caught:
            self.take(*names)
        return [str(fault) for fault in caught.value.faults]

    async def said(self, point: Point = Point.MAIL) -> object:
        """What is said at a point: its text or None."""
        args = {Point.MAIL: (None, None, None), Point.CONNECT: (None,)}[point]
        return (await self.plugins.hooks.run(point, *args)).value


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path)


def says(text: str) -> str:
    """A plugin that says this at MAIL."""
    return (
        f"from mailboat.hooks import *\nasync def hook_mail(connection, address, params):\n    return DENY, {text!r}\n"
    )


async def test_plugins_are_asked_in_the_order_of_the_list(rig: Rig) -> None:
    rig.file("a", says("a"))
    rig.file("b", says("b"))
    rig.take("b", "a")
    assert await rig.said() == "b"
    rig.take("a", "b")
    assert await rig.said() == "a"


async def test_register_runs_first_and_its_hooks_are_not_registered_twice(rig: Rig) -> None:
    rig.file(
        "a",
        "from mailboat.hooks import *\n"
        "def register(plugin):\n    plugin.register_hook('mail', hook_mail, priority=3, on_failure=DENYSOFT)\n"
        "async def hook_mail(connection, address, params):\n    1 / 0\n",
    )
    rig.take("a")
    (hook,) = rig.plugins.hooks.of(Point.MAIL)
    assert hook.priority == 3
    decision = await rig.plugins.hooks.run(Point.MAIL, None, None, None)
    assert (decision.code.value, decision.failed) == ("DENYSOFT", True)


async def test_haraka_spells_names_with_a_slash(rig: Rig) -> None:
    rig.file("queue_mine", says("mine"))
    rig.take("queue/mine")
    assert await rig.said() == "mine"


async def test_a_file_hides_a_shipped_plugin_of_its_name(rig: Rig) -> None:
    rig.file("discard", says("mine"))
    rig.take("discard")
    assert await rig.said() == "mine"


async def test_a_shipped_plugin_is_found(rig: Rig) -> None:
    rig.take("log_events")
    assert rig.plugins.hooks.wants(Point.DELIVERED)


async def test_an_installed_plugin_is_found_by_its_entry_point(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "outside-1.0.dist-info").mkdir(parents=True)
    (site / "outside-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (site / "outside-1.0.dist-info" / "entry_points.txt").write_text(
        "[mailboat.plugins]\noutside = outside_module\nobject = outside_module:it\nbroken = outside_module:nothing\n"
    )
    (site / "outside_module.py").write_text(
        says("outside")
        + "class It:\n    async def hook_connect(self, connection):\n        return DENY, 'it'\nit = It()\n"
    )
    monkeypatch.syspath_prepend(site)
    rig.take("outside", "object")
    assert await rig.said() == "outside"
    assert await rig.said(Point.CONNECT) == "it"
    (fault,) = rig.faults("broken")
    assert fault.startswith("outside_module:nothing: AttributeError: ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("x = 1\nimport no_such_module\n", "plugins.d/bad.py:2: ModuleNotFoundError: No module named 'no_such_module'"),
        ("x = 1\n\ndef broken(:\n", "plugins.d/bad.py:3: SyntaxError: invalid syntax"),
        ("import json\njson.loads('{')\n", "plugins.d/bad.py:2: JSONDecodeError: "),
        ("import sys\nsys.exit(3)\n", "plugins.d/bad.py:2: SystemExit: 3"),
        ("def register(plugin):\n    raise ValueError\n", "plugins.d/bad.py:2: ValueError"),
        ("def register():\n    pass\n", "plugins.d/bad.py: TypeError: register() takes 0"),
        ("\ndef hook_male(a): ...\n", "plugins.d/bad.py:2: 'male' is not a hook point; the points are connect, ehlo,"),
        ("\ndef hook_mail(connection): ...\n", "plugins.d/bad.py:2: hook_mail must take (connection, address, params)"),
        ("async def hook_connect(c):\n    yield 1\n", "plugins.d/bad.py:1: hook_connect is a generator"),
        ("hook_connect = 5\n", "plugins.d/bad.py: the hook registered at connect is not callable"),
        (
            "from mailboat.hooks import OK\ndef register(p):\n    p.register_hook('get_mx', print, on_failure=OK)\n",
            "plugins.d/bad.py:3: ValueError: on_failure=OK is not possible at get_mx",
        ),
        ("def register(p):\n    p.config('../x.ini')\n", "../x.ini: is not a file of the configuration directory"),
        ("def register(p):\n    p.config('b.ini').integer('n')\n", "b.ini:2: [main] n: is not a whole number"),
        ("def register(p):\n    p.config('c.ini')\n", "c.ini:1: the line is neither `key=value` nor `[section]`"),
        ("def register(p):\n    p.config('b.ini', lambda c: int(c.get('n')))\n", "b.ini: invalid literal for int()"),
        ("\0", "plugins.d/bad.py: "),
    ],
)
async def test_what_does_not_load_is_a_fault_with_its_place(rig: Rig, text: str, fault: str) -> None:
    rig.directory.write("b.ini", "; one\nn=x\n")
    rig.directory.write("c.ini", "no\n")
    rig.file("bad", text)
    (found,) = rig.faults("bad")
    assert found.startswith(fault)


async def test_a_plugin_that_is_not_there_is_told_with_the_line_of_the_list_and_all_faults_at_once(rig: Rig) -> None:
    rig.file("bad", "import no_such_module\n")
    first, second = rig.faults("log_events", "no_such", "bad")
    assert first.startswith("plugins:2: there is no plugin no_such: neither plugins.d/no_such.py, nor a shipped")
    assert second.startswith("plugins.d/bad.py:1: ")
    assert rig.plugins.hooks.begin(Point.MAIL) is CONTINUE


async def test_a_refused_change_leaves_everything_as_it_was_and_closes_what_was_begun(rig: Rig) -> None:
    rig.file("good", says("good"))
    rig.take("good")
    rig.file("good", says("better"))
    rig.file("new", "def register(plugin):\n    plugin.on_close(lambda: plugin.logger.warning('closed'))\n")
    rig.file("bad", "1 / 0\n")
    closed: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: closed.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mailboat.plugins.new").addHandler(handler)
    rig.faults("good", "new", "bad")
    assert await rig.said() == "good"
    assert closed == ["closed"]


async def test_changed_code_replaces_its_plugin_and_the_old_one_is_closed_once(rig: Rig) -> None:
    code = (
        "from pathlib import Path\nFILE = Path({file!r})\n"
        "def register(plugin):\n    plugin.on_close(close)\n"
        "async def close():\n    FILE.write_text(FILE.read_text() + 'x' if FILE.exists() else 'x')\n"
    )
    marker = rig.directory.path / ".closed"
    rig.file("a", code.format(file=str(marker)) + says("one"))
    rig.take("a")
    rig.file("a", code.format(file=str(marker)) + says("two"))
    rig.reload()
    assert await rig.said() == "two"
    async with asyncio.timeout(10):
        while not marker.exists():  # noqa: ASYNC110 - the plugin tells nobody else
            await asyncio.sleep(0.005)
    assert marker.read_text() == "x"
    await rig.plugins.close(5)
    assert marker.read_text() == "xx"


async def test_what_has_not_changed_keeps_its_memory_and_reads_its_file_anew(rig: Rig) -> None:
    rig.file(
        "a",
        "from mailboat.hooks import *\ncount = 0\n"
        "def register(plugin):\n    global config\n    config = plugin.config('a.ini')\n"
        "async def hook_mail(connection, address, params):\n"
        "    global count\n    count += 1\n    return DENY, f'{count} {config.get(\"word\")}'\n",
    )
    rig.directory.write("a.ini", "word=one\n")
    rig.take("a")
    assert await rig.said() == "1 one"
    rig.directory.write("a.ini", "word=two\n")
    rig.reload()
    assert await rig.said() == "2 two"
    rig.directory.write("a.ini", "word\n")
    with pytest.raises(PluginsError, match=r"a\.ini:1: "):
        rig.reload()
    assert await rig.said() == "3 two"


async def test_a_counter_goes_on_over_a_reload(rig: Rig) -> None:
    text = (
        "def register(plugin):\n    global counter\n"
        "    counter = plugin.metrics.counter('seen', 'Seen.', {'kind': ('a', 'b')})\n"
        "async def hook_connect(connection):\n    counter.inc('a')\n    counter.inc('odd')\n"
    )
    rig.file("my-plugin", text)
    rig.take("my-plugin")
    await rig.said(Point.CONNECT)
    rig.file("my-plugin", text + "# changed\n")
    rig.reload()
    await rig.said(Point.CONNECT)
    (counter,) = rig.plugins.counters.snapshot()
    assert counter.name == "mailboat_plugin_my_plugin_seen_total"
    assert counter.series == {("a",): 2, ("b",): 0, ("other",): 2}


async def test_plugin_timeout_and_a_plugins_own(rig: Rig) -> None:
    for name in ("a", "b", "c"):
        rig.file(name, says(name))
    rig.directory.write("plugin_timeout", "; seconds\n7\n")
    rig.directory.write("b.timeout", "0\n")
    rig.directory.write("c.timeout", "1m\n")
    rig.take("a", "b", "c")
    assert [hook.timeout for hook in rig.plugins.hooks.of(Point.MAIL)] == [7, 0, 60]
    rig.directory.write("b.timeout", "soon\n")
    assert rig.directory.faults() == ["b.timeout:1: 'soon' is not a time, such as 300, 30s or 5m"] or (
        rig.directory.faults()[0].startswith("b.timeout:1: ")
    )


async def test_a_dataclass_of_a_plugin_finds_its_module(rig: Rig) -> None:
    rig.file(
        "a",
        "from __future__ import annotations\nfrom dataclasses import dataclass\nfrom typing import ClassVar\n"
        "@dataclass\nclass C:\n    x: ClassVar[int] = 1\n",
    )
    rig.take("a")
    assert "mailboat_plugins_d.a" in sys.modules


async def test_a_hook_that_runs_during_a_reload_ends_as_it_began(rig: Rig) -> None:
    rig.file(
        "a",
        "import asyncio\nfrom mailboat.hooks import *\ngate = asyncio.Event()\n"
        "def register(plugin):\n    plugin.on_close(lambda: gate.set())\n"
        "async def hook_mail(connection, address, params):\n    await asyncio.sleep(0.05)\n"
        "    return DENY, f'closed: {gate.is_set()}'\n",
    )
    rig.take("a")
    asking = asyncio.ensure_future(rig.said())
    await asyncio.sleep(0)
    rig.file("a", says("new"))
    rig.reload()
    assert await asking == "closed: False"
    assert await rig.said() == "new"
    assert rig.failures.seen == []


async def test_failures_are_told_with_point_and_plugin(rig: Rig) -> None:
    rig.file("a", "def hook_mail(connection, address, params):\n    1 / 0\n")
    rig.take("a")
    assert await rig.said() is None
    assert rig.failures.seen == [("mail", "a", HookFailure.RAISED)]
