"""How much memory may still be taken: folders as Linux shows them, of both versions of control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from playbill.backends.engines.machine.memory import free_memory

GIB = 1 << 30


def system(folder: Path, group: str, **files: int | str) -> tuple[Path, Path]:
    """A machine with 64 GiB free, of which this process's group has ``files`` (``a__b`` is a/b)."""
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/meminfo").write_text(f"MemTotal: {1 << 28} kB\nMemAvailable: {64 * GIB // 1024} kB\n")
    (folder / "proc/self/cgroup").write_text(group)
    for name, content in files.items():
        path = folder / "groups" / name.replace("__", "/").replace("_MAX", ".max").replace("_NOW", ".current")
        path = path.with_name(path.name.replace("_LIMIT", ".limit_in_bytes").replace("_USAGE", ".usage_in_bytes"))
        path = path.with_name(path.name.replace("_STAT", ".stat"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{content}\n")
    return folder / "proc", folder / "groups"


@pytest.mark.parametrize(
    ("group", "files", "free"),
    [
        ("0::/\n", {}, 64),
        ("0::/slurm/job_1/step_0\n", {"slurm__job_1__memory_MAX": 32 * GIB, "slurm__job_1__memory_NOW": 2 * GIB}, 30),
        ("0::/a\n", {"a__memory_MAX": "max", "a__memory_NOW": GIB}, 64),
        (
            "0::/a/b\n",
            {"a__memory_MAX": 9 * GIB, "a__memory_NOW": GIB, "a__b__memory_MAX": 40 * GIB, "a__b__memory_NOW": GIB},
            8,
        ),
        (
            "0::/a\n",
            {"a__memory_MAX": 8 * GIB, "a__memory_NOW": 6 * GIB, "a__memory_STAT": f"anon 1\ninactive_file {5 * GIB}"},
            7,
        ),
        (
            "4:memory:/job\n1:cpu,cpuacct:/job\n0::/\n",
            {"memory__job__memory_LIMIT": 16 * GIB, "memory__job__memory_USAGE": GIB},
            15,
        ),
        ("4:memory:/\n", {"memory__memory_LIMIT": 9223372036854771712, "memory__memory_USAGE": GIB}, 64),
        ("0::/seen/from/outside\n", {"memory_MAX": 12 * GIB, "memory_NOW": 2 * GIB}, 10),
        ("nonsense\n", {}, 64),
    ],
)
def test_the_least_of_machine_and_groups_counts(tmp_path, group, files, free):
    """A job's own limit is found wherever its group is; what the kernel can drop at once counts as free."""
    assert free_memory(*system(tmp_path, group, **files)) == free * GIB


def test_this_machine_has_some():
    assert free_memory() > 1 << 20
