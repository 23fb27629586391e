# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a disk costs in memory is decided by what is allocated in it, not by its size."""
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_WORK = """
import resource, sys
import qimg
resource.setrlimit(resource.RLIMIT_AS, (192 << 20, 192 << 20))
path = sys.argv[1]
qimg.create(path, "qcow2", 64 << 40)
with qimg.open_image(path, "qcow2", purpose="write") as image:
    for offset in range(0, 64 << 40, 1 << 40):
        image.write(offset, b"x" * 65536)
qimg.plan_create_snapshot(path, "s", "qcow2").apply()
qimg.plan_resize(path, 65 << 40, "qcow2").apply()
report = qimg.check(path).result
print(report.leaks, report.corruptions, len(qimg.map_image(path)))
"""


def test_a_sparse_disk_of_64_tebibytes_takes_little_memory(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _WORK, str(tmp_path / "i")]
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environment)
    # Data and what lies between, 64 times; the last hole reaches to the new end.
    assert (done.stdout, done.stderr) == ("0 0 128\n", "")
