# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every command on exports of NBD servers: ours must answer and do what real qemu-img does."""
from __future__ import annotations

import re
import struct
from contextlib import ExitStack
from pathlib import Path

import pytest
from cli_differences import is_known_in_files, known_difference
from cli_support import split

from support import oracle
from support.nbd import qemu_nbd, serving, unix_listener
from support.side_by_side import SideBySide, template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.oracle

#: Socket -> the server behind it.
SERVERS = {
    "raw": qemu_nbd("disk.raw", "-x", "x"),
    "zero": qemu_nbd("blank.raw", "-x", "x"),
    "ro": qemu_nbd("disk.raw", "-x", "x", "--read-only"),
    "q": qemu_nbd("roomy.qcow2", "-x", "x"),
    "guest": qemu_nbd("data.qcow2", "-x", "x", "--read-only", format="qcow2"),
    "over": qemu_nbd("over.qcow2", "-x", "x", "--read-only", "--allocation-depth", format="qcow2"),
    "bitmap": qemu_nbd("marked.qcow2", "-x", "x", "--read-only", "--bitmap", "b", format="qcow2"),
    "leaky": qemu_nbd("leaky.qcow2", "-x", "x"),
    "small": qemu_nbd("small.raw", "-x", "x"),
    "odd": qemu_nbd("odd.raw", "-x", "x"),
    "names": qemu_nbd("disk.raw", "-x", "a name: with/all%sorts"),
}

#: What the images name themselves.
_NEEDED_BY = {"remote.qcow2": ["raw"], "readonly.qcow2": ["ro"]}

