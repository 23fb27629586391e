# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines about how words are read: options in all spellings, what is missing or too much, and the limits of numbers."""
from __future__ import annotations

LINES = r"""

-h
--help
--hel
--h
-V
--version
--vers
--v
--nonsense
-- info data.qcow2
-hV
-Vh
-hz
-
- info
nonsense
nonsense -h
Info data.qcow2
info
inf data.qcow2
''
info --
info -- --
info -- data.qcow2 --
info -- -- data.qcow2
info - data.qcow2
info -
info data.qcow2 -
info --output
info --output=
info --output ''
info --out json data.qcow2
info --o json data.qcow2
info --ob secret,id=a,data=b data.qcow2
info --objec=secret,id=a,data=b data.qcow2
info --i driver=qcow2,file.filename=data.qcow2
info --b data.qcow2
info --backing top.qcow2
info -b top.qcow2
info -bU top.qcow2
info -Ub top.qcow2
info -bz top.qcow2
info -Uz
info -Ufqcow2 data.qcow2
info -fU data.qcow2
info -f=qcow2 data.qcow2
info -f '' data.qcow2
info -f qcow2 -f raw data.qcow2
info -f raw -f qcow2 data.qcow2
info --format=qcow2 data.qcow2
info --format qcow2 data.qcow2
info --format= data.qcow2
info --f qcow2 data.qcow2
info --fo data.qcow2
info --for=qcow2 data.qcow2
info -U -U data.qcow2
info --output=json --output=human data.qcow2
info --output=human --output=xml data.qcow2
info --output=JSON data.qcow2
info -: data.qcow2
info -? data.qcow2
info -W data.qcow2
info -W foo data.qcow2
info --- data.qcow2
info ---output data.qcow2
info --=x data.qcow2
info --= data.qcow2
info '--output json' data.qcow2
info data.qcow2 --output json
info data.qcow2 -f raw
info data.qcow2 -- -f
info -f
info data.qcow2 -f
info --help
info -h data.qcow2
info data.qcow2 -h
info -z -h
info -h -z
info -f -h
info -hf
create
create -f qcow2
create new
create new 1M 2M
create new 1M 2M 3M
create new 1M -f qcow2
create -fqcow2 new 1M
create -qfqcow2 new 1M
create -qf qcow2 new 1M
create -f qcow2 -q new 1M extra
create --format qcow2 new 1M
create --options cluster_size=4k --format=qcow2 new 1M
create --opt cluster_size=4k -f qcow2 new 1M
create --backing=other.qcow2 --backing-format=qcow2 -f qcow2 new
create --backing other.qcow2 --backing-f qcow2 -f qcow2 new
create --back other.qcow2 -F qcow2 -f qcow2 new
create --backing-u -b nope -F qcow2 -f qcow2 new 1M
create -u -bnope -Fqcow2 -fqcow2 new 1M
create '' 1M
create -f qcow2 '' 1M
create -f '' new 1M
create new ''
create -o '' new 1M
create -o , new 1M
create -o ,, new 1M
create -o a, new 1M
create -o size=1M, new
create -o size=1M,, new
create -o size=1M,,, new
create -o size=1M -o , new
create -f qcow2 -o cluster_size=4k -o cluster_size=8k new 1M
create -f qcow2 -o cluster_size=4k -o lazy_refcounts=on new 1M
create -f qcow2 -o cluster_size=4k,lazy_refcounts new 1M
create -f qcow2 -o nolazy_refcounts new 1M
create -f qcow2 -o lazy_refcounts=maybe new 1M
create -f qcow2 -o lazy_refcounts= new 1M
create -f qcow2 -o lazy_refcounts=On new 1M
create -f qcow2 -o lazy_refcounts=true new 1M
create -f qcow2 -o lazy_refcounts=y,extended_l2=no new 1M
create -f qcow2 -o id=x new 1M
create -f qcow2 -o id=1x new 1M
create -f qcow2 -o id= new 1M
create -f qcow2 -o =x new 1M
create -f qcow2 -o = new 1M
create -f qcow2 -o x=,y= new 1M
create -f qcow2 -o size new
create -f qcow2 -o nosize new
create -f qcow2 -o compat=v2 new 1M
create -f qcow2 -o compat=1.0 new 1M
create -f qcow2 -o compat= new 1M
create -f qcow2 -o refcount_bits=08 new 1M
create -f qcow2 -o refcount_bits=0x10 new 1M
create -f qcow2 -o refcount_bits=010 new 1M
create -f qcow2 -o refcount_bits=0 new 1M
create -f qcow2 -o refcount_bits= new 1M
create -f qcow2 -o refcount_bits=16.0 new 1M
create -f qcow2 -o refcount_bits=1k new 1M
create -f qcow2 -o preallocation= new 1M
create -f qcow2 -o preallocation=METADATA new 1M
create -f qcow2 -o compression_type=zip new 1M
create -f qcow2 -o compression_type=zstd,compat=0.10 new 1M
create -f qcow2 -o extended_l2=on,cluster_size=8k new 1M
create -f qcow2 -o extended_l2=on,compat=0.10 new 1M
create -f qcow2 -o cluster_size=256 new 1M
create -f qcow2 -o cluster_size=4M new 1M
create -f qcow2 -o cluster_size=0 new 1M
create -f qcow2 -o cluster_size=65537 new 1M
create -f qcow2 -o data_file= new 1M
create -f qcow2 -o data_file_raw=on new 1M
create -f qcow2 -o data_file=x,compat=0.10 new 1M
create -f qcow2 -o data_file=x,data_file_raw=on,preallocation=metadata new 1M
create -f qcow2 -o backing_file= new 1M
create -f qcow2 -o backing_file=other.qcow2,backing_fmt= new 1M
create -f qcow2 -o backing_fmt= new 1M
create -f qcow2 -o nocow=maybe new 1M
create -f qcow2 -o help=1 new 1M
create -f qcow2 -o help=on
create -f qcow2 -o help,x
create -f qcow2 -o x,help
create -f qcow2 -o 'x=a,,help'
create -f qcow2 -o 'x=a,help'
create -f qcow2 -o ?
create -f qcow2 -o '?=1' new 1M
create -f qcow2 -o nohelp new 1M
create -f qcow2 -o help -o ,
create -f nonsense -o help new 1M
create -o help nope:x 1M
create -o help new 1Q
create -o help new 1M 2M
create -b other.qcow2 -o help
create -f qcow2 -b other.qcow2 -b over.qcow2 -F qcow2 new
create -f qcow2 -F raw -F qcow2 -b other.qcow2 new
create -f qcow2 -b 'com,ma.qcow2' -F qcow2 new
create -f qcow2 -o 'backing_file=com,,ma.qcow2,backing_fmt=qcow2' new
create -f qcow2 'a,b' 1M
create -f qcow2 -b ./other.qcow2 -F qcow2 folder/new
create -f qcow2 -b ../other.qcow2 -F qcow2 folder/new
create -f qcow2 -b json:{} -F qcow2 new
create -f qcow2 -b 'json:{"driver":"qcow2","file":{"driver":"file","filename":"other.qcow2"}}' -F qcow2 new
create -f qcow2 -b nope:x -F qcow2 new
create -f qcow2 -b nbd://localhost:1/x -F raw new
create -f qcow2 -u -b nbd://localhost:1/x -F raw new 1M
create -f qcow2 -b folder -F qcow2 new
create -f qcow2 -b odd.raw -F qcow2 new
create -f qcow2 -b odd.raw -F raw new
create -f qcow2 -b nothing -F raw new
create -f qcow2 -b bytes -F raw new
create -f qcow2 -b bytes new
create -f qcow2 -b broken.qcow2 -F qcow2 new
create -f qcow2 -b unknown.qcow2 -F qcow2 new
create -f qcow2 -b lost.qcow2 -F qcow2 new
create -f qcow2 -b top.qcow2 -F qcow2 new 5M
create -f qcow2 -u new
create -f qcow2 -u new 1M
create -f qcow2 -u -b '' new 1M
create -f qcow2 -F qcow2 new 1M
create -f qcow2 -F nonsense new 1M
create -f qcow2 -u -F nonsense new 1M
create data.qcow2 1M
create -f qcow2 data.qcow2 1M
create -f raw folder 1M
create -f raw folder/ 1M
create -f raw data.qcow2/x 1M
create -f raw nope/x 1M
create -f file new 1M
convert -O '' data.qcow2 new
dd -O '' if=odd.raw of=new
measure -O '' --size 1M
create -f qcow2 -b lost.qcow2 new
create -f qcow2 -u -b lost.qcow2 -F qcow2 new 1M
create -f qcow2 -b external.qcow2 -F qcow2 new
rebase -u -b nn -F file top.qcow2
rebase -u -b nn -F vmdk top.qcow2
rebase -b sparse.raw -F file top.qcow2
convert -O file data.qcow2 n1
convert -n -O file data.qcow2 sparse.raw
measure -O file --size 1M
create -f file -o preallocation=full n9 64k
create -f file -o help
create -f file -o help x
dd -O file if=odd.raw of=n8
dd -O foo if=odd.raw of=n8
amend -f file -o help
create -f file -b odd.raw -F raw new
create -f raw -b odd.raw new
convert -O file -c data.qcow2 n1
convert -O file -o preallocation=falloc data.qcow2 n1
create -f raw -o extent_size_hint=0 new 1M
create -f raw -o extent_size_hint=64k,nocow=on new 1M
create -q -f qcow2 -o extent_size_hint=4294967295 new 1M
create -q -f qcow2 -o extent_size_hint=4G new 1M
convert -O raw -o extent_size_hint=4G odd.raw new
convert -O qcow2 -o extent_size_hint=64k odd.raw new
create -f qcow2 new 9223372036854775807
create -f qcow2 new 9223372036854775296
create -f qcow2 new 9223372036854775297
create -f qcow2 -o size=8E new
create -f qcow2 -o size=15E new
create -f qcow2 -o data_file=q,size=8E new
create -f qcow2 -o cluster_size=2M new 9223372035781033984
create -f qcow2 -o cluster_size=2M new 9223372035781033985
create -f qcow2 -o cluster_size=2M new 64P
resize data.qcow2 9223372036854775807
resize data.qcow2 9223372036854775808
resize data.qcow2 9223372036854775296
resize data.qcow2 9223372035781033984
resize data.qcow2 9223372035781033985
resize data.qcow2 16E
resize data.qcow2 +7E
resize data.qcow2 +9223372036854775807
resize data.qcow2 +9223372036844290047
resize --shrink data.qcow2 -- -16E
amend -o size=9223372036854775807 data.qcow2
amend -o size=8E data.qcow2
amend -o size=9223372036854775808 data.qcow2
amend -o size=7E data.qcow2
amend -o size=18446744073709551615 data.qcow2
measure --size 9223372036854775807
measure -O qcow2 --size 9223372036854775807
measure -O qcow2 -o size=16E data.qcow2
measure -O qcow2 -o cluster_size=2M --size 9223372035781033984
create -f raw -o preallocation=full new 8E
"""
