# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for the commands that only read images."""
from __future__ import annotations

LINES = {
    "info": r"""
unnamed.qcow2
--output=json unnamed.qcow2
directory.qcow2
host_device:/dev/null
host_cdrom:/dev/null
--output=json host_device:/dev/zero
host_device:odd.raw
host_cdrom:odd.raw
file:/dev/null
-f file /dev/null
-f file odd.raw
-f host_device /dev/null
-f host_device odd.raw
-f nbd odd.raw
'json:{"driver":"raw","file":{"filename":"/dev/null"}}'
'json:{"driver":"raw","offset":0,"file":{"filename":"/dev/null"}}'
'json:{"driver":"file","file":{"driver":"file","filename":"odd.raw"}}'
'json:{"driver":"file","filename":"odd.raw","file":{"driver":"file","filename":"odd.raw"}}'
--backing-chain 'json:{"driver":"qcow2","file":{"driver":"raw","offset":0,"file.filename":"over.qcow2"}}'
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
-f nonsense nope:x
-f nonsense nbd+unix:
-f nonsense json:
-f luks nope:x
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
--image-opts driver=qcow2,file.locking=off
--image-opts driver=qcow2,file.driver=file
--image-opts file.nonsense=x
'json:{"driver":"qcow2","file":{}}'
'json:{"file":{"file":{}}}'
'json:{"file.file.filename":"data.qcow2"}'
'json:{"driver":"raw","file.file.driver":"file","file.file.filename":"data.qcow2"}'
'json:{"driver":"qcow2","file":{"filename":""}}'
--image-opts driver=qcow2,file.filename=data.qcow2,file.locking=maybe
--image-opts driver=qcow2,file.filename=data.qcow2,file.locking=off
--image-opts driver=qcow2,file.filename=data.qcow2,file.aio=maybe
--image-opts driver=qcow2,file.filename=data.qcow2,node-name=n
--image-opts driver=qcow2,file.filename=data.qcow2,node-name=1x
--image-opts driver=qcow2,file.filename=data.qcow2,node-name=
--image-opts driver=qcow2,file.filename=data.qcow2,node-name=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
--image-opts driver=qcow2,file.filename=data.qcow2,file.node-name=a.b-c_d
--image-opts driver=qcow2,file.filename=data.qcow2,node-name=n,file.node-name=n
--image-opts driver=qcow2,file.filename=missing,node-name=1
--image-opts driver=qcow2,file.filename=missing,detect-zeroes=x
--image-opts driver=qcow2,file.filename=missing,discard=x
--image-opts driver=qcow2,file.filename=missing,cache.direct=x
--image-opts driver=qcow2,file.filename=data.qcow2,node-name=1,discard=x,detect-zeroes=x
--image-opts driver=qcow2,node-name=1
--image-opts driver=qcow2,file.filename=data.qcow2,cache=none
'json:{"driver":"raw","offset":-1,"file.filename":"data.qcow2"}'
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
unnamed.qcow2
directory.qcow2
unaligned.qcow2
--output=json unaligned.qcow2
--output=json -f file odd.raw
'json:{"driver":"qcow2","file":{"driver":"raw","offset":0,"file.filename":"over.qcow2"}}'
'json:{"driver":"qcow2","backing.driver":"raw","file":{"driver":"raw","offset":0,"file.filename":"over.qcow2"}}'
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
--image-opts --output=json driver=qcow2,file.filename=over.qcow2,backing.file.filename=sparse.raw
--image-opts --output=json driver=qcow2,file.filename=over.qcow2,backing.file.filename=data.qcow2
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
torn.qcow2
-r leaks torn.qcow2
-r all torn.qcow2
directory.qcow2
-r all directory.qcow2
unaligned.qcow2
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
    "compare": r"""
unaligned.qcow2 other.qcow2
other.qcow2 unaligned.qcow2
unaligned.qcow2 data.qcow2
data.qcow2 unaligned.qcow2
-s unaligned.qcow2 data.qcow2
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
-p sparse.raw data.qcow2
-p odd.raw odd.raw
-s odd.raw bytes
bytes nothing
nothing nothing
-s nothing nothing
odd.raw sparse.raw
-q odd.raw missing
-f raw odd.raw data.qcow2
--a-format=raw --b-format=raw odd.raw odd.raw
--a-f raw odd.raw odd.raw
-F qcow2 odd.raw data.qcow2
-T none -s sparse.raw sparse.raw
-U top.qcow2 top.qcow2
short.qcow2 data.qcow2
broken.qcow2 data.qcow2
marked.qcow2 data.qcow2
folder data.qcow2

a
--image-opts data.qcow2 driver=raw,file.filename=odd.raw
""",
    "measure": r"""
-O qcow2 unaligned.qcow2
-O qcow2 data.qcow2
-O qcow2 --output=json bitmaps.qcow2
-O qcow2 -l s1 snapshots.qcow2
-O qcow2 -l nope snapshots.qcow2
-O qcow2 -o compat=v2 bitmaps.qcow2
-O qcow2 -o preallocation=full data.qcow2
-O qcow2 -o backing_file=x,backing_fmt=raw data.qcow2
-O raw bytes
-O qcow2 over.qcow2
-O qcow2 lost.qcow2
-U -O qcow2 data.qcow2
--size 1M -f raw
--size 1M -l x
--size 1M --image-opts
a b
--output=x --size 1M
-O qcow2 -o cluster_size=1 --size 1M
-O qcow2 -o refcount_bits=3 --size 1M
-O qcow2 -o foo=1 --size 1M
-O qcow2 -o help --size 1M
-O foo --size 1M
""",
}