#: A line is a command, or several with ``;;`` between them; ``@raw`` is the export behind the socket ``raw``,
#: ``bitmap=@b`` the context of a dirty bitmap.
LINES = r"""
info @raw
info --output=json @raw
info -f raw @raw
info -f nbd @raw
info -f nbd --output=json @raw
info -f qcow2 @raw
info @q
info --output=json @q
info --backing-chain @q
info @odd
info --output=json @odd
info -U @raw
info 'nbd:unix:raw:exportname=x'
info --output=json 'nbd:unix:raw:exportname=x'
info 'nbd+unix:///y?socket=raw'
info 'nbd+unix:///?socket=raw'
info 'nbd+unix://?socket=raw'
info 'nbd+unix:///x?socket=nowhere'
info 'nbd+unix:///x?socket=raw&more=1'
info 'nbd+unix://host/x?socket=raw'
info 'nbd:unix:raw'
info 'nbd:unix:nowhere:exportname=x'
info 'nbd:'
info 'nbd:unix:'
info 'nbd:unix::exportname=x'
info 'nbd:localhost'
info nbd://127.0.0.1:1/x
info nbd:127.0.0.1:1
info nbd:127.0.0.1:1:exportname=x
info nbd://127.0.0.1:99999/x
info nbd://
info nbd:///x
info 'nbd+unix:///a%20name%3A%20with/all%25sorts?socket=names'
info --output=json 'nbd+unix:///a%20name%3A%20with/all%25sorts?socket=names'
info 'nbd:unix:names:exportname=a name: with/all%sorts'
info 'json:{"driver":"nbd","server":{"type":"unix","path":"raw"},"export":"x"}'
info --output=json 'json:{"driver":"nbd","server":{"type":"unix","path":"raw"},"export":"x"}'
info 'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"unix","path":"raw"},"export":"x"}}'
info 'json:{"driver":"raw","file.driver":"nbd","file.path":"raw","file.export":"x"}'
info --output=json 'json:{"driver":"raw","file.driver":"nbd","file.path":"raw","file.export":"x"}'
info 'json:{"driver":"raw","offset":512,"size":1024,"file.driver":"nbd","file.path":"raw","file.export":"x"}'
info 'json:{"driver":"nbd","server":{"type":"unix"},"export":"x"}'
info 'json:{"driver":"nbd","server":{"type":"nonsense"},"export":"x"}'
info 'json:{"driver":"nbd","server":{"path":"raw"},"export":"x"}'
info 'json:{"driver":"nbd","server":{"type":"unix","path":"raw","more":1},"export":"x"}'
info 'json:{"driver":"nbd","path":"raw","host":"x"}'
info 'json:{"driver":"nbd","export":"x"}'
info 'json:{"driver":"nbd","path":"raw","export":"x","nonsense":1}'
info --image-opts driver=nbd,path=raw,export=x
info --image-opts driver=nbd,server.type=unix,server.path=raw,export=x
info --image-opts driver=raw,file.driver=nbd,file.server.type=unix,file.server.path=raw,file.export=x
info --image-opts driver=qcow2,file.driver=nbd,file.path=q,file.export=x
info --image-opts driver=nbd,path=raw,export=x,tls-creds=none
map @raw
map --output=json @raw
map --output=json -s 1M -l 2M @raw
map @q
map --output=json @q
map --output=json @guest
map --output=json @over
map --output=json @odd
map --output=json --image-opts driver=nbd,path=over,export=x,x-dirty-bitmap=qemu:allocation-depth
map --output=json --image-opts driver=nbd,path=bitmap,export=x,x-dirty-bitmap=@b
map --output=json --image-opts driver=nbd,path=bitmap,export=x,x-dirty-bitmap=@c
map --output=json --image-opts driver=raw,file.driver=nbd,file.path=bitmap,file.export=x,file.x-dirty-bitmap=@b
check @raw
check @q
check --output=json @q
check -r all @leaky
check -r leaks @leaky
check -f qcow2 @raw
compare @raw disk.raw
compare @raw @zero
compare @raw @raw
compare -s @raw disk.raw
compare @q @guest
compare -f raw @odd -F raw odd.raw
compare data.qcow2 @guest
compare @raw @small
compare -s @raw @small
convert -O raw @raw new.raw
convert -O qcow2 @raw new.qcow2
convert -f raw -O qcow2 -c @raw new.qcow2
convert -O qcow2 @guest new.qcow2
convert -O qcow2 -W -m 4 @guest new.qcow2
convert -O qcow2 -B data.qcow2 -F qcow2 @guest new.qcow2
convert -n -O raw disk.raw @zero
convert -n -O raw data.qcow2 @zero
convert -n --target-is-zero -O raw data.qcow2 @zero
convert -n -S 0 -O raw data.qcow2 @zero
convert -n -W -O raw data.qcow2 @zero
convert -n -O raw data.qcow2 @ro
convert -n -O raw data.qcow2 @small
convert -n -O raw @raw @zero
convert -n -O qcow2 disk.raw @q
convert -O raw disk.raw @zero
convert -O raw data.qcow2 @raw
convert -O raw data.qcow2 @ro
convert -O raw data.qcow2 @small
convert -O qcow2 disk.raw @zero
convert -O qcow2 -c disk.raw @zero
convert -O raw @ro new.raw
convert -O raw 'nbd+unix:///y?socket=raw' new.raw
convert -O raw 'nbd+unix:///x?socket=nowhere' new.raw
convert -n -O raw disk.raw 'nbd+unix:///y?socket=raw'
convert -O raw disk.raw 'nbd+unix:///x?socket=nowhere'
convert -n --target-image-opts disk.raw driver=nbd,path=zero,export=x
convert -n --target-image-opts disk.raw driver=raw,file.driver=nbd,file.path=zero,file.export=x
convert -n --image-opts --target-image-opts driver=nbd,path=raw,export=x driver=nbd,path=zero,export=x
convert --salvage -O raw @raw new.raw
convert -t none -T none -n -O raw disk.raw @zero
convert -t writethrough -n -O raw disk.raw @zero
convert -t unsafe -n -O raw disk.raw @zero
convert -p -n -O raw disk.raw @zero
create -f raw @zero 1M
create -f raw @zero 8M
create -f raw @zero 9M
create -f raw @ro 8M
create -f qcow2 @zero 64M
create -f qcow2 @raw 3G
create -f qcow2 @zero
create -f qcow2 -o preallocation=metadata @zero 1M
create -f qcow2 -b @guest -F raw new.qcow2
create -f qcow2 -b @guest -F qcow2 new.qcow2
create -f qcow2 -b @q -F qcow2 new.qcow2 5M
create -f qcow2 -b 'nbd+unix:///y?socket=raw' -F raw new.qcow2
create -f qcow2 -u -b 'nbd+unix:///y?socket=raw' -F raw new.qcow2 5M
create -f qcow2 @small 1G
create -f raw 'nbd+unix:///x?socket=nowhere' 1M
measure -O qcow2 @raw
measure -O raw @raw
measure -O qcow2 @guest
measure --output=json -O qcow2 @q
dd if=@raw of=new.raw bs=64k
dd -O qcow2 if=@guest of=new.qcow2 bs=1M count=3 skip=1
dd if=disk.raw of=@zero bs=1M
dd -f raw -O raw if=disk.raw of=@zero bs=1M count=2
dd if=disk.raw of=@ro bs=1M
commit @q
commit remote.qcow2
commit -d remote.qcow2
map --output=json remote.qcow2
map remote.qcow2
info --backing-chain remote.qcow2
info --backing-chain --output=json remote.qcow2
compare remote.qcow2 @raw
convert -O raw remote.qcow2 new.raw
rebase -b @zero -F raw remote.qcow2
rebase -b '' remote.qcow2
rebase -u -b @zero -F raw remote.qcow2
rebase -u -b data.qcow2 -F qcow2 @q
rebase -b @nowhere -F raw remote.qcow2
snapshot -c s @q
snapshot -l @q
snapshot -l @raw
snapshot -c s @raw
snapshot -a first @q
snapshot -d first @q
snapshot -c s @guest
resize @q 20M
resize -f raw @raw 4M
resize --shrink -f raw @raw 4M
resize -f raw @raw 8M
resize -f raw @raw 9M
resize --shrink @q 2M
amend -o compat=1.1,lazy_refcounts=on @q
amend -o refcount_bits=8 @q
amend -o size=12M @q
amend -f raw -o size=1M @raw
bitmap --add @q n
bitmap --add --disable -g 1M @q n
bitmap --remove @q b
bitmap --clear @q b
bitmap --disable @q b
bitmap --merge b --add @q n
info nbd:127.0.0.1:1,
info nbd:127.0.0.1:1,to=3
info nbd:127.0.0.1:1,to=x
info nbd:127.0.0.1:1,ipv6=on
info nbd:127.0.0.1:1,ipv4=bla
info nbd:127.0.0.1:1,nonsense=on
info nbd:127.0.0.1:
info nbd:[::1
info nbd:[::1]
info nbd:[::1]:
info nbd:[]:1
info nbd:a/b:c
info -f nbd ./nbd:x
info -f nbd json:{}
info -f file @raw
info -f file json:{}
info 'json:{"driver":"nbd","server":"raw","export":"x"}'
info 'json:{"driver":"nbd","server":{},"export":"x"}'
info 'json:{"driver":"nbd","server":{"type":"inet","host":"127.0.0.1","port":"1","to":"x"}}'
info 'json:{"driver":"nbd","server":{"type":"fd","str":"x"},"export":"x"}'
info 'json:{"driver":"nbd","server":{"type":"vsock","cid":"x","port":"1"},"export":"x"}'
info 'json:{"driver":"nbd","server":{"type":"vsock","cid":"9999999999","port":"1"},"export":"x"}'
info 'json:{"driver":"nbd","path":"raw","export":"x","x-dirty-bitmap":""}'
info 'json:{"driver":"nbd","file":{"driver":"file","filename":"disk.raw"}}'
create -f raw nbd:nonsense 1M
create -f qcow2 nbd: 1M
create -f qcow2 'nbd+unix://x/?a' 1M
create -f nbd -o help
create -f nbd -o help @zero
create -f raw -o help @zero
create -f qcow2 -o nocow=on @zero 1M
create -f nbd @zero 1M
create -f nbd @zero 9M
create -f nbd @zero
create -f nbd @ro 1M
create -f nbd -o preallocation=full @zero 1M
create -f nbd new.raw 1M
create -f file @zero 1M
create -f qcow2 -b nbd:nonsense -F raw new.qcow2
create -f qcow2 -u -b nbd:nonsense -F raw new.qcow2 1M ;; info --backing-chain new.qcow2 ;; map new.qcow2
create -f qcow2 -u -b nonsense:x -F raw new.qcow2 1M ;; info --backing-chain new.qcow2
create -f qcow2 -b @raw -F nbd new.qcow2 ;; info --backing-chain new.qcow2
create -f qcow2 -b disk.raw -F nbd new.qcow2
create -f qcow2 -u -b disk.raw -F nbd new.qcow2 1M ;; map new.qcow2
create -f qcow2 -b 'json:{"driver":"nbd","path":"raw","export":"x"}' -F raw new.qcow2
create -f qcow2 -u -b 'json:{"driver":"nbd","path":"raw","export":"x"}' -F raw new.qcow2 8M ;; map new.qcow2
create -f qcow2 -u -b 'json:{"driver":"nbd","path":"raw","export":"x"}' -F nbd new.qcow2 8M ;; map new.qcow2
create -f qcow2 -u -b 'json:{"driver":"qcow2","file.driver":"nbd","file.path":"q"}' -F raw new.qcow2 8M ;; map new.qcow2
create -f qcow2 -b nbd:unix:raw:exportname=x -F raw new.qcow2 ;; commit -b @raw new.qcow2
create -f qcow2 -b nbd:unix:raw:exportname=x -F raw new.qcow2 ;; commit -b nbd:unix:raw:exportname=x new.qcow2
create -f qcow2 -u -b rel.raw -F raw @zero 1M ;; info @zero ;; info --backing-chain @zero ;; map @zero
create -f qcow2 -o data_file=rel.raw @zero 1M ;; info @zero
create -f qcow2 -o data_file=@nowhere new.qcow2 9M
create -f qcow2 -o data_file=@zero new.qcow2 9M
create -f qcow2 -o data_file=nbd:nonsense new.qcow2 9M
create -f qcow2 -o preallocation=metadata @zero 8M
rebase -u -b rel.raw -F raw @q ;; info --output=json @q ;; convert -O raw @q new.raw ;; rebase -u -b '' @q
rebase -b @raw -F nbd over.qcow2
rebase -b disk.raw -F nbd over.qcow2
commit readonly.qcow2
commit -d readonly.qcow2
commit -b @ro readonly.qcow2
convert -O raw disk.raw nbd:nonsense
convert -n -O raw disk.raw nbd:nonsense
convert -O qcow2 -o preallocation=metadata disk.raw @zero
convert -O qcow2 -o data_file=@small disk.raw new.qcow2
convert -B rel.raw -F raw -O qcow2 disk.raw @zero
convert -O nbd disk.raw @zero
convert -n -O nbd disk.raw @zero
convert -O nbd disk.raw new.raw
convert -O nbd disk.raw @small
convert -O nbd -o help disk.raw @zero
dd if=disk.raw of=nbd:nonsense
dd if=disk.raw of=@small
dd -O nbd if=disk.raw of=@zero
dd -O nbd if=disk.raw of=new.raw
measure -O nbd disk.raw
amend -f nbd -o help
"""


