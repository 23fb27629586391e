# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with an external data file, in which guest data begins at offset 0."""
from __future__ import annotations

import pytest

from qimg.formats.opening import WRITE, Opener
from support import oracle
from support.comparable import check_elsewhere, map_elsewhere
from support.in_process import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("preallocation", ["off", "metadata"])
@pytest.mark.parametrize("raw", ["off", "on"])
@pytest.mark.parametrize("extended", ["off", "on"])
def test_a_discard_drops_the_first_cluster_too(tmp_path: Path, extended: str, raw: str, preallocation: str) -> None:
    options = "data_file=data.raw,data_file_raw=%s,extended_l2=%s,preallocation=%s" % (raw, extended, preallocation)
    seen = []
    for side in ("ours", "qemu"):
        directory = tmp_path / side
        directory.mkdir()
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, "i.qcow2", "150k", cwd=directory)
        if side == "ours":
            with inside(directory), Opener().open("i.qcow2", "qcow2", WRITE) as image:
                image.discard(0, 150 << 10)
        else:
            oracle.qemu_io("i.qcow2", "discard 0 150k", cwd=directory)
        code, found, _lines = oracle.check("i.qcow2", cwd=directory)
        seen.append((code, check_elsewhere(found), map_elsewhere(oracle.map_("i.qcow2", cwd=directory))))
    assert seen[0] == seen[1]
