# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Command lines that only qemu-img 11 understands: whole ones, after the program's name."""
from __future__ import annotations

LINES = """\
create -f qcow2 -b other.qcow2 -B qcow2 new
create -f qcow2 -b odd.raw -Braw new 2M
create -f qcow2 -b other.qcow2 -B nonsense new
create -B qcow2 -f qcow2 new 1M
rebase -b data.qcow2 -B qcow2 top.qcow2
rebase -u -b other.qcow2 -Bqcow2 top.qcow2
convert -O qcow2 -b other.qcow2 -F qcow2 over.qcow2 new
convert -O qcow2 -bother.qcow2 -F qcow2 over.qcow2 new
convert -b other.qcow2 odd.raw new
convert --source-format=raw --target-format=qcow2 --target-format-options=cluster_size=4k odd.raw new
convert --snapshot s1 -O qcow2 snapshots.qcow2 new
convert --rate-limit=1G odd.raw new
convert --rate-limit=x odd.raw new
convert --target-cache=none --no-create odd.raw missing
convert --compress --target-format qcow2 odd.raw new
commit --rate-limit 1G top.qcow2
commit --rate-limit x top.qcow2
snapshot -f qcow2 -l snapshots.qcow2
snapshot --create s9 data.qcow2
snapshot --apply s1 snapshots.qcow2
snapshot --delete=s1 snapshots.qcow2
measure -s 1M
measure -s 1M -O qcow2 --target-format-options=cluster_size=4k
measure --source-format=raw odd.raw
measure --source-image-opts driver=raw,file.filename=odd.raw
bitmap --format qcow2 --add data.qcow2 b9
bitmap --remove-all bitmaps.qcow2
bitmap --remove-all bitmaps.qcow2 b1
bitmap --remove-all --add bitmaps.qcow2 b1
bitmap --add --remove-all data.qcow2 b9
bitmap --add --remove-all data.qcow2
bitmap --remove-all data.qcow2
bitmap --remove-all
bitmap --remove-all a b c
bitmap --remove-all -g 4k data.qcow2
bitmap --remove-all -f raw odd.raw
bench --quiet -c 1 data.qcow2
create -f qcow2 -o data_file=odd.raw,data_file_raw=on,keep_data_file=on new 10M
create -f qcow2 -o data_file=odd.raw,data_file_raw=on,keep_data_file=on new 64k
create -f qcow2 -o data_file=odd.raw,preallocation=metadata,keep_data_file=on new 1M
create -f qcow2 -o data_file=odd.raw,data_file_raw=on,preallocation=metadata,keep_data_file=on new 1M
create -f qcow2 -o data_file=odd.raw,keep_data_file=on new 1M
create -f qcow2 -o data_file=odd.raw,preallocation=full,keep_data_file=on new 1M
create -f qcow2 -o data_file=odd.raw,data_file_raw=on,keep_data_file=off new 1M
create -f qcow2 -o data_file=missing,data_file_raw=on,keep_data_file=on new 1M
create -f qcow2 -o data_file=new,data_file_raw=on,keep_data_file=on new 1M
create -f qcow2 -o keep_data_file=on new 1M
create -f qcow2 -o keep_data_file=on,compat=0.10 new 1M
create -f qcow2 -o keep_data_file=x new 1M
create -f raw -o keep_data_file=on new 1M
amend -o keep_data_file=on data.qcow2
measure -O qcow2 -o keep_data_file=on --size 1M
measure -O qcow2 -o data_file=odd.raw,keep_data_file=on --size 1M
info --limits data.qcow2
info --limits --output=json other.qcow2
info --limits --output=json over.qcow2
info --limits top.qcow2 --backing-chain
info --limits snapshots.qcow2
info --limits --output=json -f raw odd.raw
info --limits --output=json odd.raw
info --limits --image-opts driver=raw,file.driver=qcow2,file.file.filename=data.qcow2
info --limits=1 data.qcow2
info -t none --limits --output=json other.qcow2
info -t none --limits -f raw odd.raw
info --cache=directsync --limits data.qcow2
info -t writethrough data.qcow2
info -t nonsense data.qcow2
info --cache
"""
