#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Make a new image, or make sure that there is one."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_create
short_description: Make virtual disk images
version_added: 0.1.0
description:
  - Makes sure that there is an image of a format, a size, a backing file and options, or that there is none.
  - An image appears under its name only when it is complete.
  - A file that is there and is something else is an error, unless you say what to do with it (O(on_mismatch)).
author:
  - qimg contributors (!UNKNOWN)
extends_documentation_fragment:
  - qimg.disk.attributes
  - qimg.disk.attributes.changes
  - qimg.disk.image.path
  - qimg.disk.image
  - qimg.disk.image.gather
  - qimg.disk.image.dependants
  - qimg.disk.file
options:
  state:
    description:
      - V(present) makes the image if there is none.
      - V(absent) removes the image. What is something else stays, and the task fails and says what it is, such as
        another file, an image of another format than O(format), a directory or a device.
        Of a symbolic link to an image, only the link is removed.
      - A data file goes with its image, if it is the image's own, which is a regular file without further names and of
        the same owner and group, where O(reference_policy) allows the image to have it opened, and that no other image
        names. A warning says why another one stays. Backing files always stay.
    type: str
    choices:
      - present
      - absent
    default: present
  format:
    description:
      - The format of the image, for instance V(qcow2) or V(raw).
      - Required for O(state=present).
      - With O(state=absent), only an image of this format is removed. By default, it is detected, with a warning.
        V(raw) has to be said, because any file may be a raw image.
    type: str
  size:
    description:
      - The size of the guest disk, as a number of bytes or as a text such as V(512M) or V(10G).
      - The default is that of O(backing_file). Without that, a new image needs it.
        The size of an image that is there already is only looked at if this is given.
    type: raw
  size_policy:
    description:
      - Whether an image that is there already may be larger than O(size), because it has grown since.
        Set V(at_least) where another task lets the disk grow.
    type: str
    choices:
      - exact
      - at_least
    default: exact
  backing_file:
    description:
      - The image that supplies what the new one does not hold itself, by the name that the new image is to store.
      - A relative name is relative to the directory of the new image.
    type: str
  backing_format:
    description:
      - The format of O(backing_file).
    type: str
  options:
    description:
      - Creation options of the format, as for C(qemu-img create -o).
      - Quote values of C(compat) such as V("0.10"), so that they are not taken for numbers.
      - Of an image that is there already, the options given here are compared with what it has, except for
        C(preallocation), which cannot be seen.
    type: dict
    default: {}
  on_mismatch:
    description:
      - What to do if what is there is not what was asked for.
      - V(fail) fails and says what differs.
      - V(recreate) replaces it by a new image. B(All data in it is lost.)
      - V(ignore) leaves it as it is.
    type: str
    choices:
      - fail
      - recreate
      - ignore
    default: fail
seealso:
  - module: qimg.disk.qimg_convert
  - module: qimg.disk.qimg_resize
"""

EXAMPLES = r"""
- name: Make an empty disk of 10 GiB
  qimg.disk.qimg_create:
    path: /var/lib/libvirt/images/data.qcow2
    format: qcow2
    size: 10G

- name: Make a disk on top of a golden image
  qimg.disk.qimg_create:
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2
    backing_file: golden.qcow2
    backing_format: qcow2
    owner: libvirt-qemu
    group: kvm
    mode: "0600"

- name: Make sure that there is a disk of at least 20 GiB, though a virtual machine may be using it
  qimg.disk.qimg_create:
    path: /var/lib/libvirt/images/db.qcow2
    format: qcow2
    size: 20G
    size_policy: at_least
    options:
      cluster_size: 1M
      preallocation: metadata

- name: Remove a disk
  qimg.disk.qimg_create:
    path: /var/lib/libvirt/images/data.qcow2
    format: qcow2
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
  sample: [create a qcow2 image of 10737418240 bytes]
differences:
  description: In what the file that was there is not what was asked for; one clause each.
  returned: O(state=present)
  type: list
  elements: str
  sample: ["its size is 10737418240 bytes, not 21474836480"]
mode:
  description: The permissions of the image file.
  returned: there is an image
  type: str
  sample: "0644"
owner:
  description: The user who owns the image file; C(uid) is his number.
  returned: there is an image
  type: str
  sample: libvirt-qemu
group:
  description: The group of the image file; C(gid) is its number.
  returned: there is an image
  type: str
  sample: kvm
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

from ansible_collections.qimg.disk.plugins.module_utils._file_options import FILE_OPTIONS, FileOptions
from ansible_collections.qimg.disk.plugins.module_utils._module import DEPENDANTS, ImageModule, printable
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import MismatchError, OptionError
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.create import plan_create
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.remove import plan_remove

#: What to do about a difference that does not matter, or that another module mends.
REMEDIES = (
    ({"larger"}, "set size_policy to at_least if a larger disk is fine"),
    ({"smaller"}, "let the disk grow with qimg_resize, and set size_policy to at_least"),
    ({"backing_file", "backing_fmt"}, "give it the other backing file with qimg_rebase"),
)


def plan(module, opener):
    options = module.params
    if options["state"] == "absent":
        return plan_remove(
            module.image_name(), options["format"], options["dependants_dirs"], module.known_images, opener
        )
    size = module.size("size")
    if size == 0:
        raise OptionError("size: A disk of 0 bytes is of no use", remedy="give the size that the disk shall have")
    try:
        return plan_create(
            module.image_name(),
            options["format"],
            size,
            options["options"],
            options["backing_file"],
            options["backing_format"],
            existing=options["on_mismatch"],
            size_policy=options["size_policy"],
            opener=opener,
        )
    except MismatchError as error:
        if error.differing:
            error.remedy = _remedy(error.differing)
        raise


def _remedy(differing):
    """How to have the task succeed without losing what is there."""
    if "format" in differing:
        return "give the new image another path, or convert the existing one with qimg_convert"
    remedies = [remedy for names, remedy in REMEDIES if names & set(differing)]
    known = {name for names, _remedy in REMEDIES for name in names}
    if set(differing) - known:
        remedies.append("change its options with qimg_amend, as far as that can, or name those that it has")
    return "%s; or set on_mismatch to ignore if it is right as it is" % ", and ".join(remedies)


def describe(module, plan, outcome):
    if module.params["state"] == "absent":
        for reason in plan.kept:
            module.warn(printable(reason))
        return {}
    return {"differences": plan.differences}


def main():
    module = ImageModule(
        {
            **FILE_OPTIONS,
            **DEPENDANTS,
            "path": {"type": "path", "required": True},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "format": {"type": "str"},
            "size": {"type": "raw"},
            "size_policy": {"type": "str", "choices": ["exact", "at_least"], "default": "exact"},
            "backing_file": {"type": "str"},
            "backing_format": {"type": "str"},
            "options": {"type": "dict", "default": {}},
            "on_mismatch": {"type": "str", "choices": ["fail", "recreate", "ignore"], "default": "fail"},
        },
        required_if=[("state", "present", ["format"])],
    )
    module.makes_image = True
    module.change(plan, describe, FileOptions)


if __name__ == "__main__":
    main()
