#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Take, delete and revert to internal snapshots."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_snapshot
short_description: Manage internal snapshots of virtual disk images
version_added: 0.1.0
description:
  - Takes a snapshot of a guest disk inside of its image, deletes one, or makes the disk what it was in one.
  - The image must not be in use.
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
  name:
    description:
      - The name of the snapshot.
      - Several snapshots can have the same name; to delete or to revert to one of those, say its O(id).
    type: str
  id:
    description:
      - The id of the snapshot, as RV(info) shows it.
      - Give this or O(name). A new snapshot gets its id from the image.
    type: str
  state:
    description:
      - V(present) takes a snapshot, if there is none of that O(name). An existing one stays as it is.
      - V(absent) deletes the snapshot, if there is one.
      - V(reverted) makes the guest disk what it was in the snapshot. B(What was written since is lost,) unless it is in
        another snapshot. If the disk has the size and the content of the snapshot already, there is nothing to do; what
        both share in the file is not read for that.
    type: str
    choices:
      - present
      - absent
      - reverted
    default: present
seealso:
  - module: qimg.disk.qimg_convert
    description: To copy a snapshot into an image of its own.
"""

EXAMPLES = r"""
- name: Take a snapshot
  qimg.disk.qimg_snapshot:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    name: before-upgrade

- name: Go back to it
  qimg.disk.qimg_snapshot:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    name: before-upgrade
    state: reverted

- name: Delete a snapshot by its id
  qimg.disk.qimg_snapshot:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    id: "3"
    state: absent
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
  sample: [take snapshot 'before-upgrade']
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
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import OptionError
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations import snapshot


def plan(module, opener):
    options = module.params
    path, format = module.image_name(), options["format"]
    if "" in (options["name"], options["id"]):
        raise OptionError("The name or id of the snapshot is empty", remedy="say which snapshot is meant")
    if options["state"] == "present":
        return snapshot.plan_create_snapshot(path, options["name"], format, only_if_missing=True, opener=opener)
    if options["id"] is not None:
        wanted, find = options["id"], snapshot.find_by_id
    else:
        wanted, find = options["name"], snapshot.find_by_unique_name
    if options["state"] == "absent":
        return snapshot.plan_delete_snapshot(path, wanted, format, find, opener)
    return snapshot.plan_apply_snapshot(path, wanted, format, find, unless_same=True, opener=opener)


def main():
    module = ImageModule(
        {
            **IMAGE,
            **DEPENDANTS,
            "name": {"type": "str"},
            "id": {"type": "str"},
            "state": {"type": "str", "choices": ["present", "absent", "reverted"], "default": "present"},
        },
        mutually_exclusive=[("name", "id")],
        required_one_of=[("name", "id")],
        required_if=[("state", "present", ["name"])],
    )
    # Whether a disk is as a snapshot has it, cannot be seen while it changes.
    module.looks_at_used_images = module.params["state"] != "reverted"
    module.change(plan)


if __name__ == "__main__":
    main()
