# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever the bytes of an image are, an operation answers or raises an ImageError, in bounded memory and time."""
from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import qimg
from qimg.formats.capabilities import Compressing, HasBitmaps, HasSnapshots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER = 512
EXTREMES = (0, 1, 2, 3, 0xFF, 1 << 31, 1 << 32, 1 << 62, 1 << 63, (1 << 64) - 1)
#: Each takes the damaged image's path and the path of something new beside it.
OPERATIONS: dict[str, Callable[[str, str], object]] = {
    "info": lambda path, new: qimg.info(path),
    "info_chain": lambda path, new: qimg.info_chain(path),
    "map": lambda path, new: qimg.map_image(path, limit=1000),
    "check": lambda path, new: qimg.check(path),
    "snapshots": lambda path, new: qimg.list_snapshots(path),
    "bitmaps": lambda path, new: qimg.list_bitmaps(path),
    "read": lambda path, new: _read_everywhere(path),
    "compress": lambda path, new: qimg.convert(path, new, "qcow2", "qcow2", compress=True),
    "snapshot": lambda path, new: qimg.plan_create_snapshot(path, "new", "qcow2").apply(),
    "resize": lambda path, new: qimg.plan_resize(path, 8 << 20, "qcow2").apply(),
    "amend": lambda path, new: qimg.plan_amend(path, {"refcount_bits": 32}, "qcow2").apply(),
    "repair": lambda path, new: qimg.plan_repair(path, "all", "qcow2").apply(),
    "write": lambda path, new: _write_everywhere(path),
    "apply": lambda path, new: qimg.apply_snapshot(path, "1", "qcow2"),
    "delete": lambda path, new: qimg.delete_snapshot(path, "1", "qcow2"),
    "clear": lambda path, new: qimg.clear_bitmap(path, "b", "qcow2"),
    "commit": lambda path, new: qimg.commit(path, format="qcow2"),
    "rebase": lambda path, new: qimg.rebase(path, None, format="qcow2"),
    "measure": lambda path, new: qimg.measure(path, "qcow2"),
}


def _read_everywhere(path: str) -> None:
    with qimg.open_image(path, "qcow2") as image:
        for offset in range(0, min(image.size, 1 << 20), 64 << 10):
            image.read(offset, min(4096, image.size - offset))


def _write_everywhere(path: str) -> None:
    with qimg.open_image(path, "qcow2", purpose="write") as image:
        for offset in range(0, min(image.size, 1 << 20), 128 << 10):
            image.write(offset, b"new" * min(2000, (image.size - offset) // 3))
        image.write_zeroes(0, min(image.size, 70000))
        image.discard(0, min(image.size, 140000))


def _sound_image(path: Path) -> bytes:
    """A small image with everything in it: snapshots, bitmaps, compressed clusters, a backing file."""
    path.with_name("base.raw").write_bytes(b"base" * (64 << 10))
    options = {"cluster_size": CLUSTER}
    qimg.create(str(path), "qcow2", 1 << 20, options=options, backing_file="base.raw", backing_format="raw")
    with qimg.open_image(str(path), "qcow2", purpose="write") as image:
        assert isinstance(image, Compressing) and isinstance(image, HasSnapshots) and isinstance(image, HasBitmaps)
        image.write(0, b"plain" * 1000)
        image.write_compressed(16384, image.compressor()(memoryview(b"c" * CLUSTER)), memoryview(b"c" * CLUSTER))
        image.create_snapshot("old", 1, 2)
        image.write(512, b"newer" * 500)
        image.write_zeroes(65536, 8192)
        image.add_bitmap("b")
    return path.read_bytes()


def _damaged(sound: bytes, chance: random.Random) -> bytes:
    if chance.random() < 0.15:
        return sound[: chance.randrange(len(sound))]
    data = bytearray(sound)
    for _number in range(chance.choice((1, 1, 2, 4))):
        size = chance.choice((1, 2, 4, 8))
        # Half of the damage hits the header, the rest any table.
        offset = chance.randrange(112) if chance.random() < 0.5 else chance.randrange(len(data) // 8) * 8
        somewhere = chance.randrange(len(sound) // CLUSTER) * CLUSTER
        value = chance.choice((*EXTREMES, CLUSTER, (1 << 63) + CLUSTER * 3, somewhere, chance.randrange(1 << 64)))
        data[offset : offset + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "big")
    return bytes(data)


def _try_all(directory: Path, seeds: range) -> None:
    sound = _sound_image(directory / "sound.qcow2")
    for seed in seeds:
        damaged = _damaged(sound, random.Random(seed))
        for name, operation in OPERATIONS.items():
            path, new = directory / "damaged.qcow2", directory / "new.qcow2"
            path.write_bytes(damaged)
            new.unlink(missing_ok=True)
            try:
                operation(str(path), str(new))
            except qimg.ImageError as error:
                assert str(error), "an error has words"
            except BaseException:
                sys.stderr.write("seed %d, %s:\n" % (seed, name))
                raise


@pytest.mark.parametrize("part", range(4))
def test_damage_ends_in_an_answer_or_an_error_of_ours(part: int, tmp_path: Path) -> None:
    count = int(os.environ.get("QIMG_DAMAGED_IMAGES", "120")) // 4
    words = [sys.executable, __file__, str(tmp_path), str(part * count), str((part + 1) * count)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (120, 120))
    _try_all(Path(sys.argv[1]), range(int(sys.argv[2]), int(sys.argv[3])))
