"""`python -m bench profile`: where Mailboat's time goes under one row of the comparison, as a flame graph.

py-spy samples all processes of the relay from its start to its end, so the rate that is printed is lower than
without it. Needs py-spy beside the Python in use, and the right to trace (root, or ptrace_scope 0).
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import hooks, interpreter, load, machine, process, tls_submit
from bench.fault import BenchError, exit_status
from bench.interpreter import Interpreter
from bench.measure import Bench, measure
from bench.process import Service
from bench.relays.mailboat import Mailboat
from bench.relays.relay import Place
from bench.rows import SESSIONS, SIZES, TLS

_SPY = Path(sys.executable).parent / "py-spy"
_DISK = Path("/var/tmp")
_OUTPUT = Path(__file__).parent / "results" / "profile.svg"
_FORMATS = {".svg": "flamegraph", ".json": "speedscope", ".txt": "raw"}
_WRITE_TIMEOUT = 60.0


class _Profiled(Mailboat):
    """Mailboat with py-spy attached."""

    def __init__(self, interpreter: Interpreter, output: Path, files: Mapping[str, str]) -> None:
        super().__init__(interpreter)
        self._files = files
        self._output = output
        self._spy: Service | None = None

    def start(self, place: Place, outbound: str = "", files: Mapping[str, str] | None = None) -> Service:
        """Starts the relay, and the sampling once it greets: then all its workers exist."""
        service = super().start(place, outbound, {**self._files, **(files or {})})
        process.wait_for_greeting(service, place.port)
        how = ["--subprocesses", "--nonblocking", "--rate", "200", "--format", _FORMATS[self._output.suffix]]
        command: list[str | Path] = [_SPY, "record", *how, "--pid", str(service.pid), "--output", self._output]
        self._spy = process.start("py-spy", command, place.directory / "spy.log")
        return service

    def stop(self, place: Place, service: Service) -> None:
        """Ends the sampling first: it writes when it is interrupted."""
        if self._spy is not None:
            self._spy.process.send_signal(signal.SIGINT)
            try:
                code = self._spy.process.wait(_WRITE_TIMEOUT)
            except subprocess.TimeoutExpired:
                code = -1
            log = self._spy.tail()
            self._spy.stop()
            if code:
                super().stop(place, service)
                raise BenchError(f"py-spy failed:\n{log}")
        super().stop(place, service)


def main(words: Sequence[str]) -> int:
    """Profiles one row; 0 when the file is written."""
    parser = argparse.ArgumentParser(prog="python -m bench profile", description=__doc__.partition("\n")[0])
    parser.add_argument("--sessions", choices=SESSIONS, default="reused")
    parser.add_argument("--size", choices=SIZES, default="4k")
    parser.add_argument("--tls", choices=TLS, default="off")
    parser.add_argument("--parallel", type=int, default=20, metavar="N", help="SMTP sessions at once (20)")
    parser.add_argument("--seconds", type=float, default=7, metavar="S", help="length of the load (7)")
    parser.add_argument("--plugins", choices=hooks.KINDS, default="none", help="ten that do nothing (none)")
    interpreter.add_option(parser)
    parser.add_argument(
        "--output", type=Path, default=_OUTPUT, metavar="FILE", help=f"{', '.join(_FORMATS)} ({_OUTPUT.name})"
    )
    options = parser.parse_args(words)
    if options.output.suffix not in _FORMATS:
        parser.error(f"--output must end with {', '.join(_FORMATS)}")
    return exit_status(lambda: _profile(options))


def _profile(options: argparse.Namespace) -> int:
    if not _SPY.exists():
        raise BenchError("py-spy is missing: install it into the virtual environment")
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with machine.scratch(_DISK) as directory:
        machine.file_system(directory)
        bench = Bench(directory, tls_submit.make_certificate(directory), options.seconds, delay=0)
        wanted = load.Load(options.parallel, SESSIONS[options.sessions], SIZES[options.size])
        relay = _Profiled(interpreter.choose(options.python), options.output.resolve(), hooks.files(options.plugins))
        cell = measure(bench, relay, wanted, tls=TLS[options.tls], slow=False)
    print(relay.version())
    print(f"{cell.rate:,.0f} messages/s while sampled, {cell.cpu * 1e3:.2f} ms CPU a message; {options.output}")
    return 0