def build(directory: Path) -> None:
    """The images that are exported."""

    def create(name: str, *options: str, format: str = "qcow2") -> None:
        oracle.qemu_img("create", "-q", "-f", format, *options[:-1], name, options[-1], cwd=directory)

    def write(name: str, *commands: str, format: str | None = "qcow2") -> None:
        oracle.qemu_io(name, *commands, format=format, cwd=directory)

    create("disk.raw", "8M", format="raw")
    write("disk.raw", "write -P 1 1M 1M", "write -P 2 5000k 300k", format="raw")
    create("blank.raw", "8M", format="raw")
    create("small.raw", "1M", format="raw")
    (directory / "odd.raw").write_bytes(bytes(1000) + b"odd" * 700)
    create("data.qcow2", "8M")
    write("data.qcow2", "write -P 3 2M 1M", "write -P 4 7M 64k")
    create("roomy.qcow2", "-o", "cluster_size=4k", "8M")
    write("roomy.qcow2", "write -P 5 1M 200k", "write -z 3M 300k", "write -P 6 4M 8k")
    oracle.qemu_img("snapshot", "-c", "first", "roomy.qcow2", cwd=directory)
    oracle.qemu_img("bitmap", "--add", "roomy.qcow2", "b", cwd=directory)
    write("roomy.qcow2", "write -P 7 1100k 20k")
    with open(directory / "roomy.qcow2", "r+b") as file:
        file.truncate(16 << 20)
    create("leaky.qcow2", "8M")
    write("leaky.qcow2", "write -P 5 1M 200k")
    content = bytearray((directory / "leaky.qcow2").read_bytes())
    table = struct.unpack_from(">Q", content, 48)[0]
    struct.pack_into(">HH", content, struct.unpack_from(">Q", content, table)[0] + 2 * 20, 1, 3)
    (directory / "leaky.qcow2").write_bytes(content.ljust(4 << 20, b"\0"))
    create("over.qcow2", "-b", "data.qcow2", "-F", "qcow2", "8M")
    write("over.qcow2", "write -P 8 128k 64k", "write -z 2560k 128k")
    create("marked.qcow2", "8M")
    oracle.qemu_img("bitmap", "--add", "marked.qcow2", "b", cwd=directory)
    write("marked.qcow2", "write -P 9 1M 100k", "write -P 9 6M 1k")
    create("remote.qcow2", "-u", "-b", "nbd+unix:///x?socket=raw", "-F", "raw", "8M")
    create("readonly.qcow2", "-u", "-b", "nbd+unix:///x?socket=ro", "-F", "raw", "8M")
    for name in ("remote.qcow2", "readonly.qcow2"):
        write(oracle.alone(name), "write -P 10 4M 64k", "write -z 1M 64k", format=None)


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the images that are exported."""
    return template(tmp_path_factory.getbasetemp() / "nbd-images", build)


def named(line: str) -> list[str]:
    """The words of a line, with the exports' names in full."""
    words = []
    for word in split(line):
        before, at, socket = word.partition("@")
        meaning = "qemu:dirty-bitmap:" if before.endswith("bitmap=") else "nbd+unix:///x?socket="
        words.append(before + meaning + socket if at else word)
    return words


