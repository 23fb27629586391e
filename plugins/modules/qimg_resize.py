#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Change the size of a guest disk."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_resize
short_description: Change the size of virtual disks
version_added: 0.1.0
description:
  - Makes a guest disk larger, or smaller if that is allowed.
  - Partitions and file systems in it are not changed.
author:
  - qimg contributors (!UNKNOWN)
extends_documentation_fragment:
  - qimg.disk.attributes
  - qimg.disk.attributes.changes
  - qimg.disk.image.path
  - qimg.disk.image
  - qimg.disk.image.gather
  - qimg.disk.image.dependants
options:
  size:
    description:
      - The new size, as a number of bytes or as a text such as V(512M) or V(10G).
      - With O(allow_relative), a text such as V(+5G) or V(-1G) says by how much to change it.
    type: raw
    required: true
  size_policy:
    description:
      - Whether a disk that is larger than O(size) is fine (V(at_least)) or has to be made smaller (V(exact)).
    type: str
    choices:
      - exact
      - at_least
    default: exact
  allow_relative:
    description:
      - Allow a O(size) that begins with V(+) or V(-). B(The task changes the size in every run then.)
    type: bool
    default: false
  shrink:
    description:
      - Allow the disk to become smaller. B(What lies beyond its new end is lost.)
      - Make the file systems and partitions in it smaller first.
    type: bool
    default: false
  preallocation:
    description:
      - How to prepare the new part of a disk that becomes larger.
      - V(off) not at all; V(metadata) with its tables; V(falloc) with reserved space; V(full) with written zeroes.
      - Which of them there are depends on the format.
    type: str
    choices:
      - "off"
      - metadata
      - falloc
      - full
    default: "off"
seealso:
  - module: qimg.disk.qimg_create
"""

EXAMPLES = r"""
- name: Make sure that the disk has at least 40 GiB
  qimg.disk.qimg_resize:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    size: 40G
    size_policy: at_least

- name: Make the disk exactly 10 GiB, even if that is less than it has now
  qimg.disk.qimg_resize:
    path: /var/lib/libvirt/images/scratch.raw
    format: raw
    size: 10G
    shrink: true
"""

RETURN = r"""
path:
  description: The image, by its absolute path.
  returned: always
  type: str
  sample: /var/lib/libvirt/images/web1.qcow2
actions:
  description: What was done, or in check mode would be done; one sentence each.
  returned: always
  type: list
  elements: str
  sample: [grow the disk from 10737418240 to 42949672960 bytes]
dependants:
  description: The other images that depend on the content that the task changes, or refuses to change.
  returned: there are any
  type: list
  elements: str
  sample: [/var/lib/libvirt/images/web1.qcow2]
info:
  description:
    - What the image says about itself, in the words of C(qemu-img info --output=json).
    - In check mode this is the image as it would be, as far as that is known before its data have been copied.
    - V(null) if there is no image, or if it cannot be read; a warning tells why then.
  returned: O(gather) has V(info)
  type: dict
  sample:
    children: []
    virtual-size: 10737418240
    filename: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    cluster-size: 65536
    actual-size: 200704
    dirty-flag: false
map:
  description:
    - Which parts of the guest disk hold data and where, in the words of C(qemu-img map --output=json).
    - It ends after O(map_limit) extents. V(null) as for RV(info), and in check mode if data would be copied.
  returned: O(gather) has V(map)
  type: list
  elements: dict
  sample:
    - start: 0
      length: 10737418240
      depth: 0
      present: false
      zero: true
      data: false
      compressed: false
map_truncated:
  description: Whether the image has more extents than RV(map).
  returned: O(gather) has V(map)
  type: bool
  sample: false
check:
  description:
    - What a check of the image's metadata finds, in the words of C(qemu-img check --output=json).
    - V(null) if the format cannot be checked, or as for RV(map).
  returned: O(gather) has V(check)
  type: dict
  sample:
    filename: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    check-errors: 0
    image-end-offset: 262144
    total-clusters: 163840
"""

from ansible_collections.qimg.disk.plugins.module_utils._module import DEPENDANTS, IMAGE, ImageModule
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import OptionError, ShrinkRefusedError
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.resize import plan_resize


def plan(module, opener):
    options = module.params
    text = str(options["size"]).strip()
    relative = {"+": 1, "-": -1}.get(text[:1], 0)
    if relative and not options["allow_relative"]:
        raise OptionError(
            "size: '%s' is relative, so that every run would change the disk again" % text,
            remedy="give the size that the disk is to have, or set allow_relative",
        )
    try:
        return plan_resize(
            module.image_name(),
            module.size("size", text[1:] if relative else None),
            options["format"],
            relative,
            options["shrink"],
            options["preallocation"],
            grow_only=options["size_policy"] == "at_least",
            opener=opener,
        )
    except ShrinkRefusedError as error:
        raise OptionError(
            "The disk would become smaller, and lose what lies beyond its new end",
            path=error.path,
            remedy="set shrink if that is meant, or size_policy to at_least if a larger disk is fine",
        ) from error


def main():
    module = ImageModule(
        {
            **IMAGE,
            **DEPENDANTS,
            "size": {"type": "raw", "required": True},
            "size_policy": {"type": "str", "choices": ["exact", "at_least"], "default": "exact"},
            "allow_relative": {"type": "bool", "default": False},
            "shrink": {"type": "bool", "default": False},
            "preallocation": {"type": "str", "choices": ["off", "metadata", "falloc", "full"], "default": "off"},
        }
    )
    module.change(plan)


if __name__ == "__main__":
    main()
