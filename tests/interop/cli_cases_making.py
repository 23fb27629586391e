# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for the commands that make new images."""
from __future__ import annotations

LINES = {
    "create": r"""
-f file new.raw 1M
-f file -o preallocation=full new.raw 1M
-f file -o preallocation=metadata new.raw 1M
-f file -o help
-f file -b odd.raw -F raw new.raw 1M
-f file nbd:x 1M
-f host_device new.raw 1M
-f host_device odd.raw 1M
-f host_device -o help
-f raw host_device:odd.raw 1M
-f raw -o help /dev/null
-f raw -o nocow=on /dev/null 0
-f raw -o preallocation=metadata /dev/null 0
-f qcow2 -b odd.raw -F file new.qcow2
-f qcow2 -b odd.raw -F host_device new.qcow2
-f qcow2 -b snapshots.qcow2 -F foo new
-f qcow2 -b nope:x -F foo new
-f qcow2 -b data.qcow2 -F qcow2 '' 1M
-f qcow2 -b '' '' 1M
-f qcow2 -b ./missing -F foo '' 1M
-u -f qcow2 -b snapshots.qcow2 -F foo new 1M
-u -f qcow2 -b nope -F qcow2 new
-u -f qcow2 -b nope -F qcow2 new 1M
-f qcow2 -b snapshots.qcow2 -F raw new
-f qcow2 -F raw new 1M
-f raw -b snapshots.qcow2 new
-f raw -F raw new 1M
-f qcow2 -b '' new 1M
-f qcow2 -b new -F raw new 1M
-f qcow2 -o backing_file=snapshots.qcow2 -F qcow2 new
-f qcow2 -o backing_file=snapshots.qcow2,backing_fmt=qcow2 new 1k
-f qcow2 -o backing_file=snapshots.qcow2 -b snapshots.qcow2 -F qcow2  new
-f qcow2 -o backing_fmt=raw -b snapshots.qcow2 -F qcow2  new
-f qcow2 -o nocow=on,extent_size_hint=64k new 1M
-f qcow2 /nonexist/y 1M
-f qcow2 . 1M
new 1M -q
-f qcow2 -o size=1M,size=2M new
-f raw y,q 1M
-f qcow2 -b snapshots.qcow2 -F qcow2 -o size=1M new
-f qcow2 -b json:'{"driver":"qcow2","file.filename":"snapshots.qcow2"}' -F qcow2 new
-f qcow2 -o compat=v3,cluster_size=15E new 1M
-f qcow2 "json:{}" 1M
-f qcow2 nope:y 1M
-f raw new 8E
-f raw new 7E
-f qcow2 -o cluster_size=2M new 8388607T
-f raw -o preallocation=foo new 1M
-f raw -o preallocation=metadata new 1M
-f qcow2 -o backing_fmt=raw new 1M
-f qcow2 -o data_file=/nonexist/d new 1M
-f qcow2 -o data_file_raw=on,data_file=d2.raw -b snapshots.qcow2 -F qcow2 new 1M
--object secret new 1M
-f qcow2 -o lazy_refcounts new 1M
-f qcow2 -o lazy_refcounts=yes new 1M
-f qcow2 -o foo new 1M
-f qcow2 -o refcount_bits=-1 new 1M
-f qcow2 -o 'lazy_refcounts,,x=on' new 1M
-f qcow2 -o cluster_size=-1 new 1M
-f qcow2 -o x, new 1M
-f qcow2 -o lazy_refcounts=on,, new 1M
-f foo new 1M
-f raw -o help
-f raw -o help f
-f foo -o help
-f qcow2 -o help nope:foo
-f qcow2 new
-f qcow2 -b nope -F qcow2 new
-f qcow2 -b snapshots.qcow2 new
-f qcow2 -b '' new
-f qcow2 -o preallocation=full new 1M
-f qcow2 -b file:snapshots.qcow2 -F qcow2 file:y:q
-f qcow2 new -1
-f qcow2 -- new -1
-f qcow2 new 16E
""",
    "convert": r"""
directory.qcow2 new
unaligned.qcow2 new
--salvage unaligned.qcow2 new
-q --salvage -O qcow2 -c unaligned.qcow2 new
-C unaligned.qcow2 new
-O file sparse.raw new.raw
-O file -c sparse.raw new.raw
-O file -o preallocation=falloc odd.raw new.raw
-O file -B odd.raw -F raw odd.raw new.raw
-n -O file odd.raw sparse.raw
-O host_device odd.raw new.raw
-O file -o help
-B sparse.raw -F file -O qcow2 odd.raw new.qcow2
-o help --target-is-zero -O qcow2 data.qcow2 new
-n -o help -O qcow2 data.qcow2 new
-f raw --image-opts -C -c data.qcow2 new

snapshots.qcow2
nope out
-O foo snapshots.qcow2 out
-f foo snapshots.qcow2 out
-O qcow2 snapshots.qcow2 /nonexist/out
-O qcow2 snapshots.qcow2 .
-c -O raw snapshots.qcow2 out
-c -C snapshots.qcow2 out
-S 4k -C snapshots.qcow2 out
-C --salvage snapshots.qcow2 out
-S 100 snapshots.qcow2 out
-S 17M snapshots.qcow2 out
-m 0 snapshots.qcow2 out
-m 17 snapshots.qcow2 out
-n snapshots.qcow2 nope
--target-is-zero snapshots.qcow2 out
--target-image-opts snapshots.qcow2 driver=raw,file.filename=out
-n -o size=1M snapshots.qcow2 out
-n -B other.qcow2 -F qcow2 snapshots.qcow2 out
-l nope snapshots.qcow2 out
-l s1 -B other.qcow2 snapshots.qcow2 out
-l s1 snapshots.qcow2 snapshots.qcow2 out
-B other.qcow2 -O qcow2 over.qcow2 new
-B other.qcow2 -F qcow2 -O raw over.qcow2 new
-B nope -F qcow2 -O qcow2 over.qcow2 new
-B other.qcow2 -F qcow2 -O qcow2 over.qcow2 snapshots.qcow2 new
-o foo=1 snapshots.qcow2 out
-O qcow2 -o preallocation=full -c snapshots.qcow2 out
-t foo snapshots.qcow2 out
-T foo snapshots.qcow2 out
--image-opts -f raw driver=raw out
--target-image-opts -O raw -n snapshots.qcow2 driver=raw,file.filename=out
-F qcow2 snapshots.qcow2 out
-o size=1k snapshots.qcow2 out
-O qcow2 -o cluster_size=1000 snapshots.qcow2 out
-O qcow2 -o compat=0.10,lazy_refcounts=on snapshots.qcow2 out
-l snapshot.name=nope snapshots.qcow2 out
-l snapshot.foo=x snapshots.qcow2 out
-l snapshot.id=1,snapshot.name=foo snapshots.qcow2 out
-l snapshot.id=1 snapshots.qcow2 out
-l snapshot.id=1,snapshot.name=s1 snapshots.qcow2 out
-o help
-O qcow2 -o help a b
-U -O raw snapshots.qcow2 out
snapshots.qcow2 snapshots.qcow2
-o backing_file=other.qcow2 -O qcow2 over.qcow2 new
-O qcow2 -o backing_file=other.qcow2,backing_fmt=qcow2 over.qcow2 new
-n --target-is-zero -O qcow2 snapshots.qcow2 over.qcow2
-n -O raw snapshots.qcow2 odd.raw
-n snapshots.qcow2 odd.raw
-O qcow2 over.qcow2 other.qcow2
-O qcow2 over.qcow2 nope:x
-r abc snapshots.qcow2 out
-r 1M odd.raw out
-p odd.raw out
-q -p odd.raw out
-O qcow2 -t none snapshots.qcow2 out
-O qcow2 -t directsync -T none snapshots.qcow2 out
-O qcow2 -t writethrough snapshots.qcow2 out
--image-opts driver=qcow2,file.filename=snapshots.qcow2 out
-n --target-image-opts snapshots.qcow2 driver=raw,file.filename=out
-n --image-opts --target-image-opts driver=qcow2,file.filename=snapshots.qcow2 driver=raw,file.filename=out
-O qcow2 -F foo -B other.qcow2 over.qcow2 new
-O qcow2 -F qcow2 over.qcow2 new
--skip-broken-bitmaps snapshots.qcow2 out
-O qcow2 -B other.qcow2 -F qcow2 -n over.qcow2 snapshots.qcow2
-O qcow2 sparse.raw odd.raw bytes nothing new
-O raw odd.raw bytes new
-O raw bytes odd.raw new
-O raw nothing new
-O qcow2 nothing new
-O qcow2 -c nothing new
-O raw -S 0 data.qcow2 new
-O qcow2 -S 0 data.qcow2 new
-O qcow2 -S 64k data.qcow2 new
-O qcow2 -S 16M data.qcow2 new
-O raw -S 512 data.qcow2 new
-O raw -S 1M data.qcow2 new
-O qcow2 -c -S 0 data.qcow2 new
-O qcow2 -c data.qcow2 new
-O qcow2 -c -o cluster_size=2M data.qcow2 new
-O qcow2 -c -o cluster_size=512 odd.raw new
-O qcow2 -c -o extended_l2=on data.qcow2 new
-O qcow2 -c -o data_file=d data.qcow2 new
-O qcow2 -c -o preallocation=off data.qcow2 new
-O qcow2 -o preallocation=metadata data.qcow2 new
-O qcow2 -o preallocation=falloc data.qcow2 new
-O qcow2 -o preallocation=full data.qcow2 new
-O raw -o preallocation=falloc data.qcow2 new
-O raw -o preallocation=full data.qcow2 new
-O qcow2 -o data_file=d,data_file_raw=on data.qcow2 new
-O qcow2 -o compat=v2 data.qcow2 new
-O qcow2 -o lazy_refcounts=on,refcount_bits=1 data.qcow2 new
-O qcow2 -o extended_l2=on,cluster_size=16k subclusters.qcow2 new
-O qcow2 subclusters.qcow2 new
-O qcow2 -C data.qcow2 new
-O raw -C -f raw sparse.raw new
-O qcow2 -W -m 1 data.qcow2 new
-O qcow2 -m 16 -W -c data.qcow2 new
-O qcow2 --salvage data.qcow2 new
-O qcow2 -q --salvage short.qcow2 new
-O qcow2 --salvage marked.qcow2 new
-O qcow2 short.qcow2 new
-B other.qcow2 -F qcow2 -O qcow2 top.qcow2 new
-B over.qcow2 -F qcow2 -O qcow2 top.qcow2 new
-B over.qcow2 -F qcow2 -O qcow2 -S 0 top.qcow2 new
-B over.qcow2 -F qcow2 -O qcow2 -c top.qcow2 new
-B odd.raw -F raw -O qcow2 over-odd.qcow2 new
-B odd.raw -F raw -O qcow2 top.qcow2 new
-B data.qcow2 -F qcow2 -O qcow2 -o cluster_size=4k top.qcow2 new
-B lost.qcow2 -F qcow2 -O qcow2 over.qcow2 new
-O qcow2 -B other.qcow2 -F raw over.qcow2 new
-O qcow2 -B '' over.qcow2 new
-O qcow2 -B other.qcow2 -B over.qcow2 -F qcow2 top.qcow2 new
-O qcow2 -B other.qcow2 -o backing_file=over.qcow2 -F qcow2 top.qcow2 new
-l s1 -O qcow2 snapshots.qcow2 new
-l 2 -O qcow2 snapshots.qcow2 new
-l 1 -O raw snapshots.qcow2 new
-l 'with space' -O raw snapshots.qcow2 new
-l snapshot.id=2 -O raw snapshots.qcow2 new
-l snapshot.name=1 -O raw snapshots.qcow2 new
-l snapshot.id= -O raw snapshots.qcow2 new
-l snapshot.id=,snapshot.name=s1 -O raw snapshots.qcow2 new
-l '' -O raw snapshots.qcow2 new
-l s1 -O raw odd.raw new
-l s1 --bitmaps -O qcow2 bitmaps.qcow2 new
--bitmaps -O qcow2 bitmaps.qcow2 new
--bitmaps -O qcow2 -o compat=v2 bitmaps.qcow2 new
--bitmaps -O qcow2 in-use.qcow2 new
--bitmaps --skip-broken-bitmaps -O qcow2 in-use.qcow2 new
--bitmaps -O qcow2 odd.raw new
--bitmaps -O qcow2 data.qcow2 new
--bitmaps -n -O qcow2 bitmaps.qcow2 other.qcow2
-n -O qcow2 data.qcow2 other.qcow2
-n -O qcow2 --target-is-zero data.qcow2 empty.qcow2
-n -O qcow2 -S 0 data.qcow2 other.qcow2
-n -O qcow2 -c data.qcow2 other.qcow2
-n -c -O raw data.qcow2 sparse.raw
-n -O qcow2 data.qcow2 over.qcow2
-n -O qcow2 top.qcow2 data.qcow2
-n -O qcow2 data.qcow2 v2.qcow2
-n -O qcow2 v2.qcow2 data.qcow2
-n -f raw -O raw odd.raw sparse.raw
-n -O qcow2 data.qcow2 data.qcow2
-n -O foo data.qcow2 sparse.raw
-n -O qcow2 data.qcow2 sparse.raw
-n -O qcow2 data.qcow2 marked.qcow2
-n -O raw data.qcow2 /dev/null
-O raw lost.qcow2 new
-O raw broken.qcow2 new
-f raw -O qcow2 data.qcow2 new
-O raw external.qcow2 new
-O qcow2 external.qcow2 new
-T none -t none -O raw data.qcow2 new
-t '' data.qcow2 new
-t off -T off -O raw data.qcow2 new
-O qcow2 -o size=1 data.qcow2 new
-O qcow2 -o size=100M data.qcow2 new
-O raw data.qcow2 folder
-O raw data.qcow2 folder/new
-O raw data.qcow2 ''
-O raw '' new
data.qcow2
-O qcow2 -c -S 0 odd.raw new
-O qcow2 -c -S 0 empty.qcow2 new
-O qcow2 -c -S 0 -B over.qcow2 -F qcow2 top.qcow2 new
-n -O qcow2 -c data.qcow2 external.qcow2
-n -O qcow2 -c v2.qcow2 external.qcow2
-O qcow2 -o backing_file= over.qcow2 new
-O raw -B '' over.qcow2 new
""",
    "dd": r"""
if=unaligned.qcow2 of=new bs=64k
if=unaligned.qcow2 of=new bs=64k count=3
if=data.qcow2 of=new bs=1M count=2 skip=1
if=data.qcow2 of=new bs=1M skip=9
if=data.qcow2 of=new bs=1M skip=10
if=data.qcow2 of=new bs=1M count=0
if=data.qcow2 of=new bs=3 count=7
if=odd.raw of=new bs=3 count=1000
if=odd.raw of=new bs=999
-O qcow2 if=odd.raw of=new bs=999 skip=1
if=nothing of=new
if=missing of=new
if=data.qcow2 of=missing/new
-f foo if=data.qcow2 of=new
if=data.qcow2
of=new

if= of=
if=data.qcow2 of=new if=odd.raw
if=data.qcow2 of=new bs=2147483648
if=data.qcow2 of=new bs
if=data.qcow2 of=new seek=1
-U if=data.qcow2 of=new
--image-opts if=driver=qcow2,file.filename=data.qcow2 of=new
--image-opts -f raw if=driver=qcow2,file.filename=data.qcow2 of=new
-O qcow2 if=data.qcow2 of=data.qcow2
""",
}
