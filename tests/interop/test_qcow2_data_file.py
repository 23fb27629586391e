# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images with an external data file, in which guest data begins at offset 0."""
from __future__ import annotations

import pytest

from qimg.formats.driver import WRITE
from qimg.formats.opening import Opener
from support import oracle
from support.comparable import check_elsewhere, map_elsewhere
from support.in_process import inside

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from qimg.formats.base import Image

pytestmark = pytest.mark.oracle


COMMANDS: dict[str, Callable[[Image], None]] = {
    "discard 0 150k": lambda image: image.discard(0, 150 << 10),
    "write -z -u 0 150k": lambda image: image.write_zeroes(0, 150 << 10),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("preallocation", ["off", "metadata"])
@pytest.mark.parametrize("raw", ["off", "on"])
@pytest.mark.parametrize("extended", ["off", "on"])
def test_the_first_cluster_is_given_back_too(
    tmp_path: Path, extended: str, raw: str, preallocation: str, command: str
) -> None:
    options = "data_file=data.raw,data_file_raw=%s,extended_l2=%s,preallocation=%s" % (raw, extended, preallocation)
    seen = []
    for side in ("ours", "qemu"):
        directory = tmp_path / side
        directory.mkdir()
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, "i.qcow2", "150k", cwd=directory)
        if side == "ours":
            with inside(directory), Opener().open("i.qcow2", "qcow2", WRITE) as image:
                COMMANDS[command](image)
        else:
            oracle.qemu_io("i.qcow2", command, cwd=directory)
        code, found, _lines = oracle.check("i.qcow2", cwd=directory)
        seen.append((code, check_elsewhere(found), map_elsewhere(oracle.map_("i.qcow2", cwd=directory))))
    assert seen[0] == seen[1]
