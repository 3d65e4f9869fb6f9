"""What `make run` starts: its configuration, and its script."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

import pytest

from mailboat.config.settings import Endpoint
from mailboat.loading.load import load

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "run-local"


def test_the_configuration_is_right_and_leads_every_domain_to_the_sink() -> None:
    loaded = load(ROOT / "examples" / "run-local", {})
    assert [str(fault) for fault in (*loaded.faults, *loaded.warnings)] == []
    settings = loaded.settings
    assert settings is not None
    assert settings.smtp.listen == (Endpoint("127.0.0.1", 2525),)
    assert settings.http.listen == (Endpoint("127.0.0.1", 9025),)
    assert Path(settings.outbound.queue_dir).resolve() == ROOT / "var" / "queue"
    (route,) = settings.outbound.routes
    assert route.domains == ("*",)
    assert "127.0.0.1:2526" in str(route.hosts[0])


def test_the_scripts_are_bash_and_executable() -> None:
    for script in (SCRIPT, ROOT / ".ci" / "run"):
        assert script.stat().st_mode & 0o111
        subprocess.run(["bash", "-n", script], check=True)


def free_addresses(count: int) -> list[str]:
    """Loopback addresses that nothing listens on."""
    with ExitStack() as stack:
        bound = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{each.getsockname()[1]}" for each in bound]


def run_local(mailboat: Path, addresses: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SCRIPT, "examples/run-local", *addresses],
        env={"MAILBOAT": str(mailboat), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_relay_that_does_not_start_ends_the_sink_and_fails(tmp_path: Path) -> None:
    mailboat = tmp_path / "mailboat"
    mailboat.write_text(
        "#!/usr/bin/env bash\n"
        f'if [ "$1" = relay ]; then until [ -e {tmp_path}/up ]; do sleep 0.02; done; exit 78; fi\n'
        f"trap 'echo ended >{tmp_path}/sink; exit 0' TERM\n"
        f"echo >{tmp_path}/up\n"
        "while :; do sleep 0.02; done\n"
    )
    mailboat.chmod(0o755)
    done = run_local(mailboat, free_addresses(3))
    assert done.returncode == 78
    assert "did not start" in done.stderr
    assert (tmp_path / "sink").read_text() == "ended\n"


@pytest.mark.parametrize("which", range(3))
def test_an_address_that_is_taken_is_named_and_nothing_is_started(which: int, tmp_path: Path) -> None:
    addresses = free_addresses(3)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        addresses[which] = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_local(tmp_path / "never-started", addresses)
    assert done.returncode == 1
    assert f"something listens on {addresses[which]} already" in done.stderr
