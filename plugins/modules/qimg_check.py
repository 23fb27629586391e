#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Look for errors in an image, and repair them."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_check
short_description: Check and repair virtual disk images
version_added: 0.1.0
description:
  - Looks for errors in an image's metadata, and repairs them if asked to.
  - A repair is one step, which is either complete or did not happen.
    An image without errors is not written to.
  - The content of the guest disk is not looked at.
author:
  - qimg contributors (!UNKNOWN)
extends_documentation_fragment:
  - qimg.disk.attributes
  - qimg.disk.attributes.changes
  - qimg.disk.image.path
  - qimg.disk.image
  - qimg.disk.image.gather
options:
  repair:
    description:
      - Which errors to repair.
      - V(none) only looks.
      - V(leaks) frees space that nothing uses.
      - V(all) repairs all that can be repaired. Keep a copy, because not everything can be got back.
    type: str
    choices:
      - none
      - leaks
      - all
    default: none
  fail_on:
    description:
      - Which errors make the task fail, if they are there when it ends.
      - V(corruptions) are errors that can damage data. V(leaks) are harmless, but waste space.
      - V(never) leaves it to you to look at RV(clean) and RV(check).
    type: str
    choices:
      - never
      - corruptions
      - leaks
    default: corruptions
seealso:
  - module: qimg.disk.qimg_info
"""

EXAMPLES = r"""
- name: Fail if the image is damaged
  qimg.disk.qimg_check:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2

- name: Free what is wasted in the image
  qimg.disk.qimg_check:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    repair: leaks

- name: Count the errors
  qimg.disk.qimg_check:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    fail_on: never
  register: result

- name: Show the corruptions
  ansible.builtin.debug:
    msg: "{{ result.check.corruptions | default(0) }} corruptions"
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
  sample: [free 3 leaked clusters]
clean:
  description: Whether there are neither errors nor leaks, after the repair if there was one.
  returned: always
  type: bool
  sample: true
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
    - After a repair, this is about the repaired image; in check mode, it says what the repair would leave.
  returned: always
  type: dict
  sample:
    filename: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    check-errors: 0
    image-end-offset: 262144
    total-clusters: 163840
"""

from ansible_collections.qimg.disk.plugins.module_utils._module import IMAGE, ImageModule
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.check import plan_repair


def plan(module, opener):
    repair = module.params["repair"]
    return plan_repair(module.image_name(), None if repair == "none" else repair, module.params["format"], opener)


def describe(module, plan, outcome):
    report = outcome or plan.found
    described = {"clean": report.clean, "check": report.document()}
    errors = report.result.corruptions + report.result.check_errors
    fail_on = module.params["fail_on"]
    if errors and fail_on != "never":
        described["failure"] = "'%s': The image has %d errors; repair a copy of it (repair: all), or restore it" % (
            plan.path,
            errors,
        )
    elif report.result.leaks and fail_on == "leaks":
        described["failure"] = "'%s': The image has %d leaked clusters; free them (repair: leaks)" % (
            plan.path,
            report.result.leaks,
        )
    return described


def main():
    module = ImageModule(
        {
            **IMAGE,
            "repair": {"type": "str", "choices": ["none", "leaks", "all"], "default": "none"},
            "fail_on": {"type": "str", "choices": ["never", "corruptions", "leaks"], "default": "corruptions"},
        }
    )
    module.may_change = module.params["repair"] != "none"
    module.looks_at_used_images = False
    module.change(plan, describe)


if __name__ == "__main__":
    main()
