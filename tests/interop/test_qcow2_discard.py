# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a discard leaves of clusters that take no space already: the same as with QEMU."""
from __future__ import annotations

import pytest

from qimg.formats.opening import Opener
from support import oracle
from support.comparable import map_elsewhere

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.oracle


@pytest.mark.parametrize("extended_l2", ["on", "off"])
@pytest.mark.parametrize("backing", [(), ("-b", "base.raw", "-F", "raw")], ids=["alone", "overlay"])
def test_clusters_without_data_stay_as_they_are_where_they_read_as_zeroes(
    tmp_path: Path, backing: tuple[str, ...], extended_l2: str
) -> None:
    (tmp_path / "base.raw").write_bytes(b"\x07" * (1 << 20))
    options = "cluster_size=16k,extended_l2=%s" % extended_l2
    for name in ("ours.qcow2", "theirs.qcow2"):
        oracle.qemu_img("create", "-q", "-f", "qcow2", "-o", options, *backing, name, "128k", cwd=tmp_path)
        # Zeroes in a part of the first cluster, in all of the second, and data in the third.
        oracle.qemu_io(
            tmp_path / name, "write -z 1k 2k", "write -z 16k 16k", "write -P 5 32k 512", format="qcow2"
        )

    oracle.qemu_io(tmp_path / "theirs.qcow2", "discard 0 64k", format="qcow2")
    with Opener().open(str(tmp_path / "ours.qcow2"), purpose="write") as image:
        image.discard(0, 64 << 10)

    maps = [map_elsewhere(oracle.map_(tmp_path / name)) for name in ("ours.qcow2", "theirs.qcow2")]
    assert maps[0] == maps[1]
    assert oracle.is_clean(tmp_path / "ours.qcow2")
