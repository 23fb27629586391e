#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Find out about images."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_info
short_description: Gather information about virtual disk images
version_added: 0.1.0
description:
  - Finds out what images say about themselves, where their data lie, and whether their metadata are in order.
author:
  - qimg contributors (!UNKNOWN)
extends_documentation_fragment:
  - qimg.disk.attributes
  - qimg.disk.attributes.reads
  - qimg.disk.image
  - qimg.disk.image.gather
options:
  path:
    description:
      - The image, or several of them.
    type: list
    elements: path
    required: true
  format:
    description:
      - The format of the images, for instance V(qcow2) or V(raw).
      - By default, it is detected.
        Say V(raw) for raw images, because the guest of such an image can write whatever it wants to its beginning.
    type: str
  backing_chain:
    description:
      - Also describe all images below (RV(chain)).
    type: bool
    default: false
seealso:
  - module: qimg.disk.qimg_check
"""

EXAMPLES = r"""
- name: Look at an image that a virtual machine is using
  qimg.disk.qimg_info:
    path: /var/lib/libvirt/images/web1.qcow2
    gather:
      - info
    force_share: true
  register: result

- name: Show the size of its disk
  ansible.builtin.debug:
    msg: "{{ result.info['virtual-size'] }} bytes"

- name: Gather facts about several images
  qimg.disk.qimg_info:
    path:
      - /var/lib/libvirt/images/web1.qcow2
      - /var/lib/libvirt/images/db.qcow2

- name: Show how much space they take
  ansible.builtin.debug:
    msg: "{{ ansible_facts.qimg_images.values() | map(attribute='info.actual-size') | sum }} bytes"
"""

RETURN = r"""
images:
  description:
    - What was found out about each image, by its absolute path.
    - The keys of each are described below.
  returned: success
  type: dict
  sample:
    /var/lib/libvirt/images/web1.qcow2:
      info: {virtual-size: 10737418240, format: qcow2}
      map: []
      map_truncated: false
      check: {check-errors: 0}
chain:
  description:
    - The image and all images below it, in the words of C(qemu-img info --backing-chain --output=json).
  returned: O(backing_chain=true) and there is one O(path)
  type: list
  elements: dict
  sample:
    - virtual-size: 10737418240
      filename: /var/lib/libvirt/images/web1.qcow2
      format: qcow2
      backing-filename: golden.qcow2
    - virtual-size: 10737418240
      filename: /var/lib/libvirt/images/golden.qcow2
      format: qcow2
info:
  description:
    - What the image says about itself, in the words of C(qemu-img info --output=json).
  returned: O(gather) has V(info) and there is one O(path)
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
    - It ends after O(map_limit) extents.
  returned: O(gather) has V(map) and there is one O(path)
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
  returned: O(gather) has V(map) and there is one O(path)
  type: bool
  sample: false
check:
  description:
    - What a check of the image's metadata finds, in the words of C(qemu-img check --output=json).
    - V(null) if the format cannot be checked.
  returned: O(gather) has V(check) and there is one O(path)
  type: dict
  sample:
    filename: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    check-errors: 0
    image-end-offset: 262144
    total-clusters: 163840
ansible_facts:
  description: The same documents for every image of the host that was looked at, added to those of earlier tasks.
  returned: O(gather) is not empty
  type: dict
  contains:
    qimg_images:
      description:
        - The documents by the images' absolute paths; an image that is gone has none.
        - Use them as C(ansible_facts.qimg_images[path].info).
      returned: always
      type: dict
      sample:
        /var/lib/libvirt/images/web1.qcow2:
          info: {virtual-size: 10737418240, format: qcow2}
          map: []
          map_truncated: false
          check: {check-errors: 0}
"""

from ansible_collections.qimg.disk.plugins.module_utils._module import ImageModule, absolute
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import ImageError
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.info import info_chain


def look(module, opener):
    options = module.params
    images = {}
    for path in map(absolute, options["path"]):
        try:
            images[path] = module.documents(path, options["format"])
            if options["backing_chain"]:
                chain = info_chain(path, options["format"], opener=opener)
                images[path]["chain"] = [image.document() for image in chain]
        except ImageError as error:
            error.path = error.path or path
            raise
    result = {"images": images, **module.facts(images)}
    if len(images) == 1:
        result.update(*images.values())
    return result


def main():
    module = ImageModule(
        {
            "path": {"type": "list", "elements": "path", "required": True},
            "format": {"type": "str"},
            "backing_chain": {"type": "bool", "default": False},
        }
    )
    module.report(look)


if __name__ == "__main__":
    main()
