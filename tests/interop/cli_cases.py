# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines whose answers are compared with real qemu-img's, by command; the images are those of cli_images.py.

Each line is what stands behind the command's name, as in a shell.
"""
from __future__ import annotations

CASES = {
    "info": r"""
data.qcow2
--output=json data.qcow2
snapshots.qcow2
--output=json snapshots.qcow2
bitmaps.qcow2
--output=json bitmaps.qcow2
external.qcow2
--output json external.qcow2
subclusters.qcow2
lazy.qcow2
narrow.qcow2
v2.qcow2
--output=json v2.qcow2
v2-snapshot.qcow2
top.qcow2
--output=json top.qcow2
--backing-chain top.qcow2
--backing-chain --output=json top.qcow2
--backing-chain data.qcow2
--backing-chain --output=json odd.raw
lost.qcow2
--backing-chain lost.qcow2
--backing-chain --output=json lost.qcow2
odd.raw
--output=json odd.raw
nothing
bytes
--output=json bytes
-f raw data.qcow2
-f qcow2 odd.raw
-f qcow2 nothing
-f nonsense data.qcow2
short.qcow2
leaky.qcow2
marked.qcow2
--output=json marked.qcow2
unknown.qcow2
missing
folder
folder/missing
data.qcow2/x
''
.
/dev/null
--output=json /dev/null
-U data.qcow2
--force-share data.qcow2
file:data.qcow2
file:./data.qcow2
file:missing
c:olon.qcow2
./c:olon.qcow2
file:c:olon.qcow2
--output=json file:c:olon.qcow2
'with space.qcow2'
"$(printf 'new\nline.qcow2')"
--output=json "$(printf 'new\nline.qcow2')"
com,ma.qcow2
nonsense:x
json:
json:{
json:[]
json:nope
'json:{"a"}'
'json:{"driver":"qcow2"}'
'json:{"driver":"qcow2","file":{"driver":"file","filename":"data.qcow2"}}'
'json:{"driver":"qcow2","file.filename":"data.qcow2"}'
"json:{'driver':'qcow2','file.filename':'data.qcow2'}"
'json:{"driver":null,"file.filename":"data.qcow2"}'
'json:{"driver":"raw","offset":512,"size":1024,"file.filename":"data.qcow2"}'
--output=json 'json:{"driver":"raw","offset":512,"size":1024,"file.filename":"data.qcow2"}'
'json:{"file":"data.qcow2"}'
'json:{"driver":"qcow2","file.filename":"data.qcow2","nonsense":1}'
'json:{"driver":"qcow2","file.filename":"data.qcow2","file.nonsense":1}'
'json:{"driver":"nonsense","file.filename":"data.qcow2"}'
'json:{"driver":"file","filename":"data.qcow2"}'
--output=json 'json:{"driver":"file","filename":"data.qcow2"}'
'json:{"filename":"data.qcow2"}'
'json:{"file.driver":"file"}'
--image-opts data.qcow2
--image-opts driver=qcow2,data.qcow2
--image-opts file.filename=data.qcow2
--image-opts driver=qcow2,file.filename=data.qcow2
--image-opts driver=qcow2,file.driver=file,file.filename=data.qcow2
--image-opts driver=qcow2,file.filename=data.qcow2,nonsense
--image-opts driver=qcow2,file.filename=data.qcow2,nonononsense
--image-opts driver=qcow2,file.filename=data.qcow2,non.sense=1
--image-opts driver=qcow2,file.filename=data.qcow2,file.non.sense=1
--image-opts file.filename=data.qcow2,file=foo
--image-opts driver=qcow2,driver=raw,file.filename=data.qcow2
--image-opts driver=raw,offset=1k,file.filename=data.qcow2
--image-opts driver=raw,offset=x,file.filename=data.qcow2
--image-opts driver=raw,size=1000,file.filename=data.qcow2
--image-opts driver=raw,offset=1G,file.filename=data.qcow2
--image-opts driver=raw,offset=512,size=1G,file.filename=data.qcow2
--image-opts driver=file,filename=data.qcow2
--image-opts driver=qcow2,file.filename=data.qcow2,read-only=on
--image-opts driver=qcow2,file.filename=data.qcow2,cache.direct=on,cache.no-flush=on
--image-opts driver=qcow2,file.filename=data.qcow2,cache.direct=maybe
--image-opts driver=qcow2,file.filename=data.qcow2,file.locking=maybe
--image-opts driver=qcow2,file.filename=data.qcow2,file.locking=off
--image-opts driver=qcow2,file.filename=data.qcow2,file.aio=maybe
--image-opts driver=qcow2,file.filename=data.qcow2,node-name=n
--image-opts driver=qcow2,file.filename=data.qcow2,discard=maybe
--image-opts driver=qcow2,file.filename=data.qcow2,discard=unmap,detect-zeroes=on
--image-opts driver=qcow2,file.filename=data.qcow2,detect-zeroes=maybe
--image-opts driver=qcow2,file.filename=missing
--image-opts driver=qcow2,,file.filename=data.qcow2
--image-opts ''
--image-opts ,driver=qcow2
--image-opts driver=file
--image-opts driver=host_device,filename=data.qcow2
--image-opts driver=raw,file.driver=qcow2,file.file.filename=data.qcow2
--image-opts --output=json driver=raw,file.driver=qcow2,file.file.filename=data.qcow2
--image-opts file.driver=qcow2,file.file.filename=data.qcow2
--image-opts driver=qcow2,file.driver=raw,file.file.filename=data.qcow2
--image-opts driver=raw,offset=1M,file.driver=qcow2,file.file.filename=data.qcow2
--image-opts -f qcow2 driver=qcow2,file.filename=data.qcow2
--object secret
--object secret,id=a data.qcow2
--object secret,id=a,data=x data.qcow2
--object secret,id=a,data=x,file=y data.qcow2
--object secret,data=x data.qcow2
--object nonsense,id=a data.qcow2
--object secret,id=a,data=x,nonsense=1 data.qcow2
--object secret,id=a,data=x,format=nonsense data.qcow2
--object secret,id=a,file=missing data.qcow2
--object secret,id=a,file=bytes data.qcow2
--object secret,id=a,data=x,keyid=k data.qcow2
--object secret,id=a,data=%%,format=base64 data.qcow2
--object secret,id=a,data=eA==,format=base64 data.qcow2
--object secret,id=1a,data=x data.qcow2
--object secret,id=a,data=x --object secret,id=a,data=y data.qcow2
--object '{"qom-type":"secret","id":"a","data":"x"}' data.qcow2
--object '{"qom-type":"secret","id":"a"' data.qcow2
--object '{}' data.qcow2
--object '' data.qcow2
--object id=a data.qcow2
--object secret,id=k,data=MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=,format=base64 --object secret,id=a,keyid=k,data=AAAA,format=base64 data.qcow2
--object secret,id=k,data=MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=,format=base64 --object secret,id=a,keyid=k,iv=AAAA,data=AAAA,format=base64 data.qcow2
--object secret,id=k,data=MDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA=,format=base64 --object secret,id=a,keyid=k,iv=MDAwMDAwMDAwMDAwMDAwMA==,data=AAAA,format=base64 data.qcow2
--object secret,id=k,data=abc --object secret,id=a,keyid=k,iv=MDAwMDAwMDAwMDAwMDAwMA==,data=AAAA,format=base64 data.qcow2

data.qcow2 empty.qcow2
--output=xml data.qcow2
--output
-f
-z data.qcow2
--nonsense data.qcow2
--outp=json data.qcow2
--form qcow2 data.qcow2
-fqcow2 data.qcow2
-Uf qcow2 data.qcow2
data.qcow2 -f qcow2
-- data.qcow2
-- -f
--quiet=on data.qcow2
""",
    "map": r"""
data.qcow2
--output=json data.qcow2
--output=json empty.qcow2
empty.qcow2
top.qcow2
--output=json top.qcow2
--output=json over.qcow2
packed.qcow2
--output=json packed.qcow2
external.qcow2
--output=json external.qcow2
subclusters.qcow2
--output=json subclusters.qcow2
--output=json v2.qcow2
--output=json lazy.qcow2
sparse.raw
--output=json sparse.raw
--output=json odd.raw
odd.raw
nothing
--output=json nothing
--output=json bytes
-s 1M data.qcow2
--start-offset=1M --max-length=3M --output=json data.qcow2
--start-offset=20M --output=json data.qcow2
--start-offset=20M data.qcow2
--start-offset=512 --max-length=1 --output=json data.qcow2
--max-length=0 --output=json data.qcow2
-l 5M --output=json top.qcow2
--start-offset=x data.qcow2
--start-offset=-1 data.qcow2
--max-length=9E data.qcow2
missing
lost.qcow2
-f raw --output=json data.qcow2
-f qcow2 odd.raw
-U --output=json data.qcow2
marked.qcow2
unknown.qcow2
short.qcow2
--image-opts --output=json driver=raw,offset=1M,size=1M,file.filename=sparse.raw
--image-opts driver=raw,offset=1M,size=1M,file.filename=sparse.raw
--image-opts --output=json driver=qcow2,file.filename=over.qcow2,backing.driver=raw,backing.file.filename=sparse.raw
--image-opts --output=json driver=qcow2,file.filename=over.qcow2,backing.driver=qcow2
--image-opts --output=json driver=qcow2,file.filename=over.qcow2,backing=
--image-opts --output=json driver=qcow2,file.filename=external.qcow2,data-file.filename=sparse.raw
--image-opts --output=json driver=qcow2,file.filename=data.qcow2,data-file.filename=sparse.raw
'json:{"driver":"qcow2","file.filename":"over.qcow2","backing":null}'
--output=json 'json:{"driver":"qcow2","file.filename":"over.qcow2","backing":null}'

data.qcow2 empty.qcow2
--output=x data.qcow2
file:c:olon.qcow2
"$(printf 'new\nline.qcow2')"
""",
    "check": r"""
data.qcow2
--output=json data.qcow2
empty.qcow2
--output=json empty.qcow2
packed.qcow2
top.qcow2
lost.qcow2
external.qcow2
subclusters.qcow2
bitmaps.qcow2
snapshots.qcow2
v2.qcow2
leaky.qcow2
--output=json leaky.qcow2
-q leaky.qcow2
-r leaks leaky.qcow2
-r all leaky.qcow2
-r leaks --output=json leaky.qcow2
-q -r leaks leaky.qcow2
broken.qcow2
--output=json broken.qcow2
-r leaks broken.qcow2
-r all broken.qcow2
-r all --output=json broken.qcow2
-q -r all broken.qcow2
marked.qcow2
-r all marked.qcow2
-r leaks marked.qcow2
-r all data.qcow2
-r leaks external.qcow2
unknown.qcow2
short.qcow2
odd.raw
-r all odd.raw
-f raw -r all odd.raw
nothing
-f qcow2 odd.raw
-f raw data.qcow2
-r nonsense data.qcow2
-r
-r all -U data.qcow2
-U data.qcow2
-T none data.qcow2
-T nonsense data.qcow2
--image-opts driver=qcow2,file.filename=data.qcow2
--image-opts -r all driver=qcow2,file.filename=leaky.qcow2
--image-opts --output=json driver=qcow2,file.filename=data.qcow2
missing
folder

data.qcow2 empty.qcow2
--output=x data.qcow2
""",
    "create": r"""
-f qcow2 -b snapshots.qcow2 -F foo new
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
""",
    "compare": r"""
odd.raw data.qcow2
data.qcow2 data.qcow2
-s data.qcow2 empty.qcow2
data.qcow2 empty.qcow2
-s empty.qcow2 bitmaps.qcow2
empty.qcow2 bitmaps.qcow2
-s empty.qcow2 other.qcow2
other.qcow2 over.qcow2
-s other.qcow2 other.qcow2
-q data.qcow2 empty.qcow2
nope empty.qcow2
empty.qcow2 nope
empty.qcow2
a b c
-f raw empty.qcow2 empty.qcow2
-f raw -F raw empty.qcow2 empty.qcow2
-f foo empty.qcow2 empty.qcow2
-F foo empty.qcow2 empty.qcow2
-T foo empty.qcow2 empty.qcow2
--object foo empty.qcow2 empty.qcow2
-z empty.qcow2 empty.qcow2
--image-opts driver=qcow2,file.filename=empty.qcow2 driver=raw,file.filename=empty.qcow2
--image-opts -f raw x y
-U empty.qcow2 odd.raw
empty.qcow2 odd.raw
-s external.qcow2 external.qcow2
-s -f raw -F raw external.raw external.raw
over.qcow2 top.qcow2
-s over.qcow2 top.qcow2
-T none over.qcow2 top.qcow2
lost.qcow2 empty.qcow2
""",
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
""",
    "rebase": r"""
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
""",
    "amend": r"""
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
""",
}
