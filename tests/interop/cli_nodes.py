# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines about the options of nodes, as cli_cases.py has them: values of every type, options of every driver."""
from __future__ import annotations

#: ``json:`` names with values that are no texts, …
_TYPES = r"""
"json:{'file':{'filename':5}}"
"json:{'file':[]}"
"json:{'driver':'qcow2','file.filename':'over.qcow2','backing':5}"
"json:{'driver':'qcow2','file.filename':'over.qcow2','data-file':null}"
"json:{'driver':'qcow2','file.filename':'over.qcow2','data-file':''}"
"json:{'driver':'qcow2','file.filename':'external.qcow2','data-file':5}"
"json:{'driver':'qcow2','file.filename':'external.qcow2','data-file':{'locking':'off'}}"
"json:{'driver':'raw','file.filename':'sparse.raw','offset':18446744073709551616}"
"json:{'driver':'raw','file.filename':'sparse.raw','backing':5}"
"json:{'driver':'raw','file.filename':'sparse.raw','file.backing':null}"
"json:{'driver':'qcow2','file.filename':'data.qcow2','overlap-check':{},'lazy-refcounts':null}"
"""

#: … and option strings.
_OPTIONS = r"""
driver=qcow2,file.filename=data.qcow2,lazy-refcounts.x=1
driver=qcow2,file.filename=data.qcow2,cache-size=1E
driver=qcow2,file.filename=data.qcow2,refcount-cache-size=200T
driver=qcow2,file.filename=data.qcow2,overlap-check=none,overlap-check.template=none
driver=qcow2,file.filename=data.qcow2,overlap-check=none,overlap-check.template=all
driver=qcow2,file.filename=data.qcow2,overlap-check=all,overlap-check.main-header=x
driver=qcow2,file.filename=data.qcow2,overlap-check=all,overlap-check.active-l2=off
driver=qcow2,file.filename=data.qcow2,overlap-check=all,overlap-check.x=on
driver=qcow2,file.filename=data.qcow2,encrypt.format=luks
driver=qcow2,file.filename=data.qcow2,encrypt.key-secret=s
driver=qcow2,file.filename=data.qcow2,encrypt=s
driver=qcow2,file.filename=data.qcow2,data-file=x
driver=file,filename=sparse.raw,backing=
driver=file,filename=sparse.raw,backing=x
driver=raw,file.filename=sparse.raw,file.pr-manager=pr0
driver=raw,file.filename=sparse.raw,id=1
driver=raw,file.filename=sparse.raw,id=x
driver=raw,file.filename=sparse.raw,help
driver=raw,file.filename=sparse.raw,nohelp,?
file.filename.=data.qcow2
driver=raw,file.driver=qcow2,file.file.filename=external.qcow2
driver=raw,file.driver=qcow2,file.file.filename=snapshots.qcow2
driver=raw,file.driver=qcow2,file.file.filename=over.qcow2,file.backing=
driver=raw,file.driver=qcow2,file.file.filename=over.qcow2,file.backing.driver=raw
driver=raw,file.driver=qcow2,file.file.filename=over.qcow2,file.backing.file.filename=other.qcow2
driver=raw,file.driver=qcow2,file.file.filename=over.qcow2,file.backing.file.filename=./other.qcow2
driver=raw,file.driver=qcow2,file.file.filename=external.qcow2,file.data-file.filename=external.raw
"""

#: Objects; what becomes of them nobody sees here.
_OBJECTS = r"""
help
nonsense,help
secret,help
tls-creds-x509,id=t,?
'secret,,'
=x
secret,id
secret,foo,help
'secret,id=s, data=x'
secret,id=s,a..b=1
secret,id=s,0=1
secret,id=s,data.0=x
secret,id=s,data.0=x,data.2=y
secret,id=s,data.0=x,data.y=z
secret,id=s,data=x,data.y=z
secret,id=s,x.y=1,data=z
secret,id.x=1
qom-type.x=1
secret,id=s,file=folder
secret,id=s,data=e=Hg,format=base64
secret,id=s,data=x,keyid=s,iv=x
secret,id=s,data=x,help
'{"qom-type":"secret","id":"s","data":5}'
'{"qom-type":"secret","id":"s","data":null}'
'{"qom-type":"secret","id":5}'
'{"qom-type":5}'
'{"qom-type":"secret","id":"s","data":"x","format":{}}'
'{"qom-type":"tls-creds-anon","id":"t","verify-peer":"on"}'
'{"qom-type":"tls-creds-anon","id":"t","verify-peer":true,"endpoint":"client"}'
"""

#: A key that is not 32 bytes if base64 is padded for whoever has not done it himself.
_UNPADDED = "secret,id=k,format=base64,data=MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE"

_OPTION_STRINGS = "\n".join("--image-opts " + line for line in _OPTIONS.strip("\n").split("\n"))

NODES = {
    "info": "\n".join(
        (
            _OPTION_STRINGS,
            *("--object %s empty.qcow2" % text for text in _OBJECTS.strip("\n").split("\n")),
            "--object %s --object secret,id=s,data=x,keyid=k,iv=x empty.qcow2" % _UNPADDED,
        )
    ),
    "resize": r"""
--image-opts file.driver=raw,file.file.filename=sparse.raw,file.file.driver=file 11M
""",
    "snapshot": r"""
-l --image-opts driver=raw,offset=512,file.driver=qcow2,file.file.filename=snapshots.qcow2
-c zz --image-opts driver=raw,file.driver=raw,file.file.driver=qcow2,file.file.file.filename=snapshots.qcow2
-a s1 --image-opts driver=raw,file.driver=qcow2,file.file.filename=snapshots.qcow2
-d s1 --image-opts driver=raw,file.driver=qcow2,file.file.filename=snapshots.qcow2
-d zz --image-opts driver=raw,file.driver=raw,file.file.filename=sparse.raw
""",
    "create": r"""
-f qcow2 -o data_file=file:./x new 1M
-f qcow2 -o data_file=file:a:b new 1M
-f qcow2 -o data_file=new file:new 1M
-f raw -o preallocation= new 1M
-f raw -o extent_size_hint=1M new 1M
""",
    "measure": r"""
-O qcow2 -o compat= --size 1M
-O qcow2 -o preallocation= --size 1M
""",
    "map": _TYPES.rstrip("\n") + "\n" + _OPTION_STRINGS,
    "compare": r"""
--image-opts id=1 id=1
--image-opts file.filename=missing id=1
""",
    "dd": r"""
--image-opts if=id=1 of=new
""",
    "rebase": r"""
-b v2.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.file.filename=data.qcow2
-b v2.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.file.filename=external.qcow2
-b v2.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=external.qcow2,data-file.filename=external.raw
-b v2.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=external.qcow2,backing=
-b other.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.file.filename=./data.qcow2
-b other.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing=
-b other.qcow2 -F qcow2 --image-opts driver=qcow2,file.filename=over.qcow2,backing.driver=raw
""",
}
