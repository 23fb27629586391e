# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that are wrong in more than one way, or that name images in unusual ways, as cli_cases.py has them.

Of two mistakes, the one that qemu-img meets first is named.
"""
from __future__ import annotations

UNUSUAL = {
    "amend": r"""
--image-opts -f raw -p -o size=1M data.qcow2
--image-opts -f raw -t nonsense -o size=1M data.qcow2
--object secret,id=s --nonsense -o size=11M data.qcow2
-o , --nonsense data.qcow2
-o backing_file=other.qcow2,size=20M over.qcow2
-o backing_fmt=qcow2 over.qcow2
-o help --image-opts driver=qcow2,file.filename=data.qcow2,read-only=on
-o help folder
-o help lost.qcow2
-o help marked.qcow2
-o help odd.raw
-o nonsense=1,size=x data.qcow2
-o size=x -f raw odd.raw
-o size=x odd.raw
-p -f raw -o size=1M odd.raw
-p -o backing_file=x data.qcow2
-p -o compat=0.10 external.qcow2
-p -o compat=9 data.qcow2
-p -o help missing
-p -o lazy_refcounts=on,compat=0.10 data.qcow2
-p -o size=1M
-p -o size=1M data.qcow2 more
-p -o size=x data.qcow2
-p -o size=x missing
-p -t nonsense -o size=x missing
-o preallocation=off data.qcow2
-o preallocation=x,size=20M data.qcow2
-o cluster_size=x data.qcow2
-o nonsense=1 -o cluster_size=4k data.qcow2
-o preallocation=x -o nonsense=1 data.qcow2
-o cluster_size=4k -o size=x data.qcow2
-o size=x -o preallocation=x data.qcow2
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
-o size=20M --image-opts driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,nonsense=1
-o size=20M --image-opts driver=qcow2,file.filename=data.qcow2,read-only=on
-o size=20M --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-o size=20M --image-opts driver=qcow2,file.filename=over.qcow2,backing=
-o size=20M --image-opts driver=qcow2,detect-zeroes=unmap,file.filename=over.qcow2
-o size=9E data.qcow2
-o size=18446744073709551615 data.qcow2
-o backing_fmt=qcow2 over.qcow2
-o backing_fmt=raw over-odd.qcow2
-o backing_file=odd.raw over-odd.qcow2
-o backing_file=odd.raw,backing_fmt=raw over-odd.qcow2
""",
    "bench": r"""
