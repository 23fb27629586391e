# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line as a process: its name, files that a shell gives it, devices, and what it asks the system for."""
from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from cli_support import install, split

from support import oracle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.oracle

MIB = 1 << 20


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Ours, installed under qemu-img's name."""
    return str(install(tmp_path_factory.mktemp("bin")))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    oracle.qemu_img("create", "-q", "-f", "qcow2", "disk.qcow2", "4M", cwd=tmp_path)
    oracle.qemu_io("disk.qcow2", "write -P 3 0 1M", "write -P 4 2M 300k", cwd=tmp_path)
    return tmp_path / "disk.qcow2"


def test_it_calls_itself_as_it_is_called(program: str, tmp_path: Path) -> None:
    for name in (program, program.replace("qemu-img", "qimg")):
        answer = oracle.run(name, "info", "missing", cwd=tmp_path)
        assert answer.stderr == "%s: Could not open 'missing': Could not open 'missing': %s\n" % (
            os.path.basename(name), os.strerror(2)
        )  # fmt: skip


# Files from the shell

_SHELL = r"""
exec 5<disk.qcow2; "$P" info --output=json /dev/fd/5
exec 5<disk.qcow2; "$P" check /dev/fd/5
exec 5<disk.qcow2; "$P" convert -f qcow2 -O raw /dev/fd/5 new
exec 5<>disk.qcow2; "$P" snapshot -c s /dev/fd/5
exec 5<>disk.qcow2; "$P" snapshot -c s /proc/self/fd/5
exec 5<disk.qcow2; "$P" resize /dev/fd/5 5M
exec 6>new; "$P" convert -f qcow2 -O raw disk.qcow2 /dev/fd/6
exec 6<>new; "$P" convert -f qcow2 -O qcow2 disk.qcow2 /dev/fd/6
truncate -s 4M new; exec 6<>new; "$P" convert -n -f qcow2 -O raw disk.qcow2 /dev/fd/6
exec 6<>new; "$P" create -f qcow2 /dev/fd/6 1M
"$P" info /dev/fd/9
"$P" info /dev/stdin < disk.qcow2
cat disk.qcow2 | "$P" info /dev/stdin
mkfifo pipe; exec 7<>pipe; "$P" info pipe
"$P" info /dev/zero
"$P" compare -f raw -F raw /dev/null /dev/null
"$P" create -f raw /dev/full 1M
"$P" convert -f qcow2 -O raw disk.qcow2 /dev/null
"$P" create -f qcow2 file:a:b 1M && "$P" info file:a:b && "$P" info ./a:b; "$P" info a:b
"$P" create -f qcow2 -- -x 1M; "$P" info -- -x; "$P" info ./-x
"$P" create -f qcow2 $'n\n\xff x' 1M && "$P" create -f qcow2 -b $'n\n\xff x' -F qcow2 new && "$P" info --output=json new
"""


@pytest.mark.parametrize("line", _SHELL.strip().split("\n"))
def test_files_of_the_shell_are_used_as_by_qemu_img(line: str, program: str, disk: Path, tmp_path: Path) -> None:
    results = []
    for name in ("qemu-img", program):
        directory = tmp_path / ("theirs" if name == "qemu-img" else "ours")
        directory.mkdir()
        shutil.copy(disk, directory)
        done = subprocess.run(
            ["bash", "-c", line], cwd=directory, capture_output=True, check=False, timeout=60,
            env={**os.environ, "P": name, "LC_ALL": "C.UTF-8", "TZ": "UTC"},
        )  # fmt: skip
        stdout = re.sub(rb'("actual-size"|"virtual-size"): \d+|(disk size|file length): .*', b"", done.stdout)
        sizes = {}
        for path in directory.iterdir():
            if path.is_file() and path.name != "disk.qcow2":
                sizes[path.name] = oracle.run("qemu-img", "compare", "./" + path.name, "disk.qcow2", cwd=directory)
        results.append((done.returncode, stdout, done.stderr, sizes))

    assert results[1] == results[0]


# What the system is asked for

_TRACED = "openat,fsync,fdatasync,sync_file_range,pwrite64,pwritev,pwritev2,copy_file_range"