class Exports:
    """The servers that a command line needs, for real qemu-img and for us, each with files of its own."""

    def __init__(self, pair: SideBySide, words: Sequence[str]) -> None:
        self._pair = pair
        text = " ".join(words)
        self._names = [
            name for name in SERVERS
            if re.search(r"(socket=|path=|path\":\"|unix:)%s\b" % name, text) or name in _NEEDED_BY.get(words[-1], ())
            or name in _NEEDED_BY.get(words[-2], ())
        ]
        self._stack = ExitStack()

    def __enter__(self) -> Exports:
        with ExitStack() as stack:
            for directory in (self._pair.theirs, self._pair.ours):
                for name in self._names:
                    listener = stack.enter_context(unix_listener(directory, name))
                    stack.enter_context(serving(SERVERS[name], listener, directory))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()


@pytest.mark.parametrize("line", LINES.strip().split("\n"))
def test_a_command_does_what_qemu_img_does(line: str, exported: Path, tmp_path: Path) -> None:
    pair = SideBySide(tmp_path, exported, is_known_in_files)
    commands = [named(command) for command in line.split(";;")]
    with Exports(pair, [word for words in commands for word in words]):
        for words in commands:
            theirs, ours = pair.run(words)
            if theirs != ours and known_difference(words, theirs, ours) is None:
                raise pair.difference(theirs, ours)
    pair.expect_same_files()
