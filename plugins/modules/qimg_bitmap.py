#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Add, remove, clear, switch and merge dirty bitmaps."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_bitmap
short_description: Manage dirty bitmaps of virtual disk images
version_added: 0.1.0
description:
  - A dirty bitmap of an image notes which parts of the guest disk were written to, so that an incremental backup has to
    copy only those. This module adds one, removes one, or changes one.
  - The image must not be in use. The bitmaps of the disk of a running virtual machine are managed by its own tools.
  - Of the formats, only V(qcow2) has bitmaps.
author:
  - qimg contributors (!UNKNOWN)
extends_documentation_fragment:
  - qimg.disk.attributes
  - qimg.disk.attributes.changes
  - qimg.disk.image.path
  - qimg.disk.image
  - qimg.disk.image.gather
options:
  name:
    description:
      - The name of the bitmap.
    type: str
    required: true
  state:
    description:
      - V(present) adds an empty, enabled bitmap, if there is none of that name. An existing one stays as it is.
      - V(absent) removes the bitmap, if there is one. B(What it had noted is lost.)
      - V(cleared) makes the bitmap note nothing, as for a new start after a full backup.
        There is nothing to do if no bit of it is set.
      - V(enabled) has the bitmap note what is written to the disk, V(disabled) stops that.
      - V(merged) sets all bits in the bitmap that are set in those of O(merge). Bits that are set already stay.
        There is nothing to do if all of them are set, which is so when the same task runs again, unless the bitmaps
        were written to between the runs.
      - For V(cleared), V(enabled), V(disabled) and V(merged), the bitmap has to be there.
    type: str
    choices:
      - present
      - absent
      - cleared
      - enabled
      - disabled
      - merged
    default: present
  granularity:
    description:
      - How many bytes of the guest disk one bit stands for, a power of two from V(512) to V(2G), as a number of bytes
        or as a text such as V(64K). Only for O(state=present).
      - The default for a new bitmap is the image's cluster size, but at least 4 KiB and at most 64 KiB.
        The granularity of a bitmap that is there is only looked at if this is given. It cannot be changed; another one
        is an error.
    type: raw
  merge:
    description:
      - The names of the bitmaps whose bits O(state=merged) sets in bitmap O(name). They stay as they are.
      - Their granularity need not be that of bitmap O(name).
    type: list
    elements: str
  merge_image:
    description:
      - The image that holds the bitmaps of O(merge). Its disk must have the size of that of O(path).
      - The default is O(path).
    type: path
  merge_format:
    description:
      - The format of O(merge_image). By default, it is detected.
    type: str
seealso:
  - module: qimg.disk.qimg_info
"""

EXAMPLES = r"""
- name: Note from now on what is written to the disk
  qimg.disk.qimg_bitmap:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    name: since-monday

- name: Begin anew after a full backup
  qimg.disk.qimg_bitmap:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    name: since-monday
    state: cleared

- name: Have one bitmap for what an overlay and its backing file note
  qimg.disk.qimg_bitmap:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    name: since-monday
    state: merged
    merge:
      - since-tuesday
    merge_image: /var/lib/libvirt/images/db-overlay.qcow2
  register: result

- name: Show how much there is to back up
  ansible.builtin.debug:
    msg: "{{ result.bitmap.dirty_bytes }} bytes"
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
  sample: [clear bitmap 'since-monday']
bitmap:
  description: What the bitmap is now, or in check mode would be.
  returned: always
  type: dict
  contains:
    name:
      description: Its name.
      returned: always
      type: str
      sample: since-monday
    state:
      description: Whether there is such a bitmap.
      returned: always
      type: str
      choices: [present, absent]
      sample: present
    granularity:
      description: How many bytes of the guest disk one bit stands for.
      returned: RV(bitmap.state=present)
      type: int
      sample: 65536
    enabled:
      description: Whether it notes what is written to the disk.
      returned: RV(bitmap.state=present)
      type: bool
      sample: true
    inconsistent:
      description: Whether it was in use when a program died, so that it cannot be relied on.
      returned: RV(bitmap.state=present)
      type: bool
      sample: false
    dirty_bytes:
      description: How many bytes of the guest disk its set bits stand for.
      returned: RV(bitmap.state=present) and RV(bitmap.inconsistent=false)
      type: int
      sample: 1310720
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

from ansible_collections.qimg.disk.plugins.module_utils._module import IMAGE, ImageModule, absolute
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import OptionError
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations import bitmap

PLANNERS = {
    "absent": bitmap.plan_absent,
    "cleared": bitmap.plan_cleared,
    "enabled": bitmap.plan_enabled,
    "disabled": bitmap.plan_disabled,
}


def plan(module, opener):
    options = module.params
    path, name, format, state = module.image_name(), options["name"], options["format"], options["state"]
    granularity = module.size("granularity")
    for option, only_for in (("granularity", "present"), ("merge", "merged"), ("merge_image", "merged")):
        if options[option] is not None and state != only_for:
            raise OptionError("%s: It has no meaning for state=%s" % (option, state), remedy="leave it out")
    if state == "present":
        return bitmap.plan_present(path, name, granularity, None, format, opener)
    if state == "merged":
        source = options["merge_image"]
        source = None if source is None else absolute(source)
        return bitmap.plan_merged(path, name, options["merge"], format, source, options["merge_format"], opener)
    return PLANNERS[state](path, name, format, opener)


def describe(module, plan, outcome):
    return {"bitmap": plan.after}


def main():
    module = ImageModule(
        {
            **IMAGE,
            "name": {"type": "str", "required": True},
            "state": {
                "type": "str",
                "choices": ["present", "absent", "cleared", "enabled", "disabled", "merged"],
                "default": "present",
            },
            "granularity": {"type": "raw"},
            "merge": {"type": "list", "elements": "str"},
            "merge_image": {"type": "path"},
            "merge_format": {"type": "str"},
        },
        required_if=[("state", "merged", ["merge"])],
        required_by={"merge_format": ["merge_image"]},
    )
    module.change(plan, describe)


if __name__ == "__main__":
    main()