def _system_calls(words: list[str], directory: Path) -> str:
    trace = directory / "trace"
    done = subprocess.run(
        ["strace", "-f", "-y", "-o", str(trace), "-e", "trace=" + _TRACED, *words], cwd=directory, check=False,
        capture_output=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return trace.read_text("utf-8", "surrogateescape")


def _habits(trace: str, source: str) -> dict[str, bool]:
    """How an image is read and another one written."""
    opened = [line for line in trace.splitlines() if "openat(" in line and "O_DIRECTORY" not in line]
    direct = [line for line in opened if re.search(r"\bO_DIRECT\b", line)]
    synced = re.search(r"\b(fsync|fdatasync)\(|\bO_D?SYNC\b", trace) is not None
    return {
        "source direct": any('"%s"' % source in line for line in direct),
        "target direct": any("O_RDWR" in line for line in direct),
        "on the medium": synced,
    }


@pytest.mark.parametrize("cache", ["none", "writeback", "writethrough", "directsync", "unsafe"])
def test_a_target_is_written_through_the_cache_that_is_asked_for(cache: str, program: str, disk: Path) -> None:
    words = ["convert", "-t", cache, "-T", "writeback", "-O", "raw", "disk.qcow2", "new.raw"]

    theirs = _habits(_system_calls(["qemu-img", *words], disk.parent), "disk.qcow2")
    (disk.parent / "new.raw").unlink()
    ours = _habits(_system_calls([program, *words], disk.parent), "disk.qcow2")

    assert ours == theirs
    assert ours["on the medium"] == (cache != "unsafe") and ours["target direct"] == (cache in ("none", "directsync"))


@pytest.mark.parametrize("cache", ["none", "writeback"])
def test_a_source_is_read_through_the_cache_that_is_asked_for(cache: str, program: str, disk: Path) -> None:
    words = ["convert", "-T", cache, "-O", "raw", "disk.qcow2", "new.raw"]

    theirs = _habits(_system_calls(["qemu-img", *words], disk.parent), "disk.qcow2")
    ours = _habits(_system_calls([program, *words], disk.parent), "disk.qcow2")

    assert ours["source direct"] == theirs["source direct"] == (cache == "none")


@pytest.mark.parametrize("cache", ["writethrough", "directsync"])
def test_each_write_reaches_the_medium_under_writethrough(cache: str, program: str, disk: Path) -> None:
    """The file is opened so that each write is synchronous, where qemu-img syncs after each."""
    trace = _system_calls([program, "bench", "-w", "-c", "5", "-d", "1", "-t", cache, "disk.qcow2"], disk.parent)

    assert re.search(r'openat\([^"]*"disk.qcow2", O_RDWR[^)]*O_DSYNC', trace)


def test_copies_are_left_to_the_kernel_where_that_is_asked_for(program: str, disk: Path) -> None:
    oracle.qemu_img("convert", "-O", "raw", "disk.qcow2", "disk.raw", cwd=disk.parent)

    trace = _system_calls([program, "convert", "-C", "-f", "raw", "-O", "raw", "disk.raw", "new.raw"], disk.parent)

    assert "copy_file_range(" in trace
    assert (disk.parent / "new.raw").read_bytes() == (disk.parent / "disk.raw").read_bytes()


# Devices


@pytest.fixture(params=[512, 4096])
def devices(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two loop devices of 6 MiB with sectors of a size, full of old bytes: one for each program."""
    if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        pytest.skip("only root makes devices")
    attached: list[str] = []
    try:
        for name in ("theirs.device", "ours.device"):
            (tmp_path / name).write_bytes(b"\xee" * 6 * MIB)
            words = ["losetup", "-f", "--show", "-b", str(request.param), str(tmp_path / name)]
            done = subprocess.run(words, capture_output=True, text=True, check=False)
            if done.returncode:
                pytest.skip("no loop devices here: " + done.stderr)
            attached.append(done.stdout.strip())
        yield attached[0], attached[1]
    finally:
        for device in attached:
            subprocess.run(["losetup", "-d", device], check=True)


_ON_DEVICES = """
convert -O raw disk.qcow2 DEVICE
convert -n -O raw disk.qcow2 DEVICE
convert -n --target-is-zero -O raw disk.qcow2 DEVICE
convert -t none -T none -O raw disk.qcow2 DEVICE
convert -S 0 -W -t directsync -O raw disk.qcow2 DEVICE
convert -O qcow2 -t none disk.qcow2 DEVICE
convert -O qcow2 -o preallocation=metadata disk.qcow2 DEVICE
convert -O qcow2 -c disk.qcow2 DEVICE
convert -O qcow2 -o cluster_size=512 -t none disk.qcow2 DEVICE
create -f qcow2 DEVICE 20M
create -f raw DEVICE 1M
create -f raw DEVICE 20M
dd if=disk.qcow2 of=DEVICE bs=64k count=3
resize -f raw DEVICE 7M
resize -f raw --shrink DEVICE 1M
info -f raw DEVICE
map -f raw --output=json DEVICE
measure -f raw -O qcow2 DEVICE
compare -f qcow2 -F raw disk.qcow2 DEVICE
bench -f raw -w -t none -c 4 -d 2 -s 4096 --pattern 7 DEVICE
"""


@pytest.mark.parametrize("line", _ON_DEVICES.strip().split("\n"))
def test_devices_are_used_as_by_qemu_img(line: str, program: str, disk: Path, devices: tuple[str, str]) -> None:
    shown, content = [], []
    for name, device in zip(("qemu-img", program), devices):
        answer = oracle.run(name, *split(line.replace("DEVICE", device)), cwd=disk.parent)
        texts = [text.replace(device, "DEVICE") for text in answer[1:]]
        texts[0] = re.sub(r"completed in .*", "", texts[0])
        shown.append((answer.code, *texts))
        with open(device, "rb") as opened:
            format = "qcow2" if opened.read(4) == b"QFI\xfb" else "raw"
        content.append((format, oracle.read_guest(device, disk.parent / "content", format)))

    assert shown[1] == shown[0]
    # Real qemu-img leaves what it was told to be zero; what it does not write is old bytes on both.
    assert content[1] == content[0]


@pytest.mark.parametrize("mode", ["off", "metadata", "falloc", "full"])
def test_an_image_on_a_device_grows_in_the_modes_of_qemu_img(
    mode: str, program: str, devices: tuple[str, str], tmp_path: Path
) -> None:
    answers = []
    for name, device in zip(("qemu-img", program), devices):
        oracle.qemu_img("create", "-q", "-f", "qcow2", device, "1M")
        answer = oracle.run(name, "resize", "--preallocation=" + mode, device, "2M", cwd=tmp_path)
        answers.append((answer, oracle.info(device)["virtual-size"]))
        assert oracle.check(device)[0] == 0
    assert answers[1] == answers[0]


def test_a_signal_that_asks_for_progress_ends_no_command(program: str, tmp_path: Path) -> None:
    """bench says when it has begun; a command that does not know how far it is goes on."""
    (tmp_path / "disk.raw").write_bytes(bytes(MIB))
    words = [program, "bench", "-f", "raw", "-c", "2000", "disk.raw"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        first = running.stdout.readline()
        running.send_signal(signal.SIGUSR1)
        rest = running.stdout.read()

    assert running.returncode == 0 and first.startswith("Sending 2000") and rest.startswith("Run completed")


def test_who_reads_no_further_ends_a_command_in_peace(program: str, tmp_path: Path) -> None:
    with open(tmp_path / "disk.raw", "wb") as file:
        for start in range(0, 64 * MIB, 16384):
            file.seek(start)
            file.write(b"x" * 4096)

    done = subprocess.run(
        ["bash", "-c", '"$0" map -f raw disk.raw | head -n 1; echo "${PIPESTATUS[0]}"', program], cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.stderr == ""
    assert done.stdout.splitlines() == ["Offset          Length          Mapped to       File", "0"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_interrupts_a_command_finds_nothing_half_done(number: int, program: str, tmp_path: Path) -> None:
    oracle.qemu_img("create", "-q", "-f", "raw", "disk.raw", "8M", cwd=tmp_path)
    oracle.qemu_io("disk.raw", "write -P 3 0 8M", format="raw", cwd=tmp_path)
    words = [program, "convert", "-p", "-r", "1M", "-f", "raw", "-O", "qcow2", "disk.raw", "new"]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        # It is copying when it has something to show for it.
        while b"(0.00" in (shown := running.stdout.read(len("    (0.00/100%)\r"))):
            pass
        assert shown
        running.send_signal(number)
        try:
            _rest, said = running.communicate(timeout=30)
        finally:
            running.kill()

    assert (running.returncode, said) == (-number, b"")
    assert os.listdir(tmp_path) == ["disk.raw"]
