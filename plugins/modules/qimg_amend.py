#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Change creation options of an existing image."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_amend
short_description: Change options of existing virtual disk images
version_added: 0.1.0
description:
  - Changes those creation options of an image that can be changed without making it anew.
  - Options that the image has already are not touched.
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
  options:
    description:
      - The options that the image is to have, as for C(qemu-img amend -o).
      - Of V(qcow2) these are C(compat), C(lazy_refcounts), C(refcount_bits), C(data_file), C(data_file_raw), C(size).
      - Quote values of C(compat) such as V("0.10"), so that they are not taken for numbers.
    type: dict
    required: true
seealso:
  - module: qimg.disk.qimg_resize
    description: To change the size, with a guard against making it smaller.
  - module: qimg.disk.qimg_rebase
    description: To change the backing file.
"""

EXAMPLES = r"""
- name: Make an image readable for programs of the last decade
  qimg.disk.qimg_amend:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    options:
      compat: "0.10"

- name: Let reference counts be updated lazily
  qimg.disk.qimg_amend:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    options:
      compat: v3
      lazy_refcounts: true
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
  sample: ["change compat from '1.1' to '0.10'"]
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
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.amend import plan_amend


def plan(module, opener):
    return plan_amend(module.image_name(), module.params["options"], module.params["format"], opener=opener)


def main():
    module = ImageModule({**IMAGE, **DEPENDANTS, "options": {"type": "dict", "required": True}})
    module.change(plan)


if __name__ == "__main__":
    main()
