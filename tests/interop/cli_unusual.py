# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that name images in unusual ways, or combine what seldom comes together, as cli_cases.py has them."""
from __future__ import annotations

UNUSUAL = {
    "amend": r"""
-o backing_file=other.qcow2,size=20M over.qcow2
-o backing_fmt=qcow2 over.qcow2
-o help --image-opts driver=qcow2,file.filename=data.qcow2,read-only=on
-o help folder
-o help lost.qcow2
-o help marked.qcow2
-o help odd.raw
-o preallocation=off data.qcow2
-o preallocation=x,size=20M data.qcow2
-o lazy_refcounts=x -o cluster_size=4k data.qcow2
-o refcount_bits=5 -o backing_file=x data.qcow2
-o refcount_bits=5 -o data_file=x data.qcow2
-o refcount_bits=5 -o data_file_raw=on data.qcow2
-o data_file=x -o backing_file=x data.qcow2
-o data_file_raw=on -o backing_file=x data.qcow2
-o backing_file=x -o refcount_bits=8,compat=0.10 data.qcow2
-o data_file=x -o refcount_bits=8,compat=0.10 data.qcow2
-o data_file=x external.qcow2
-o refcount_bits=8 data.qcow2
-o refcount_bits=1,compat=0.10 narrow.qcow2
-o refcount_bits=8,compat=1.1 v2.qcow2
-o refcount_bits=8 v2.qcow2
-o refcount_bits=16 v2.qcow2
-o size=20M --image-opts driver=qcow2,file.filename=data.qcow2,read-only=on
-o size=20M --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-o size=20M --image-opts driver=qcow2,file.filename=over.qcow2,backing=
-o size=20M --image-opts driver=qcow2,detect-zeroes=unmap,file.filename=over.qcow2
-o size=9E data.qcow2
-o backing_fmt=qcow2 over.qcow2
-o backing_fmt=raw over-odd.qcow2
-o backing_file=odd.raw over-odd.qcow2
-o backing_file=odd.raw,backing_fmt=raw over-odd.qcow2
""",
    "bench": r"""
-d 1 -c 1 -s 100 -w bytes
-f raw -d 1 -c 1 -s 100 -w bytes
-c 20 -d 1 -s 64k unaligned.qcow2
-c 1 -d 1 --image-opts driver=qcow2,file.filename=data.qcow2,file.aio=native
-w -c 1 -d 1 --image-opts driver=raw,file.filename=missing,read-only=on
-w -c 1 --image-opts driver=qcow2,file.filename=nope,file.read-only=on
-w -c 1 --image-opts driver=raw,file.filename=odd.raw,file.read-only=on,file.force-share=on
-w -c 1 --image-opts driver=file,filename=odd.raw,read-only=on
""",
    "bitmap": r"""
--merge b0 in-use.qcow2 b1
--merge b0 --add in-use.qcow2 new
--merge missing in-use.qcow2 b1
--remove --merge b1 in-use.qcow2 b0
--add -f raw odd.raw ''
--add -g 3k -f raw odd.raw x
--add -g 3k v2.qcow2 x
--add -g 4G -f raw odd.raw x
--add -g 4G bitmaps.qcow2 b0
--add -g 4G data.qcow2 b0
--add v2.qcow2 ''
--add --image-opts driver=qcow2,file.filename=data.qcow2,read-only=on x
--add --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2 x
""",
    "check": r"""
-r all --image-opts driver=qcow2,file.filename=lost.qcow2,read-only=on
""",
    "commit": r"""
-b other.qcow2/ over.qcow2
-b over.qcow2 --image-opts driver=qcow2,file.filename=top.qcow2,backing.driver=qcow2,backing.file.filename=./over.qcow2
-b x data.qcow2
-b ./other.qcow2 .//over.qcow2
--image-opts driver=qcow2,file.filename=over.qcow2,read-only=on
--image-opts -b '' driver=qcow2,detect-zeroes=unmap,file.filename=over.qcow2
--image-opts driver=qcow2,detect-zeroes=unmap,file.filename=over.qcow2
--image-opts driver=qcow2,detect-zeroes=unmap,discard=ignore,file.filename=over.qcow2
--image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2,backing.detect-zeroes=unmap
--image-opts driver=qcow2,file.filename=top.qcow2,backing.backing.driver=qcow2
--image-opts driver=qcow2,file.filename=top.qcow2,backing.backing.file.filename=data.qcow2
--image-opts driver=qcow2,file.filename=top.qcow2,backing.backing=
-b data.qcow2 --image-opts driver=qcow2,file.filename=top.qcow2,backing.backing.file.filename=data.qcow2
:x
""",
    "convert": r"""
-O qcow2 --bitmaps -c -o preallocation=full odd.raw data.qcow2 new
-O qcow2 -B '' data.qcow2 new
-O qcow2 -B missing -F qcow2 --bitmaps odd.raw new
-O qcow2 -B missing -F qcow2 -o cluster_size=3k data.qcow2 new
-O qcow2 -F '' -B other.qcow2 data.qcow2 new
-O qcow2 -o backing_file= data.qcow2 new
-O raw --bitmaps -c odd.raw data.qcow2 new
-O raw -B x odd.raw data.qcow2 new
-O raw -F raw --bitmaps data.qcow2 odd.raw new
-O raw -c -o preallocation=full odd.raw new
-O raw -o backing_file=x odd.raw data.qcow2 new
-l snapshot.name=s1 -O raw data.qcow2 snapshots.qcow2 new
-l snapshot.name=s1 -O raw snapshots.qcow2 data.qcow2 new
-l snapshot.name=s1 -O raw snapshots.qcow2 snapshots.qcow2 new
-n --bitmaps bitmaps.qcow2 nothing
-n --bitmaps odd.raw nothing
-n -O qcow2 -B missing -F qcow2 --target-is-zero data.qcow2 other.qcow2
-n -O raw --bitmaps -c bitmaps.qcow2 sparse.raw
-n -O raw -c data.qcow2 nothing
-c -O qcow2 -o data_file=df data.qcow2 x
-c -n -O qcow2 v2.qcow2 external.qcow2
-O qcow2 -o data_file=df bytes x
$'--bac=x\ny' a b
-n -F qcow2 -B other.qcow2 --bitmaps data.qcow2 v2.qcow2 nothing
-n -F qcow2 -B other.qcow2 data.qcow2 v2.qcow2 top.qcow2
-c -S 0 -O qcow2 empty.qcow2 x
-c -S 0 -O qcow2 v2.qcow2 x
-c -S 0 -O qcow2 bytes x
-c -S 0 -O qcow2 nothing x
-c -S 0 -O qcow2 data.qcow2 x
-c -S 0 -O qcow2 --image-opts driver=raw,file.filename=sparse.raw,size=66048 x
-c -S 0 -n -O qcow2 v2.qcow2 over.qcow2
-c -S 0 -O qcow2 -B other.qcow2 -F qcow2 over.qcow2 x
-c -S 0 -O qcow2 top.qcow2 x
-n --target-image-opts data.qcow2 driver=qcow2,file.filename=over.qcow2,read-only=on
-O qcow2 -B '' -F qcow2 -o cluster_size=3k data.qcow2 new
-O qcow2 -B data.qcow2 -F qcow2 -o cluster_size=3k data.qcow2 new
-O file --bitmaps bitmaps.qcow2 new
-O raw data.qcow2 :x
-O qcow2 data.qcow2 /dev/null
-n --target-image-opts data.qcow2 driver=qcow2,detect-zeroes=unmap,file.filename=empty.qcow2
-O raw --image-opts driver=qcow2,file.filename=over.qcow2,backing.file.locking=off new
-O raw --image-opts driver=qcow2,file.filename=over.qcow2,backing.file.driver=raw new
-O raw --image-opts driver=raw,file.driver=qcow2,file.file.filename=over.qcow2 new
""",
    "create": r"""
-f qcow2 -o extended_l2=on,cluster_size=4k -F qcow2 new 1M
-f raw :x 1M
-f qcow2 /dev/null 1M
-f qcow2 pipe 1M
""",
    "info": r"""
--image-opts driver=file,discard=x,filename=odd.raw
--image-opts driver=qcow2,file.driver=host_device,file.filename=data.qcow2,file.aio=native
--image-opts driver=qcow2,file.filename=data.qcow2,file.aio=native
--image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=unmap
--image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=unmap,discard=on
--image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=unmap,discard=x
--image-opts driver=qcow2,file.filename=data.qcow2,file.detect-zeroes=unmap
--image-opts driver=qcow2,file.filename=data.qcow2,file.detect-zeroes=unmap,file.discard=off
--image-opts driver=raw,file.filename=data.qcow2,detect-zeroes=unmap
--image-opts driver=file,filename=data.qcow2,detect-zeroes=unmap
--image-opts driver=qcow2,file.filename=data.qcow2,lazy-refcounts=x
--image-opts driver=qcow2,file.filename=v2.qcow2,lazy-refcounts=x
--image-opts driver=qcow2,file.filename=data.qcow2,pass-discard-request=x
--image-opts driver=qcow2,file.filename=data.qcow2,discard-no-unref=on
--image-opts driver=qcow2,file.filename=v2.qcow2,discard-no-unref=on
--image-opts driver=qcow2,file.filename=data.qcow2,discard-no-unref=x
--image-opts driver=qcow2,file.filename=v2.qcow2,discard-no-unref=x
--image-opts driver=qcow2,file.filename=data.qcow2,cache-size=-1
.//over.qcow2
--output=json ././/over.qcow2
--backing-chain .//top.qcow2
folder/../over.qcow2
--image-opts driver=qcow2,file.filename=c:olon-over.qcow2
--output=json --image-opts driver=qcow2,file.filename=c:olon-over.qcow2
--image-opts driver=raw,file.filename=odd.raw,backing.driver=qcow2
:x
./:x
--image-opts driver=qcow2,file.filename=over.qcow2,backing=
--backing-chain --image-opts driver=qcow2,file.filename=over.qcow2,backing=
--image-opts driver=raw,file.filename=odd.raw,backing=
--image-opts driver=qcow2,file.filename=over.qcow2,backing=x
--output=json --image-opts driver=qcow2,file.filename=external.qcow2,data-file.filename=external.raw
--image-opts driver=qcow2,file.filename=external.qcow2,data-file.driver=raw,data-file.file.filename=external.raw
--image-opts driver=raw,file.driver=qcow2,file.file.filename=top.qcow2
--output=json --image-opts driver=raw,file.driver=qcow2,file.file.filename=top.qcow2
""",
    "map": r"""
.//over.qcow2
file:.//over.qcow2
--image-opts driver=raw,file.filename=odd.raw,backing.driver=qcow2
--output=json --image-opts driver=raw,offset=1048576,file.driver=qcow2,file.file.filename=top.qcow2
--output=json --image-opts driver=raw,file.driver=raw,file.file.driver=qcow2,file.file.file.filename=top.qcow2
--image-opts driver=qcow2,file.locking=off
file:./external.qcow2
.//external.qcow2
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file.locking=x
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file.driver=qcow2
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file.driver=nbd
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file.driver=nbd,backing.file.server.path=x
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file.driver=raw,backing.file.file.filename=x
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file.file.filename=other.qcow2
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file=x
--image-opts driver=qcow2,file.filename=data.qcow2,backing.file.locking=off
--image-opts driver=qcow2,file.filename=top.qcow2,backing.backing.file.locking=off
--image-opts driver=qcow2,file.filename=top.qcow2,backing.backing=
--image-opts driver=qcow2,file.filename=external.qcow2,data-file.driver=raw,data-file.file.filename=external.raw
""",
    "measure": r"""
-O qcow2 -o size=8E data.qcow2
-O qcow2 -o size=8E --size 1M
-O qcow2 -o size=100T,cluster_size=4k data.qcow2
""",
    "rebase": r"""
-b $(printf '%01100d' 1) -u v2.qcow2
-b other.qcow2 -u odd.raw
-b other.qcow2 odd.raw
-F raw -b file:sparse.raw -f raw sparse.raw
-F raw -b file:missing -f raw sparse.raw
-b '' --image-opts driver=qcow2,file.filename=over.qcow2,read-only=on
-b '' --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-b other.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-b v2.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=raw
-u -b v2.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-u -b other.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing=
-b '' --image-opts driver=qcow2,file.filename=over.qcow2,backing=
-b '' --image-opts driver=qcow2,file.filename=over.qcow2,backing.file.filename=data.qcow2
-c -b data.qcow2 -F qcow2 external.qcow2
-b other.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=raw,backing.offset=512
""",
    "resize": r"""
--image-opts driver=qcow2,file.filename=data.qcow2,force-share=on,read-only=on 20M
missing 9E
--image-opts driver=raw,file.filename=sparse.raw,size=1024 +0
--image-opts driver=raw,file.filename=sparse.raw,offset=1024 +0
--image-opts driver=raw,file.filename=sparse.raw,size=1024 2048
data.qcow2 10M
--image-opts driver=qcow2,file.filename=missing,read-only=on 1M
--image-opts driver=qcow2,file.filename=data.qcow2,read-only=on 20M
--image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2 20M
""",
    "snapshot": r"""
-a '' bitmaps.qcow2
-a x bitmaps.qcow2
-a x external.qcow2
-a x odd.raw
-l -l --for=x odd.raw
-c x -d y data.qcow2
-c x --image-opts driver=qcow2,file.filename=lost.qcow2,read-only=on
-c x --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-a x --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-l --image-opts driver=qcow2,file.filename=over.qcow2,backing=
""",
}
