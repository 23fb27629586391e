#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Merge an overlay into an image below it."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_commit
short_description: Write what an overlay holds into its backing file
version_added: 0.1.0
description:
  - Writes what an image (and those between) holds into an image of its backing chain, which grows if it has to.
  - Other images that have this backing file would read differently after that. If there are any, the task fails; see
    O(allow_dependants). Images on O(path) itself do not count, and neither do those between it and O(base).
  - Each image has to say which format its backing file has, because nothing is written by a format that was detected.
  - The image reads the same at every moment. If the task fails half way, for instance because the disk is full, the
    image below may have a part of the content already; run the task again then.
  - The image is emptied afterwards, unless it is to be kept. There is nothing to do if it holds nothing, or is kept and
    all that it holds is in the backing file already.
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
  base:
    description:
      - The image of the backing chain to write into. The image O(path) is not emptied then.
      - The default is the backing file of O(path).
    type: path
  keep:
    description:
      - Do not empty the image.
    type: bool
    default: false
  rate_limit:
    description:
      - Copy at most this many bytes per second, as a number or as a text such as V(50M).
    type: raw
seealso:
  - module: qimg.disk.qimg_rebase
"""

EXAMPLES = r"""
- name: Write the changes of a test back to the disk
  qimg.disk.qimg_commit:
    path: /var/lib/libvirt/images/web1-test.qcow2
    format: qcow2

- name: Merge two layers into the golden image
  qimg.disk.qimg_commit:
    path: /srv/images/layer2.qcow2
    format: qcow2
    base: /srv/images/golden.qcow2
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
  sample: ["write the content of '/srv/images/layer2.qcow2' into '/srv/images/golden.qcow2'"]
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

from ansible_collections.qimg.disk.plugins.module_utils._module import DEPENDANTS, IMAGE, ImageModule, absolute
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import OptionError
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.commit import plan_commit


def plan(module, opener):
    options = module.params
    base = options["base"]
    plan = plan_commit(
        module.image_name(),
        options["format"],
        None if base is None else absolute(base),
        options["keep"],
        module.size("rate_limit") or 0,
        unless_same=True,
        opener=opener,
    )
    if plan.changed and plan.base_is_probed:
        raise OptionError(
            "The image above '%s' does not say which format that has, and nothing is written by a format that was "
            "detected" % plan.before["base"],
            path=plan.path,
            remedy="add it with qimg_rebase: the same backing_file, its backing_format, and unsafe",
        )
    return plan


def main():
    module = ImageModule(
        {
            **IMAGE,
            **DEPENDANTS,
            "base": {"type": "path"},
            "keep": {"type": "bool", "default": False},
            "rate_limit": {"type": "raw"},
        }
    )
    module.looks_at_used_images = False
    module.change(plan)


if __name__ == "__main__":
    main()
