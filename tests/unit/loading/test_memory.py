"""The memory limit that the kernel sets for a process: cgroups of version 1 and 2, in a container and out of one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mailboat.loading.memory import memory_limit

MACHINE = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
MIB = 2**20


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        pytest.param("", {}, MACHINE, id="no cgroups"),
        pytest.param("0::/\n", {"memory.max": "268435456\n"}, 256 * MIB, id="v2 in a container"),
        pytest.param("0::/\n", {"memory.max": "max\n"}, MACHINE, id="v2 without a limit"),
        pytest.param("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1048576\n"}, MIB, id="v2 of a parent"),
        pytest.param("0::/../b\n", {"memory.max": "1048576\n"}, MIB, id="v2 above the namespace"),
        pytest.param(
            "4:cpu,cpuacct:/x\n3:memory:/a\n",
            {"memory/a/memory.limit_in_bytes": "1048576\n", "memory/memory.limit_in_bytes": "9223372036854771712\n"},
            MIB,
            id="v1",
        ),
        pytest.param(
            "3:memory:/kubepods/pod1\n0::/\n",
            {"memory/memory.limit_in_bytes": "1048576\n"},
            MIB,
            id="v1 in a container",
        ),
        pytest.param("3:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, MACHINE, id="v1, none"),
    ],
)
def test_the_lowest_limit_of_its_cgroups_counts_or_else_the_machine(
    membership: str, files: dict[str, str], expected: float, tmp_path: Path
) -> None:
    for name, text in {"proc/self/cgroup": membership, **{f"sys/fs/cgroup/{n}": t for n, t in files.items()}}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_limit(tmp_path) == expected


def test_a_system_without_proc_has_the_memory_of_the_machine(tmp_path: Path) -> None:
    assert memory_limit(tmp_path) == MACHINE
