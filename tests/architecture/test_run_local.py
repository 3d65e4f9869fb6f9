"""What `make run` starts: its configuration, and its script."""

from __future__ import annotations

import subprocess
from pathlib import Path

from mailboat.config.load import load
from mailboat.config.settings import Endpoint

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
    done = subprocess.run(
        [SCRIPT], env={"MAILBOAT": str(mailboat), "PATH": "/usr/bin:/bin"}, capture_output=True, timeout=30, check=False
    )
    assert done.returncode == 78
    assert (tmp_path / "sink").read_text() == "ended\n"
