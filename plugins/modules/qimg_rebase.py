#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Give an image another backing file."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_rebase
short_description: Change the backing file of virtual disk images
version_added: 0.1.0
description:
  - Makes an image name another backing file, or none.
  - The guest disk keeps its content, because whatever the old and the new backing file answer differently is copied
    into the image first.
  - There is nothing to do if the image names that backing file, in these words, and that format already.
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
  backing_file:
    description:
      - The new backing file, by the name that the image is to store.
      - A relative name is relative to the directory of the image.
      - If this is empty, the image will have no backing file and hold everything itself.
    type: str
    required: true
  backing_format:
    description:
      - The format of O(backing_file).
      - Required if O(backing_file) is not empty.
    type: str
  unsafe:
    description:
      - Only change the name, for instance because the backing file was moved.
        Neither the old nor the new backing file need be there.
      - B(The guest disk has another content after that,) if they do not have the same.
    type: bool
    default: false
  compress:
    description:
      - Store what has to be copied compressed.
    type: bool
    default: false
seealso:
  - module: qimg.disk.qimg_commit
"""

EXAMPLES = r"""
- name: Move a disk to the new golden image, keeping its content
  qimg.disk.qimg_rebase:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    backing_file: golden-2.qcow2
    backing_format: qcow2

- name: Make a disk independent of all others
  qimg.disk.qimg_rebase:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    backing_file: ""

- name: Say where the backing file has been moved to
  qimg.disk.qimg_rebase:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    backing_file: /srv/images/golden.qcow2
    backing_format: qcow2
    unsafe: true
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
  sample: ["change the backing file from 'golden.qcow2' (qcow2) to none, copying what differs"]
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
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.rebase import plan_rebase


def plan(module, opener):
    options = module.params
    return plan_rebase(
        module.image_name(),
        options["backing_file"],
        options["backing_format"],
        options["format"],
        options["unsafe"],
        options["compress"],
        opener=opener,
    )


def main():
    module = ImageModule(
        {
            **IMAGE,
            **DEPENDANTS,
            "backing_file": {"type": "str", "required": True},
            "backing_format": {"type": "str"},
            "unsafe": {"type": "bool", "default": False},
            "compress": {"type": "bool", "default": False},
        }
    )
    module.change(plan)


if __name__ == "__main__":
    main()
