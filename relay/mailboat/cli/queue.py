"""`mailboat queue`: lists and changes the queue of a relay. Plain functions, registered as commands of `app`.

A running relay is used through its admin API; of a stopped one, the databases are read and changed. Only `flush` needs
a running relay.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import orjson
from cyclopts import App, Parameter

from mailboat.admin.control import EntryJson
from mailboat.cli import queue_table
from mailboat.cli.queue_source import Api, Offline, QueueCommandError
from mailboat.config.fault import Report
from mailboat.config.ini import MAIN
from mailboat.config.sections import read_section
from mailboat.config.settings import HttpSettings
from mailboat.loading.directory import ConfigDirectory
from mailboat.loading.load import load
from mailboat.model.envelope import State
from mailboat.queue.store import QueueInUse, Selection, StorageError, Verb
from mailboat.smtp.grammar import GrammarError, normalize_domain

app = App(name="queue", help="List and change the queue.")
# Their help is repeated here, as in `mailboat.cli`.
_LATER = "Mail that is being attempted follows when the attempt has ended without delivering it; it is not counted."
_BOUNCE = f"Bounce the selected mail that is queued now.\n\n{_LATER}"
_REROUTE = f"Have the selected mail that is queued now go by a route, and attempt it now.\n\n{_LATER}"
app.command(
    "mailboat.cli.queue_directives:suspend",
    name="suspend",
    help="Suspend the selected mail, queued and still to come, for a while, and print the id of the suspension.",
)
app.command("mailboat.cli.queue_directives:resume", name="resume", help="End a suspension, and attempt its mail now.")
app.command("mailboat.cli.queue_directives:suspensions", name="suspensions", help="List the suspensions in force.")
app.command("mailboat.cli.queue_directives:bounce", name="bounce", help=_BOUNCE)
app.command("mailboat.cli.queue_directives:reroute", name="reroute", help=_REROUTE)

# Parameters of several verbs.
_Ids = Annotated[str, Parameter(help="Message or entry ids.")]
_Config = Annotated[Path, Parameter(help="The configuration directory of the relay.")]
_State = Annotated[State | None, Parameter(help="Only mail in this state.")]
_Json = Annotated[bool, Parameter(help="Print JSON, one object a line.")]
_HERE = Path()


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Which:
    """The options that select mail, besides ids and state; all given ones must match."""

    domain: Annotated[str, Parameter(help="Only mail to this domain.")] = ""
    sender: Annotated[str, Parameter(help="Only mail from this address; `<>` for the null sender.")] = ""
    tenant: Annotated[str, Parameter(help="Only mail of this tenant; `default`: mail that belongs to no other.")] = ""
    label: Annotated[str, Parameter(help="Only mail with this label.")] = ""


_ANY = Which()


@app.command(name="list")
def list_messages(*, config: _Config = _HERE, which: Which = _ANY, state: _State = None, json: _Json = False) -> int:
    """List queued mail, oldest first; also of a stopped relay."""

    def body() -> int:
        selection = _selection((), which, state)
        messages = _source(config, reading=True).messages(selection)
        _print(map(_json_line, messages) if json else queue_table.table(messages))
        return os.EX_OK

    return guarded(body)


@app.command
def show(id: str, *, config: _Config = _HERE, json: _Json = False) -> int:  # noqa: A002 - the field's word
    """Show one entry, or all entries of a message; also of a stopped relay.

    Parameters
    ----------
    id
        The id in the reply to the client, or one from the listing.
    """

    def body() -> int:
        found = _source(config, reading=True).show(id)
        if not found:
            raise QueueCommandError(f"no message {id} in the queue; delivered ones leave it", 1)
        if json:
            _print(map(_json_line, found))
        else:
            _print(line for n, entry in enumerate(found) for line in [""] * bool(n) + [*queue_table.details(entry)])
        return os.EX_OK

    return guarded(body)


@app.command
def stats(*, config: _Config = _HERE, json: _Json = False) -> int:
    """Show the size of the queue by state; also of a stopped relay."""

    def body() -> int:
        shares = _source(config).stats()
        if json:
            print(orjson.dumps({state.value: share for state, share in shares.items()}).decode())
        else:
            _print(queue_table.stats_table(shares))
        return os.EX_OK

    return guarded(body)


@app.command
def flush(
    *ids: _Ids,
    config: _Config = _HERE,
    which: Which = _ANY,
    state: _State = None,
    json: _Json = False,
) -> int:
    """Attempt deferred mail now: the selected mail, or all."""
    return _change(Verb.FLUSH, config, lambda: _selection(ids, which, state), json)


@app.command
def hold(
    *ids: _Ids,
    config: _Config = _HERE,
    which: Which = _ANY,
    state: _State = None,
    json: _Json = False,
) -> int:
    """Hold mail: it is not attempted until it is released."""
    return _change(Verb.HOLD, config, lambda: _selection(ids, which, state), json)


@app.command
def release(*ids: _Ids, config: _Config = _HERE, which: Which = _ANY, json: _Json = False) -> int:
    """Release held mail, to be attempted now."""
    return _change(Verb.RELEASE, config, lambda: _selection(ids, which, None), json)


@app.command
def delete(
    *ids: _Ids,
    config: _Config = _HERE,
    which: Which = _ANY,
    state: _State = None,
    all: bool = False,  # noqa: A002 - the option's name
    yes: bool = False,
    json: _Json = False,
) -> int:
    """Delete mail from the queue without bounce messages. Give a selection, or --all.

    Parameters
    ----------
    all
        Delete all mail; on a terminal, ask for confirmation.
    yes
        Do not ask for confirmation.
    """

    def select() -> Selection:
        selection = _selection(ids, which, state)
        if (selection == Selection()) != all:
            text = "--all contradicts the other options" if all else "give ids or options that select, or --all"
            raise QueueCommandError(text, os.EX_USAGE)
        if all and not yes and sys.stdin is not None and sys.stdin.isatty():
            _ask_once_more()
        return selection

    return _change(Verb.DELETE, config, select, json)


@app.command
def export(
    file: Path,
    *ids: _Ids,
    config: _Config = _HERE,
    which: Which = _ANY,
    state: _State = None,
    remove: bool = False,
    json: _Json = False,
) -> int:
    """Write the selected mail, or all, into FILE, and hold it here as exported; also of a stopped relay.

    Whole messages are exported. FILE must be new; `mailboat queue import` reads it elsewhere. If FILE is not completed,
    its mail is restored. Exit status 73 if FILE already exists or cannot be written.

    Parameters
    ----------
    file
        A tar file, readable by its owner only.
    remove
        Delete the mail here when FILE is on stable storage.
    """

    def body() -> int:
        from mailboat.cli.queue_archive import export_to  # noqa: PLC0415

        count = export_to(file, _source(config), _selection(ids, which, state), remove=remove)
        print(orjson.dumps({"count": count}).decode() if json else f"{count} exported")
        return os.EX_OK

    return guarded(body)


@app.command(name="import")
def import_(file: Path, *, config: _Config = _HERE, json: _Json = False) -> int:
    """Import the mail of an archive written by `export`; also into a stopped relay.

    Mail that was imported from it before is not imported again. In the queue that it came from, the mail held as
    exported is restored. Exit status 65 if FILE is damaged; then nothing is imported.

    Parameters
    ----------
    file
        The archive.
    """

    def body() -> int:
        from mailboat.cli.queue_archive import import_from  # noqa: PLC0415

        count = import_from(file, _source(config, new=True))
        print(orjson.dumps({"count": count}).decode() if json else f"{count} imported")
        return os.EX_OK

    return guarded(body)


def _ask_once_more() -> None:
    """Ask for confirmation on a terminal; programs are not asked."""
    print("Delete all mail in the queue, without bounce messages? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise QueueCommandError("nothing was deleted", 1)


DONE = {Verb.FLUSH: "due now", Verb.HOLD: "held", Verb.RELEASE: "released", Verb.DELETE: "deleted"}
"""The word printed after the number of entries."""


def _change(verb: Verb, config: Path, select: Callable[[], Selection], json: bool) -> int:
    def body() -> int:
        selection = select()
        source = Api(http_settings(config)) if verb is Verb.FLUSH else _source(config)
        count = source.change(verb, selection)
        print(orjson.dumps({"count": count}).decode() if json else f"{count} {DONE[verb]}")
        return os.EX_OK

    return guarded(body)


def _selection(ids: tuple[str, ...], which: Which, state: State | None) -> Selection:
    if not all(ids):
        raise QueueCommandError("an id is empty", os.EX_USAGE)
    try:
        domain = normalize_domain(which.domain) if which.domain else ""
    except GrammarError:
        raise QueueCommandError(f"--domain {which.domain!r} is not a domain", os.EX_USAGE) from None
    return Selection(ids, domain, which.sender, state, which.tenant, which.label)


def _source(config: Path, *, reading: bool = False, new: bool = False) -> Api | Offline:
    """The running relay, else the databases of the configuration.

    For reading, the databases are also used if a running relay requires a token that is missing, because the user may
    read them.
    """
    api = Api(http_settings(config))
    if api.is_running() and not (reading and not api.may_read()):
        return api
    loaded = load(config, os.environ)
    if loaded.settings is None:
        raise QueueCommandError("\n".join(map(str, loaded.faults)), os.EX_CONFIG)
    return Offline(loaded.settings.outbound.queue_dir, new=new)


def http_settings(directory: Path) -> HttpSettings:
    """Reads `http.ini` only, so that a fault in another file does not prevent access to a running relay's queue."""
    report = Report()
    files = ConfigDirectory(directory.absolute(), report)
    if not directory.is_dir():
        raise QueueCommandError(f"--config {directory}: no such directory", os.EX_CONFIG)
    ini = files.ini("http.ini", files.content("http.ini"))
    settings = HttpSettings(**read_section(ini, MAIN, HttpSettings, report))
    if report.faults:
        raise QueueCommandError("\n".join(map(str, report.faults)), os.EX_CONFIG)
    return replace(settings, token_file=files.absolute(settings.token_file) if settings.token_file else "")


def guarded(body: Callable[[], int]) -> int:
    """Run a verb; an error becomes one line and an exit status."""
    try:
        return body()
    except QueueCommandError as error:
        print(f"mailboat queue: {error}", file=sys.stderr)
        return error.status
    except QueueInUse as error:
        print(f"mailboat queue: a relay has this queue, but nothing answers for it: {error}", file=sys.stderr)
        return os.EX_TEMPFAIL
    except StorageError as error:
        print(f"mailboat queue: no relay is running, and its queue cannot be read: {error}", file=sys.stderr)
        return os.EX_UNAVAILABLE
    except BrokenPipeError:
        # The reader has closed the pipe. The interpreter flushes at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return os.EX_OK


def _json_line(entry: EntryJson) -> str:
    return orjson.dumps(entry).decode()


def _print(lines: Iterable[str]) -> None:
    with queue_table.pager() as out:
        for line in lines:
            out.write(f"{line}\n")