-d 1 -c 1 -s 100 -w bytes
-f raw -d 1 -c 1 -s 100 -w bytes
-c 20 -d 1 -s 64k unaligned.qcow2
--image-opts -f raw -d 1 -c 1 --flush-interval 1 data.qcow2
--image-opts -f raw -t nonsense data.qcow2
--image-opts -f raw -w -d 4 -c 1 --flush-interval 1 data.qcow2
-U -w -c 1 -d 1 -i native -f nonsense data.qcow2
-U -w -c 1 -d 1 -i native data.qcow2
-c 1 -d 1 --image-opts driver=qcow2,file.filename=data.qcow2,file.aio=native
-c 1 -d 1 -i native --image-opts driver=qcow2,file.filename=missing
-c 1 -d 1 -i native -f nonsense data.qcow2
-c 1 -d 1 -i native json:{
-c 1 -d 1 -i native missing
-c 1 -d 1 -i native nope:x
-c 1 -d 1 --image-opts driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,nonsense=1
-t nonsense -d 0 data.qcow2
-w -c 1 -d 1 --image-opts driver=raw,file.filename=missing,read-only=on
-w -c 1 --image-opts driver=qcow2,file.filename=nope,file.read-only=on
-w -c 1 --image-opts driver=qcow2,file.filename=nope,file.read-only=on,file.nonsense=1
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
--object secret,id=s --nonsense data.qcow2 b
--add driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,overlap-check=none,nonsense=1 x --image-opts
--add --image-opts driver=qcow2,file.filename=data.qcow2,read-only=on x
--add --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2 x
""",
    "check": r"""
--image-opts -f raw -T nonsense data.qcow2
--object secret,id=s --nonsense data.qcow2
-U -r all --image-opts driver=nonsense
-U -r all --image-opts data.qcow2
-r all --image-opts data.qcow2,driver=nonsense
-r all --image-opts driver=qcow2,file=x,read-only=on
-r all --image-opts driver=qcow2,file=x,detect-zeroes=x
-r all --image-opts driver=qcow2,file=x,read-only=x
-r all --image-opts driver=qcow2,file=x,backing=
-U -r all --image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=x
-U -r all --image-opts driver=qcow2,file.filename=data.qcow2,discard=x
-U -r all --image-opts driver=qcow2,file.filename=data.qcow2,read-only=on
-U -r all -f nonsense data.qcow2
'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}'
--image-opts driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,overlap-check=none,nonsense=1
-r all --image-opts driver=qcow2,file.filename=lost.qcow2,read-only=on
""",
    "commit": r"""
--image-opts -f raw -t nonsense data.qcow2
--object secret,id=s --nonsense data.qcow2
-b other.qcow2/ over.qcow2
-b over.qcow2 --image-opts driver=qcow2,file.filename=top.qcow2,backing.driver=qcow2,backing.file.filename=./over.qcow2
-b x data.qcow2
'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}'
-b other.qcow2 'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}'
-b ./other.qcow2 'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}'
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
    "compare": r"""
--image-opts -F raw -T nonsense data.qcow2 data.qcow2
--image-opts -F raw missing missing
--image-opts -f raw -T nonsense data.qcow2 data.qcow2
--object secret,id=s --nonsense data.qcow2 x
-p --image-opts -f raw missing missing
-p -T x missing missing
-p data.qcow2 lost.qcow2
-p empty.qcow2 nothing
-p missing missing
-p nothing empty.qcow2
-p nothing nothing
""",
    "convert": r"""
--object secret,id=s --nonsense data.qcow2 x
--target-image-opts -n -t nonsense -O qcow2 data.qcow2 new
-B other.qcow2 -F nonsense -O qcow2 data.qcow2 data.qcow2
-B other.qcow2 -F nonsense -O qcow2 data.qcow2 folder
-B other.qcow2 -F nonsense -O qcow2 data.qcow2 missing/new
-B other.qcow2 -o nonsense=1 -O qcow2 data.qcow2 new
-O nonsense -B other.qcow2 odd.raw data.qcow2 new
-O nonsense -o size=x data.qcow2 new
-O nonsense data.qcow2 nope:new
-O qcow2 --bitmaps -c -o preallocation=full odd.raw data.qcow2 new
-O qcow2 --bitmaps -t nonsense odd.raw new
-O qcow2 -B '' data.qcow2 new
-O qcow2 -B missing -F qcow2 --bitmaps odd.raw new
-O qcow2 -B missing -F qcow2 -o cluster_size=3k data.qcow2 new
-O qcow2 -F '' -B other.qcow2 data.qcow2 new
-O qcow2 -c -o preallocation=full -t nonsense data.qcow2 new
-O qcow2 -o backing_file= data.qcow2 new
-O qcow2 -o nonsense=1 -B other.qcow2 odd.raw data.qcow2 new
-O raw --bitmaps -c odd.raw data.qcow2 new
-O raw -B x odd.raw data.qcow2 new
-O raw -F raw --bitmaps data.qcow2 odd.raw new
-O raw -c -o preallocation=full odd.raw new
-O raw -c -t nonsense data.qcow2 new
-O raw -o backing_file=x odd.raw data.qcow2 new
-T nonsense --target-image-opts -n -O qcow2 data.qcow2 new
-f nonsense data.qcow2 nope:new
-l snapshot.name=s1 -O raw data.qcow2 snapshots.qcow2 new
-l snapshot.name=s1 -O raw snapshots.qcow2 data.qcow2 new
-l snapshot.name=s1 -O raw snapshots.qcow2 snapshots.qcow2 new
-n --bitmaps -O qcow2 -t nonsense odd.raw data.qcow2
-n --bitmaps bitmaps.qcow2 nothing
-n --bitmaps odd.raw nothing
-n -O qcow2 -B missing -F qcow2 --target-is-zero data.qcow2 other.qcow2
-n -O raw --bitmaps -c bitmaps.qcow2 sparse.raw
-n -O raw -c data.qcow2 nothing
-o , --nonsense -O qcow2 data.qcow2 new
-o , -m 0 -O qcow2 data.qcow2 new
-o nonsense=1 -o size=x -O qcow2 data.qcow2 new
-o size=x -O qcow2 data.qcow2 nope:new
-o size=x -O qcow2 lost.qcow2 new
-o size=x -f nonsense data.qcow2 new
-o size=x -l nope -O qcow2 snapshots.qcow2 new
-p --image-opts -f raw data.qcow2 new
-t nonsense -O qcow2 data.qcow2 data.qcow2
-t nonsense -O qcow2 data.qcow2 folder
-t nonsense -O qcow2 data.qcow2 missing/new
-t nonsense -o refcount_bits=5 -O qcow2 data.qcow2 new
-O raw 'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}' new
driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,overlap-check=none,nonsense=1 new --image-opts
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
-t nonsense -O raw --bitmaps data.qcow2 new
-t nonsense -O qcow2 -B missing -F qcow2 data.qcow2 new
-t nonsense -O qcow2 -B '' -F qcow2 data.qcow2 new
-t nonsense -O qcow2 -B data.qcow2 -F qcow2 data.qcow2 data.qcow2
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
--object secret,id=s --nonsense data.qcow2 x
-F nonsense -f qcow2 folder 1M
-f qcow2 -o , --nonsense new 1M
-f qcow2 -o extended_l2=on,cluster_size=4k -F qcow2 new 1M
-u -b other.qcow2 -F nonsense -f qcow2 folder 1M
-u -b other.qcow2 -F nonsense -f qcow2 missing/new 1M
-u -b x -f qcow2 -o compat=9 -F nonsense new 1M
-f qcow2 -o size=18446744073709551615 new
-f raw -o size=18446744073709551615 new
-f qcow2 -o size=18446744073709551615 -b other.qcow2 -F qcow2 new
-f qcow2 -o size=18446744073709551615 new 1M
-f raw :x 1M
-f qcow2 /dev/null 1M
-f qcow2 pipe 1M
""",
    "dd": r"""
--object secret,id=s --nonsense if=data.qcow2 x
""",
    "info": r"""
--image-opts -f raw data.qcow2
--image-opts -f raw data.qcow2 more
--image-opts driver=file,discard=x,filename=odd.raw
--image-opts driver=host_device,filename=/dev/null,nonsense=1
--image-opts driver=nonsense,discard=x,file.filename=odd.raw
--image-opts driver=qcow2,detect-zeroes=x,discard=x,cache.direct=x,file.filename=odd.raw
--image-opts driver=qcow2,detect-zeroes=x,discard=x,file.filename=odd.raw
--image-opts driver=qcow2,detect-zeroes=x,force-share=x,cache.direct=x,file.filename=odd.raw
--image-opts driver=qcow2,detect-zeroes=x,read-only=x,cache.direct=x,file.filename=odd.raw
--image-opts driver=qcow2,discard=x,detect-zeroes=x,read-only=x,file.filename=odd.raw
--image-opts driver=qcow2,file.driver=host_device,file.filename=data.qcow2,file.aio=native
--image-opts driver=qcow2,file.driver=host_device,file.filename=data.qcow2,file.nonsense=1
--image-opts driver=qcow2,file.filename=data.qcow2,file.aio=native
--image-opts driver=qcow2,file.filename=data.qcow2,file.aio=native,file.nonsense=1
--image-opts driver=qcow2,file.filename=folder,file.nonsense=1
--image-opts driver=qcow2,file.filename=missing,file.nonsense=1
--image-opts driver=qcow2,file.filename=missing,nonsense=1
--image-opts driver=qcow2,file.filename=odd.raw,file.nonsense=1
--image-opts driver=qcow2,file.filename=odd.raw,nonsense=1
--object secret,id=s --nonsense data.qcow2
--object secret,id=s,data=x --object secret,id=s,data=x --nonsense data.qcow2
--image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=unmap
--image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=unmap,discard=on
--image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=unmap,discard=x
--image-opts driver=qcow2,file.filename=data.qcow2,file.detect-zeroes=unmap
--image-opts driver=qcow2,file.filename=data.qcow2,file.detect-zeroes=unmap,file.discard=off
--image-opts driver=raw,file.filename=data.qcow2,detect-zeroes=unmap
--image-opts driver=file,filename=data.qcow2,detect-zeroes=unmap
--backing-chain 'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}'
--output=json 'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}'
'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"top.qcow2"}}}'
'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"./over.qcow2"}}}'
--image-opts driver=qcow2,file.filename=data.qcow2,lazy-refcounts=x
--image-opts driver=qcow2,file.filename=v2.qcow2,lazy-refcounts=x
--image-opts driver=qcow2,file.filename=data.qcow2,pass-discard-request=x
--image-opts driver=qcow2,file.filename=data.qcow2,discard-no-unref=on
--image-opts driver=qcow2,file.filename=v2.qcow2,discard-no-unref=on
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check=x
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check=all
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check.template=x
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check.template=all
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check.main-header=x
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check.active-l1=on
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check.nonsense=on
--image-opts driver=qcow2,file.filename=data.qcow2,cache-size=x
--image-opts driver=qcow2,file.filename=data.qcow2,cache-size=1M,l2-cache-size=2M
--image-opts driver=qcow2,file.filename=data.qcow2,cache-size=1M,refcount-cache-size=2M
--image-opts driver=qcow2,file.filename=data.qcow2,cache-size=1M,l2-cache-size=1M,refcount-cache-size=64k
--image-opts driver=qcow2,file.filename=data.qcow2,l2-cache-entry-size=1000
--image-opts driver=qcow2,file.filename=data.qcow2,l2-cache-entry-size=4k
--image-opts driver=qcow2,file.filename=data.qcow2,l2-cache-entry-size=128k
--image-opts driver=qcow2,file.filename=data.qcow2,cache-clean-interval=x
--image-opts driver=qcow2,file.filename=data.qcow2,cache-clean-interval=1
--image-opts driver=qcow2,file.filename=data.qcow2,cache-clean-interval=99999999999
--image-opts driver=qcow2,file.filename=data.qcow2,l2-cache-size=9E
--image-opts driver=qcow2,file.filename=data.qcow2,refcount-cache-size=0
--image-opts driver=qcow2,file.filename=data.qcow2,discard-no-unref=x
--image-opts driver=qcow2,file.filename=v2.qcow2,discard-no-unref=x
--image-opts driver=qcow2,file.filename=data.qcow2,cache-size=-1
--image-opts driver=qcow2,file.filename=data.qcow2,overlap-check.template=all,overlap-check.active-l1=off,nonsense=1
'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"},"backing":null}'
.//over.qcow2
--output=json ././/over.qcow2
--backing-chain .//top.qcow2
folder/../over.qcow2
--image-opts driver=qcow2,file.filename=c:olon-over.qcow2
--output=json --image-opts driver=qcow2,file.filename=c:olon-over.qcow2
--image-opts driver=raw,file.filename=odd.raw,backing.driver=qcow2
--image-opts driver=raw,file.filename=odd.raw,backing.driver=qcow2,nonsense=1
:x
./:x
--image-opts driver=qcow2,file.filename=over.qcow2,backing=
--backing-chain --image-opts driver=qcow2,file.filename=over.qcow2,backing=
--image-opts driver=raw,file.filename=odd.raw,backing=
--image-opts driver=qcow2,file.filename=over.qcow2,backing=x
'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"},"backing":""}'
'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"},"backing":null}'
--output=json --image-opts driver=qcow2,file.filename=external.qcow2,data-file.filename=external.raw
--image-opts driver=qcow2,file.filename=external.qcow2,data-file.driver=raw,data-file.file.filename=external.raw
--image-opts driver=qcow2,file.filename=data.qcow2,file.aio-max-batch=4
--image-opts driver=qcow2,file.filename=data.qcow2,file.aio-max-batch=x
--image-opts driver=raw,file.driver=qcow2,file.file.filename=top.qcow2
--output=json --image-opts driver=raw,file.driver=qcow2,file.file.filename=top.qcow2
'json:{"driver":"raw","file.filename":"odd.raw\u0000x"}'
'json:{"driver":"raw","file":{"driver":"file","filename":"\u0000"}}'
""",
    "map": r"""
--object secret,id=s --nonsense data.qcow2
'json:{"driver":"qcow2","file":{"driver":"raw","offset":0, "file":{"driver":"file","filename":"over.qcow2"}}}'
'json:{"driver":"qcow2","file":{"driver":"raw","size":1441792, "file":{"driver":"file","filename":"over.qcow2"}}}'
--image-opts driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,overlap-check=none,nonsense=1
'json:{"driver":"raw","file":{"driver":"file","filename":"data.qcow2"},"backing":null}'
.//over.qcow2
file:.//over.qcow2
--image-opts driver=raw,file.filename=odd.raw,backing.driver=qcow2
--image-opts driver=raw,file.filename=odd.raw,backing.driver=qcow2,nonsense=1
'json:{"driver":"raw","file":{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"}}}'
'json:{"driver":"raw","file":{"driver":"qcow2","file":{"driver":"file","filename":"packed.qcow2"}}}'
--output=json 'json:{"driver":"raw","file":{"driver":"qcow2","file":{"driver":"file","filename":"data.qcow2"}}}'
--output=json 'json:{"driver":"raw","file":{"driver":"qcow2","file":{"driver":"file","filename":"subclusters.qcow2"}}}'
--output=json --image-opts driver=raw,offset=1048576,file.driver=qcow2,file.file.filename=top.qcow2
--output=json --image-opts driver=raw,file.driver=raw,file.file.driver=qcow2,file.file.file.filename=top.qcow2
--image-opts driver=qcow2,file.locking=off
file:./external.qcow2
.//external.qcow2
--image-opts driver=qcow2,file.filename=over.qcow2,backing.file.nonsense=1
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
--image-opts -f raw
--image-opts -f raw --size 1M
--image-opts -f raw a b
--object secret,id=s --nonsense data.qcow2
-o , --nonsense data.qcow2
-o ,x --output=xml data.qcow2
-O qcow2 -o size=8E data.qcow2
-O qcow2 -o size=8E --size 1M
-O qcow2 -o size=100T,cluster_size=4k data.qcow2
-O qcow2 -o size=18446744073709551615 data.qcow2
""",
    "rebase": r"""
--image-opts -f raw -b other.qcow2 -T nonsense over.qcow2
--image-opts -f raw -b other.qcow2 -t nonsense over.qcow2
--object secret,id=s --nonsense data.qcow2
-b $(printf '%01100d' 1) -u v2.qcow2
-b other.qcow2 -u odd.raw
-b other.qcow2 odd.raw
-p --image-opts -f raw -b '' over.qcow2
-p -b '' missing
-p -b other.qcow2 over.qcow2
-p -f nonsense -b missing -F qcow2 over.qcow2
-p -t nonsense -b '' missing
-p -u -b other.qcow2 over.qcow2
-b '' 'json:{"driver":"qcow2","file":{"driver":"raw","file":{"driver":"file","filename":"over.qcow2"}}}'
-b ./v2.qcow2 -F qcow2 'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"},"backing":null}'
-b file:v2.qcow2 -F qcow2 'json:{"driver":"qcow2","file":{"driver":"file","filename":"over.qcow2"},"backing":null}'
-u -F nonsense over.qcow2
-b '' -F nonsense over.qcow2
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
--image-opts -f raw data.qcow2 x
--image-opts driver=qcow2,file.filename=data.qcow2,force-share=on,read-only=on 20M
--object secret,id=s --nonsense data.qcow2 1M
driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,overlap-check=none,nonsense=1 20M --image-opts
missing 9E
--image-opts driver=raw,file.filename=sparse.raw,size=1024 +0
--image-opts driver=raw,file.filename=sparse.raw,offset=1024 +0
--image-opts driver=raw,file.filename=sparse.raw,size=1024 2048
data.qcow2 10M
--image-opts driver=qcow2,file.filename=missing,read-only=on 1M
--image-opts driver=qcow2,file.filename=data.qcow2,read-only=on 20M
--image-opts driver=qcow2,file.filename=data.qcow2,read-only=on,nonsense=1 20M
--image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2 20M
""",
    "snapshot": r"""
--object secret,id=s --nonsense data.qcow2
-U -c x -f nonsense data.qcow2
-a '' bitmaps.qcow2
-a x bitmaps.qcow2
-a x external.qcow2
-a x odd.raw
--image-opts driver=qcow2,file.filename=over.qcow2,cache-size=1M,lazy-refcounts=on,overlap-check=none,nonsense=1
-l -l --for=x odd.raw
-c x -d y data.qcow2
-c x --image-opts driver=qcow2,file.filename=lost.qcow2,read-only=on
-c x --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-a x --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
-l --image-opts driver=qcow2,file.filename=over.qcow2,backing=
""",
}
