# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for the commands that change images."""
from __future__ import annotations

LINES = {
    "snapshot": r"""
data.qcow2
-l data.qcow2
-c s1 data.qcow2
-c 's 2' data.qcow2
-a s1 data.qcow2
-a 2 data.qcow2
-a nope data.qcow2
-d 1 data.qcow2
-d s1 data.qcow2
-d nope data.qcow2
-l -c x data.qcow2
-c x -c y data.qcow2
-l -l data.qcow2
-U -c x data.qcow2
-U -l data.qcow2
-c x odd.raw
-a x odd.raw
-d x odd.raw
-l odd.raw
odd.raw
-f raw -c x odd.raw
-f raw -a x odd.raw
-f raw -d x odd.raw
nope
-l nope
-c x lost.qcow2
-l lost.qcow2
-l a b
-a s1 bitmaps.qcow2
-d 's 2' data.qcow2
-q -c q data.qcow2
-c "$(printf 'x%.0s' {1..300})" data.qcow2
-c '' data.qcow2
-a '' data.qcow2
-d '' data.qcow2
-l v2-snapshot.qcow2
--image-opts -l driver=qcow2,file.filename=data.qcow2
-l external.qcow2
-c x external.qcow2
-c x narrow.qcow2
-d 2 snapshots.qcow2
-c a -c b data.qcow2
-la s1 snapshots.qcow2
--list snapshots.qcow2
--li snapshots.qcow2
-c x v2.qcow2
-c x -f qcow2 data.qcow2
-c x -f raw data.qcow2
-l accents.qcow2
snapshots.qcow2 -l

-c
-c x
-c x missing
-c x folder
-c "$(printf 'é%.0s' {1..200})" data.qcow2
-c x marked.qcow2
-l marked.qcow2
-l unknown.qcow2
-l short.qcow2
""",
    "rebase": r"""
-b unaligned.qcow2 -F qcow2 over.qcow2
-u -b odd.raw -F file over.qcow2
-u -b odd.raw -F host_device over.qcow2
-b sparse.raw -F file over.qcow2
-u -b x -F raw 'json:{"driver":"qcow2","backing":null,"file":{"driver":"file","filename":"over.qcow2"}}'
-b x -F raw 'json:{"driver":"qcow2","backing":null,"file":{"driver":"raw","offset":0,"file.filename":"over.qcow2"}}'
-b '' nope
-b other.qcow2
over.qcow2
-b nope.qcow2 -F qcow2 over.qcow2
-b empty.qcow2 over.qcow2
-b nope.qcow2 over.qcow2
-b empty.qcow2 -F qcow2 over.qcow2
-b other.qcow2 -F qcow2 over.qcow2
-u -b x.q -F nosuch over.qcow2
-b x.q -F nosuch over.qcow2
-u -b nonexist.q -F qcow2 over.qcow2
-u -b '' over.qcow2
-b other.qcow2 -F qcow2 odd.raw
-u -b other.qcow2 -F qcow2 odd.raw
-c -b empty.qcow2 -F qcow2 over.qcow2
-c -b other.qcow2 -F qcow2 odd.raw
-u over.qcow2
-u -b empty.qcow2 over.qcow2
-t foo -b empty.qcow2 over.qcow2
-T foo -b empty.qcow2 over.qcow2
-U -b empty.qcow2 -F qcow2 over.qcow2
-b over.qcow2 -F qcow2 over.qcow2
-f raw -b ./over.qcow2 over.qcow2
-f raw -b odd.raw -F raw odd.raw
-b empty.qcow2 -F qcow2 'json:{"driver":"qcow2","backing":{"file":{"filename":"other.qcow2"}},"file.filename":"over.qcow2"}'
-b empty.qcow2 -F qcow2 'json:{"driver":"qcow2","backing":{"file":{"filename":"data.qcow2"}},"file.filename":"over.qcow2"}'
-b empty.qcow2 -F qcow2 'json:{"driver":"qcow2","backing":null,"file.filename":"data.qcow2"}'
-b empty.qcow2 -F qcow2 'json:{"driver":"qcow2","backing":null,"file.filename":"over.qcow2"}'
-b empty.qcow2 -F raw top.qcow2
-b '' top.qcow2
-t none -T none -b other.qcow2 -F qcow2 top.qcow2
--image-opts -b empty.qcow2 -F qcow2 driver=qcow2,file.filename=top.qcow2
-b other.qcow2 -F qcow2 external.qcow2
-b other.qcow2 -F qcow2 v2.qcow2
-b "$(printf 'x%.0s' {1..1100})" -u -F raw data.qcow2
-u -b nbd:foo:1 -F raw data.qcow2
-b nope:foo -F raw data.qcow2
-u -b nope:foo -F raw data.qcow2
-b other.qcow2 -F qcow2 top.qcow2
-b '' over.qcow2
-b '' -F qcow2 over.qcow2
-b odd.raw -F raw top.qcow2
-b sparse.raw -F raw top.qcow2
-c -b sparse.raw -F raw top.qcow2
-b sparse.raw -F raw over.qcow2
-b data.qcow2 -F qcow2 empty.qcow2
-b subclusters.qcow2 -F qcow2 top.qcow2
-b other.qcow2 -F qcow2 subclusters.qcow2
-b other.qcow2 -F qcow2 lazy.qcow2
-u -b other.qcow2 top.qcow2
-u -F qcow2 top.qcow2
-u top.qcow2
-u -b '' -F raw top.qcow2
-p -b other.qcow2 -F qcow2 top.qcow2
-b other.qcow2 -F qcow2 lost.qcow2
-u -b other.qcow2 -F qcow2 lost.qcow2
-b v2.qcow2 -F qcow2 v2-over.qcow2
-b over-odd.qcow2 -F qcow2 top.qcow2
-b /nonexistent -F raw top.qcow2
-b json:{} -F raw top.qcow2
-b json:{bad -F raw top.qcow2
-U -b other.qcow2 -F qcow2 top.qcow2
--backing=other.qcow2 --backing-format=qcow2 --backing-cache=none top.qcow2
--backing-u -b x -F raw top.qcow2
""",
    "resize": r"""
data.qcow2 +1M
data.qcow2 5M
--shrink data.qcow2 5M
data.qcow2 -- -1M
data.qcow2 0
data.qcow2 1000
data.qcow2
data.qcow2 -1M
--preallocation=full data.qcow2 +64k
--preallocation=full --shrink data.qcow2 1M
--preallocation=full data.qcow2 1M
--preallocation=foo data.qcow2 +1M
-f raw --preallocation=full /dev/null 1M
v2-snapshot.qcow2 +0
--preallocation=full v2-snapshot.qcow2 +0
in-use.qcow2 1M
in-use.qcow2 +1M
-f raw --preallocation=metadata /dev/null 1M
-f raw --preallocation=metadata odd.raw 1M
odd.raw 12M
-f raw odd.raw 10M --shrink
odd.raw +1
-f raw odd.raw +1000
-f raw odd.raw -1000
--shrink -f raw odd.raw -1000
data.qcow2 +100
-q data.qcow2 +512
nope 1M
data.qcow2 +
data.qcow2 +-1
data.qcow2 ++1
data.qcow2 8E
data.qcow2 7E
-f raw odd.raw 7E
--preallocation=metadata -f raw odd.raw +1M
--preallocation=metadata data.qcow2 +1M
--preallocation=falloc data.qcow2 +1M
--image-opts driver=qcow2,file.filename=data.qcow2 +1M
--image-opts -f qcow2 driver=qcow2,file.filename=data.qcow2 +1M
--image-opts driver=raw,size=512,file.filename=odd.raw +1M
/dev/null 1M
v2.qcow2 +1M
v2-snapshot.qcow2 +1M
data.qcow2 1M 2M
data.qcow2 ''
lost.qcow2 +1M
--shrink data.qcow2 -100G
--preallocation=full data.qcow2 +0
data.qcow2 +0
external.qcow2 5M
--shrink external.qcow2 64k
subclusters.qcow2 5M
snapshots.qcow2 5M
narrow.qcow2 5M
lost.qcow2 5M
marked.qcow2 5M
--preallocation=falloc external.qcow2 5M
--preallocation=full over.qcow2 20M
--preallocation=falloc -f raw sparse.raw 11M
--preallocation=full -f raw sparse.raw 11M
--preallocation=off data.qcow2 11M
--preallocation= data.qcow2 11M
-f raw nothing 1000
-f raw bytes 1000
-f raw bytes +1
sparse.raw 11M
-q sparse.raw 11M
11M data.qcow2
data.qcow2 11M extra
data.qcow2 1e3
data.qcow2 +1.5k
--shrink data.qcow2 -1M
-f qcow2 --shrink data.qcow2 -1M
""",
    "amend": r"""
-f file -o help
-f host_device -o size=1M /dev/null
-o compat=0.10 data.qcow2
data.qcow2
-o compat=0.10 v2.qcow2
-o compat=1.1 v2.qcow2
-o refcount_bits=64 empty.qcow2
-o refcount_bits=1 empty.qcow2
-o cluster_size=64k empty.qcow2
-o foo=1 empty.qcow2
-o backing_file=x empty.qcow2
-o data_file=x empty.qcow2
-o data_file= empty.qcow2
-o compat=0.10,lazy_refcounts=on empty.qcow2
-o compat=0.10,lazy_refcounts=on narrow.qcow2
-o compat=0.10,size=20M external.qcow2
-o lazy_refcounts=on empty.qcow2
-o lazy_refcounts=maybe empty.qcow2
-o lazy_refcounts=on v2-snapshot.qcow2
-o compat=9 empty.qcow2
-o compat=v3 v2.qcow2
-o size=20M empty.qcow2
-o size=5M empty.qcow2
-o backing_file=other.qcow2 over.qcow2
-o backing_fmt=raw over.qcow2
-o backing_fmt=qcow2 over.qcow2
-o backing_file= over.qcow2
-o data_file_raw=on external.qcow2
-o data_file=external.raw external.qcow2
-o data_file= external.qcow2
-o lazy_refcounts=on odd.raw
-f raw -o lazy_refcounts=on odd.raw
-o refcount_bits=3 empty.qcow2
-o refcount_bits=128 empty.qcow2
-o compat=0.10,refcount_bits=8 empty.qcow2
-f foo -o help
-f raw -o help
-o help
-o x, empty.qcow2
-o encrypt.state=active empty.qcow2
-o extended_l2=on empty.qcow2
-o preallocation=full empty.qcow2
-t foo -o size=1M empty.qcow2
--image-opts -o size=30M driver=qcow2,file.filename=empty.qcow2
nope -o size=1M
-o size=1M nope
-o compression_type=zstd empty.qcow2
-o nocow=on empty.qcow2
-o compat=0.10 bitmaps.qcow2
-q -o size=31M empty.qcow2
-o size=0 empty.qcow2
-o size=1000 empty.qcow2
-o compat=0.10 subclusters.qcow2
-o compat=0.10 external.qcow2
-o compat=0.10 packed.qcow2
-o compat=0.10 lazy.qcow2
-o size=20M,compat=1.1 v2.qcow2
-o refcount_bits=1 snapshots.qcow2
-o data_file_raw=off external.qcow2
-o data_file=other external.qcow2
-o size=+1M data.qcow2
-p -o size=20M data.qcow2
--force -o size=20M data.qcow2
-o '' data.qcow2
-f raw -o size=1M sparse.raw
-f foo -o size=1M sparse.raw

-o size=1M
-o size=1M a b
""",
    "commit": r"""
data.qcow2
-b nope top.qcow2
-d over.qcow2
over.qcow2
top.qcow2
-b other.qcow2 top.qcow2
-b ./a.qcow2 top.qcow2
-b top.qcow2 top.qcow2
lost.qcow2
nope
odd.raw
-f raw odd.raw
-t none top.qcow2
-t foo top.qcow2
-r abc top.qcow2
-r 100M over.qcow2
-q over.qcow2
--image-opts driver=qcow2,file.filename=over.qcow2
-b '' top.qcow2
-d top.qcow2
-b over.qcow2 top.qcow2
-b other.qcow2 -d top.qcow2
-b file:other.qcow2 top.qcow2
-p over.qcow2
over-odd.qcow2
v2-over.qcow2
-r 100M -t writethrough top.qcow2
external.qcow2
marked.qcow2
a b

--drop top.qcow2
--base=other.qcow2 top.qcow2
--rate=1x top.qcow2
""",
}
