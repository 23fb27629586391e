#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""See whether two images have the same content."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_compare
short_description: Compare two virtual disks
version_added: 0.1.0
description:
  - Compares the content of two guest disks, their backing chains included, up to the first difference.
  - The formats of the images do not matter. Zeroes at the end of the larger disk do not matter either.
author:
  - qimg contributors (!UNKNOWN)
extends_documentation_fragment:
  - qimg.disk.attributes
  - qimg.disk.attributes.reads
  - qimg.disk.image
options:
  path:
    description:
      - One image.
    type: path
    required: true
  format:
    description:
      - The format of O(path). By default, it is detected.
    type: str
  other_path:
    description:
      - The other image.
    type: path
    required: true
  other_format:
    description:
      - The format of O(other_path). By default, it is detected.
    type: str
  strict:
    description:
      - Also demand that the disks have the same size, and the same parts of them allocated.
    type: bool
    default: false
  gather:
    description:
      - What else to find out about both images, for RV(images).
      - V(info) reads the images' headers, V(map) their tables, V(check) reads all of their metadata.
    type: list
    elements: str
    choices:
      - info
      - map
      - check
    default: []
  map_limit:
    description:
      - The number of extents after which C(map) is cut off.
      - V(0) means no limit.
    type: int
    default: 100
seealso:
  - module: qimg.disk.qimg_convert
"""

EXAMPLES = r"""
- name: Make sure that a backup still has the content of the disk
  qimg.disk.qimg_compare:
    path: /var/lib/libvirt/images/db.qcow2
    other_path: /backup/db.raw
    other_format: raw
  register: result

- name: Fail if it is not
  ansible.builtin.assert:
    that: result.identical
"""

RETURN = r"""
identical:
  description: Whether the disks have the same content, and with O(strict) the same size and allocation.
  returned: success
  type: bool
  sample: false
sizes_differ:
  description: Whether the disks have different sizes.
  returned: success
  type: bool
  sample: false
reason:
  description: What differs.
  returned: RV(identical) is V(false)
  type: str
  choices:
    - content
    - size
    - status
  sample: content
offset:
  description: The first byte of the guest disk's first sector, or with RV(reason=status) extent, that differs.
  returned: RV(identical) is V(false), unless RV(reason=size)
  type: int
  sample: 1048576
images:
  description: What was found out about each image, by its absolute path; see M(qimg.disk.qimg_info).
  returned: O(gather) is not empty
  type: dict
  sample:
    /var/lib/libvirt/images/db.qcow2:
      info: {virtual-size: 10737418240, format: qcow2}
"""

from ansible_collections.qimg.disk.plugins.module_utils._module import ImageModule, absolute
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.compare import compare


def look(module, opener):
    options = module.params
    formats = {
        absolute(options["path"]): options["format"],
        absolute(options["other_path"]): options["other_format"],
    }
    result = compare(
        absolute(options["path"]),
        absolute(options["other_path"]),
        options["format"],
        options["other_format"],
        options["strict"],
        opener,
    )
    found = {key.replace("-", "_"): value for key, value in result.document().items()}
    if options["gather"]:
        found["images"] = {path: module.documents(path, format) for path, format in formats.items()}
    return found


def main():
    module = ImageModule(
        {
            "path": {"type": "path", "required": True},
            "format": {"type": "str"},
            "other_path": {"type": "path", "required": True},
            "other_format": {"type": "str"},
            "strict": {"type": "bool", "default": False},
            "gather": {"type": "list", "elements": "str", "choices": ["info", "map", "check"], "default": []},
        }
    )
    module.report(look)


if __name__ == "__main__":
    main()
