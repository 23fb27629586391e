# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines on exports of NBD servers, and the servers."""
from __future__ import annotations

from support.nbd import nbdkit, qemu_nbd

#: Socket -> the server behind it.
SERVERS = {
    "raw": qemu_nbd("disk.raw", "-x", "x"),
    "zero": qemu_nbd("blank.raw", "-x", "x"),
    "ro": qemu_nbd("disk.raw", "-x", "x", "--read-only"),
    "q": qemu_nbd("roomy.qcow2", "-x", "x"),
    "guest": qemu_nbd("data.qcow2", "-x", "x", "--read-only", format="qcow2"),
    "over": qemu_nbd("over.qcow2", "-x", "x", "--read-only", "--allocation-depth", format="qcow2"),
    "bitmap": qemu_nbd("marked.qcow2", "-x", "x", "--read-only", "--bitmap", "b", format="qcow2"),
    "qro": qemu_nbd("roomy.qcow2", "-x", "x", "--read-only"),
    "leaky": qemu_nbd("leaky.qcow2", "-x", "x"),
    "small": qemu_nbd("small.raw", "-x", "x"),
    "odd": qemu_nbd("odd.raw", "-x", "x"),
    "names": qemu_nbd("disk.raw", "-x", "a name: with/all%sorts"),
}

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
info 'nbd:unix:raw'
info 'nbd:unix:nowhere:exportname=x'
info 'nbd:'
info 'nbd:unix:names:exportname=a name: with/all%sorts'
info 'json:{"driver":"nbd","server":{"type":"unix","path":"raw"},"export":"x"}'
info --output=json 'json:{"driver":"nbd","server":{"type":"unix","path":"raw"},"export":"x"}'
info 'json:{"driver":"raw","file":{"driver":"nbd","server":{"type":"unix","path":"raw"},"export":"x"}}'
info 'json:{"driver":"raw","file.driver":"nbd","file.path":"raw","file.export":"x"}'
info --output=json 'json:{"driver":"raw","file.driver":"nbd","file.path":"raw","file.export":"x"}'
info 'json:{"driver":"raw","offset":512,"size":1024,"file.driver":"nbd","file.path":"raw","file.export":"x"}'
info 'json:{"driver":"nbd","server":{"type":"unix"},"export":"x"}'
info 'json:{"driver":"nbd","server":{"path":"raw"},"export":"x"}'
info 'json:{"driver":"nbd","path":"raw","host":"x"}'
info 'json:{"driver":"nbd","export":"x"}'
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
info -f nbd ./nbd:x
info -f file @raw
info 'json:{"driver":"nbd","path":"raw","export":"x","x-dirty-bitmap":""}'
info 'json:{"driver":"nbd","file":{"driver":"file","filename":"disk.raw"}}'
create -f qcow2 nbd: 1M
create -f qcow2 'nbd+unix://x/?a' 1M
create -f nbd -o help
create -f nbd -o help @zero
create -f raw -o help @zero
create -f qcow2 -o nocow=on @zero 1M
create -f nbd @zero 1M
create -f nbd @zero
create -f nbd -o preallocation=full @zero 1M
create -f nbd new.raw 1M
create -f file @zero 1M
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
create -f qcow2 -o preallocation=metadata @zero 8M
rebase -u -b rel.raw -F raw @q ;; info --output=json @q ;; convert -O raw @q new.raw ;; rebase -u -b '' @q
rebase -b @raw -F nbd over.qcow2
rebase -b disk.raw -F nbd over.qcow2
commit readonly.qcow2
commit -d readonly.qcow2
commit -b @ro readonly.qcow2
convert -O qcow2 -o preallocation=metadata disk.raw @zero
convert -O qcow2 -o data_file=@small disk.raw new.qcow2
convert -B rel.raw -F raw -O qcow2 disk.raw @zero
dd if=disk.raw of=@small
amend -f nbd -o help
convert -O raw --image-opts driver=nbd,read-only=off,path=ro,export=x new.raw
convert -O raw --image-opts driver=raw,read-only=off,file.driver=nbd,file.path=ro,file.export=x new.raw
info -U --image-opts driver=nbd,read-only=off,path=zero,export=x
commit --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=nbd,backing.path=ro,backing.export=x
info --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=file
create -f raw -o preallocation=full @ro 8M
create -f raw -o preallocation=metadata @ro 9M
create -f raw -o preallocation= @zero 8M
convert -O raw -o preallocation=full disk.raw @ro
convert --image-opts -O raw driver=nbd,path=over,export=x,x-dirty-bitmap=qemu:allocation-depth new.raw
convert --image-opts -O qcow2 driver=nbd,path=bitmap,export=x,x-dirty-bitmap=@b new.qcow2
convert --image-opts -Oqcow2 -B odd.raw -Fraw driver=nbd,path=over,export=x,x-dirty-bitmap=qemu:allocation-depth new
dd --image-opts if=driver=nbd,path=over,export=x,x-dirty-bitmap=qemu:allocation-depth of=new.raw
bench --image-opts -c 3 driver=nbd,path=over,export=x,x-dirty-bitmap=qemu:allocation-depth
compare --image-opts driver=nbd,path=bitmap,export=x,x-dirty-bitmap=@b driver=nbd,path=bitmap,export=x
compare --image-opts driver=nbd,path=over,export=x driver=nbd,path=over,export=x,x-dirty-bitmap=qemu:allocation-depth
measure --image-opts -O qcow2 driver=nbd,path=bitmap,export=x,x-dirty-bitmap=@b
info 'nbd+unix:///x?socket=other&socket=raw'
info 'nbd+unix:///x?socket=raw&tls-hostname=x'
info nbd://loc%61lhost:1/x
info nbd://127.0.0.%31:1/x
"""


def _blocks(file: str, least: str, best: str, most: str) -> list[str]:
    """An nbdkit that refuses requests which are not of whole blocks."""
    return nbdkit(
        "--filter=blocksize-policy", "file", file, "blocksize-minimum=" + least, "blocksize-preferred=" + best,
        "blocksize-maximum=" + most, "blocksize-error-policy=error",
    )  # fmt: skip


_EXTENTS = "extents=echo 0 1M hole; echo 1M 1M zero; echo 2M 1M hole,zero; echo 3M 1M"
#: The same for nbdkit.
NBDKIT_SERVERS = {
    "uneven": nbdkit("memory", "3100"),
    "tiny": nbdkit("memory", "3100"),
    "unwritable": nbdkit("--filter=error", "file", "marked.qcow2", "error-pwrite=EIO", "error-pwrite-rate=1"),
    "nothing": nbdkit("memory", "0"),
    "byte": nbdkit("memory", "1"),
    "cluster": nbdkit("memory", "65k"),
    "clusters": nbdkit("memory", "192k"),
    "table": nbdkit("memory", "200k"),
    "scarce": nbdkit("memory", "320k"),
    "pages": _blocks("blank.raw", "4096", "64k", "1M"),
    "large": _blocks("blank.raw", "64k", "64k", "64k"),
    "little": _blocks("blank.raw", "1", "512", "4096"),
    "qpages": _blocks("roomy.qcow2", "4096", "64k", "1M"),
    "qlarge": _blocks("roomy.qcow2", "64k", "64k", "64k"),
    "nozero": nbdkit("--filter=nozero", "file", "blank.raw"),
    "slow": nbdkit("--filter=nozero", "file", "blank.raw", "fastzeromode=slow"),
    "fua": nbdkit("--filter=fua", "file", "blank.raw", "fuamode=native"),
    "noextents": nbdkit("--filter=noextents", "file", "disk.raw"),
    "simple": nbdkit("--no-sr", "file", "disk.raw"),
    "oldstyle": nbdkit("--oldstyle", "file", "disk.raw"),
    "closed": nbdkit("--filter=ip", "file", "disk.raw", "deny=all"),
    "torn": nbdkit("--filter=error", "file", "disk.raw", "error-pread=EIO", "error-pread-rate=1"),
    "unreadable": nbdkit("--filter=error", "memory", "8M", "error-pread=EIO", "error-pread-rate=1"),
    "late": nbdkit("--filter=delay", "file", "disk.raw", "delay-read=5ms", "delay-write=5ms"),
    "guarded": nbdkit("--filter=error", "file", "disk.raw", "error-pwrite=EPERM", "error-pwrite-rate=1"),
    # The largest disk that QEMU has, and a larger one.
    "largest": nbdkit("null", "size=9223372035781033984"),
    "toolarge": nbdkit("null", "size=9223372036854775807"),
    # What it says of its first MiB is that there is no space behind it, and not what it reads as.
    "thin": nbdkit(
        "eval", "get_size=echo 4M", "can_extents=exit 0", _EXTENTS,
        "pread=yes | head -c $3 | if [ $4 -ge 1048576 ] && [ $4 -lt 3145728 ]; then tr 'y\\n' '\\0'; else cat; fi",
    ),
}  # fmt: skip

NBDKIT_LINES = r"""
create -f raw @uneven 3100 ;; info --output=json @uneven
create -f raw @uneven 3101
dd -f raw -O raw bs=3100 if=odd.raw of=@uneven ;; convert -f raw -O raw @uneven new.raw
dd -f raw -O raw bs=1 count=99 if=odd.raw of=@uneven
convert -n -f raw -O raw small.raw @uneven
bench -w -c 1 -f raw -s 512 -o 3072 @uneven
create -f qcow2 @nothing 1M
create -f qcow2 @nothing 0
create -f qcow2 @byte 1M
create -f qcow2 -o cluster_size=512 @byte 1M
create -f raw @nothing 0
create -f raw @nothing 1
convert -O qcow2 disk.raw @nothing
convert -O qcow2 disk.raw @byte
dd -O qcow2 if=disk.raw of=@byte
create -f qcow2 @tiny 1M
create -f qcow2 -o cluster_size=512 @tiny 1M
create -f qcow2 -o preallocation=metadata @cluster 1M
create -f qcow2 @clusters 1M
create -f qcow2 -o extended_l2=on,cluster_size=16k @cluster 1G
create -f qcow2 @table 1M
create -f qcow2 -o preallocation=full @scarce 1M
convert -O qcow2 disk.raw @clusters
dd -O qcow2 if=disk.raw of=@cluster
info --output=json @pages
convert -n -O raw disk.raw @pages
convert -n -O raw data.qcow2 @large
convert -n -O raw disk.raw @little
convert -O qcow2 disk.raw @pages
convert -O qcow2 -c disk.raw @large
create -f qcow2 -o cluster_size=512 @large 1M
bench -f raw -w -c 3 -s 100 -o 50 @pages
dd bs=100 if=odd.raw of=@large
map --output=json @qpages
check @qlarge
snapshot -c s @qlarge ;; snapshot -l @qlarge
bitmap --add @qlarge n
resize @qpages 12M
amend -o compat=0.10 @qlarge
convert -O qcow2 @qpages new.qcow2
convert -n -O raw disk.raw @nozero
convert -n -S 0 -O raw disk.raw @slow
convert -t writethrough -n -O raw disk.raw @fua
map --output=json @noextents
compare -s @noextents disk.raw
measure -O qcow2 @noextents
map --output=json @simple
convert -O qcow2 @simple new.qcow2
info @oldstyle
map --output=json 'nbd+unix:///?socket=oldstyle'
info --image-opts driver=nbd,path=oldstyle,x-dirty-bitmap=x
info --image-opts driver=nbd,path=simple,export=x,x-dirty-bitmap=base:allocation
info @closed
info @torn
create -f raw @guarded 1M
info --output=json @largest
measure -O raw @largest
create -f raw @largest 7E
create -f raw @largest 8E
dd if=@largest of=new.raw bs=512 skip=18014398507384832
info @toolarge
map --output=json @toolarge
map -f raw @thin
map -f raw --output=json @thin
convert -f raw -O raw @thin new.raw
convert -f raw -O qcow2 -c @thin new.qcow2
convert -C -f raw -O raw @thin new.raw
convert -n -f raw -O qcow2 @thin data.qcow2
dd -f raw -O raw bs=1M if=@thin of=new.raw
compare -f raw -F raw @thin blank.raw
compare -f raw -F raw disk.raw @thin
compare -f raw -F raw -s @thin @thin
measure -f raw -O qcow2 @thin
bench -f raw -c 3 @thin
convert -f raw -O qcow2 -B data.qcow2 -F qcow2 @thin new.qcow2 ;; map --output=json new.qcow2
convert -f raw -O qcow2 -B small.raw -F raw @thin new.qcow2 ;; map --output=json new.qcow2
convert -c -f raw -O qcow2 -B small.raw -F raw @thin new.qcow2
bench -f raw -c 2 @unreadable
dd -f raw if=@unreadable of=new.raw
compare -f raw -F raw @unreadable blank.raw
convert -f raw -O raw @unreadable new.raw
resize -f raw @uneven 3584
resize -f raw @uneven +0
resize -f raw --shrink @uneven 3100
resize --image-opts driver=raw,offset=512,file.driver=nbd,file.path=uneven 3072
convert -O qcow2 @late new.qcow2
convert -n -f raw -O raw blank.raw @late ;; compare -f raw -F raw @late blank.raw
dd bs=1M if=@late of=new.raw
create -f qcow2 -b @thin -F raw new.qcow2 ;; map --output=json new.qcow2 ;; convert -O raw new.qcow2 new.raw
"""
