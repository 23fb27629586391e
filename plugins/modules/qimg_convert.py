#!/usr/bin/python
# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Copy a guest disk into an image of its own."""
from __future__ import annotations

DOCUMENTATION = r"""
module: qimg_convert
short_description: Copy virtual disks from one image format to another
version_added: 0.1.0
description:
  - Makes an image with the content of another image, or of several put one after another, or of a snapshot.
  - What is zero or unused in the source takes no space in the new image.
  - The new image appears under its name only when it is complete.
  - An image that is there already is left alone by default, because after the first run it may be the disk of a virtual
    machine. See O(replace).
author:
  - qimg contributors (!UNKNOWN)
extends_documentation_fragment:
  - qimg.disk.attributes
  - qimg.disk.attributes.changes
  - qimg.disk.image
  - qimg.disk.image.gather
  - qimg.disk.image.dependants
  - qimg.disk.file
options:
  path:
    description:
      - The new image.
    type: path
    required: true
    aliases:
      - dest
  format:
    description:
      - The format of the new image, for instance V(qcow2) or V(raw).
    type: str
    required: true
  source:
    description:
      - The image to copy.
      - If there are several, their guest disks are put one after another.
    type: list
    elements: path
    required: true
    aliases:
      - src
  source_format:
    description:
      - The format of O(source).
      - By default, it is detected, with a warning if a copy is made.
        Say V(raw) for raw images, because the guest of such an image can write whatever it wants to its beginning.
    type: str
  snapshot:
    description:
      - Copy the guest disk as it was in this snapshot of O(source), named by its id or its name.
    type: str
  backing_file:
    description:
      - The backing file of the new image, by the name that the image is to store.
      - Only what the uppermost image of O(source) holds itself is copied then.
        You have to know that O(backing_file) has the content of the rest.
    type: str
  backing_format:
    description:
      - The format of O(backing_file).
    type: str
  options:
    description:
      - Creation options of the format, as for C(qemu-img convert -o).
      - Quote values of C(compat) such as V("0.10"), so that they are not taken for numbers.
    type: dict
    default: {}
  compress:
    description:
      - Store the data compressed.
    type: bool
    default: false
  check_source:
    description:
      - Check the metadata of O(source) and of all images below it before they are copied, and fail if there are errors.
      - Without that, a file that was cut off, for instance, becomes a disk with zeroes where its data were.
    type: bool
    default: true
  rate_limit:
    description:
      - Copy at most this many bytes per second, as a number or as a text such as V(50M).
    type: raw
  replace:
    description:
      - What to do about an image that is there already.
      - V(never) accepts every image in O(format); RV(matches_source) says whether it has the source's content.
        Anything else at that path is an error.
      - V(if_different) replaces it if its guest disk does not have the size and the content of the source, or if it has
        another backing file than O(backing_file) and O(backing_format) (none, without them), other values of O(options)
        that are given (C(preallocation) cannot be seen), or data that are not compressed as O(compress) says.
        They are compared up to the first difference, and not at all if neither side has been written to since they were
        found to be the same. B(What a virtual machine has written to it since is lost.)
        A block device with a raw image may be longer than the source; what lies behind that is not looked at.
      - V(always) replaces it in every run. B(All data in it is lost.)
      - An image on which others lie is not replaced by other content; see O(allow_dependants). Give a newer golden
        image another O(path), for instance with its version, and move its overlays with M(qimg.disk.qimg_rebase).
    type: str
    choices:
      - never
      - if_different
      - always
    default: never
notes:
  - That neither side has been written to is known from the files' identities, lengths, and modification and status
    change times, in nanoseconds, which are kept in C($XDG_STATE_HOME/qimg) if that is set, else in C(/var/lib/qimg)
    (of a user who is not root, in C(~/.local/state/qimg)). New images get a modification time two seconds back, so that
    every later write shows.
seealso:
  - module: qimg.disk.qimg_create
  - module: qimg.disk.qimg_compare
"""

EXAMPLES = r"""
- name: Make a disk for a virtual machine from a cloud image, once
  qimg.disk.qimg_convert:
    source: /srv/images/debian-12.raw
    source_format: raw
    path: /var/lib/libvirt/images/web1.qcow2
    format: qcow2

- name: Keep a compressed copy of the golden image up to date
  qimg.disk.qimg_convert:
    source: /srv/images/golden.qcow2
    source_format: qcow2
    path: /srv/export/golden.qcow2
    format: qcow2
    compress: true
    replace: if_different
    options:
      cluster_size: 1M

- name: Save the state of a disk at a snapshot
  qimg.disk.qimg_convert:
    source: /var/lib/libvirt/images/db.qcow2
    source_format: qcow2
    snapshot: before-upgrade
    path: /backup/db-before-upgrade.raw
    format: raw
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
  sample: [convert '/srv/images/debian-12.raw' to a qcow2 image]
matches_source:
  description:
    - Whether the image's guest disk has the size and the content of the source.
    - V(null) if that could not be found out; RV(difference) says why.
  returned: always
  type: bool
  sample: true
difference:
  description: Why the image does not match the source, or why nobody knows.
  returned: RV(matches_source) is not V(true)
  type: str
  sample: its content differs from the source's at offset 1048576
differences:
  description:
    - In what else the image that was there is not what was asked for; one clause each.
    - Only O(replace=if_different) looks at this.
  returned: always
  type: list
  elements: str
  sample: ["its cluster_size is 65536, not 1048576"]
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
from ansible_collections.qimg.disk.plugins.module_utils._module import (
    DEPENDANTS,
    DETECTED,
    ImageModule,
    absolute,
    is_same_file,
    printable,
)
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import ImageInUseError, MismatchError, OptionError
from ansible_collections.qimg.disk.plugins.module_utils.qimg.formats.driver import SOURCE
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.check import check_sources
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.conversion_request import ConvertRequest
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.convert import plan_convert

IN_USE = (
    "'%s' is in use: it was not checked, and what is written to it meanwhile may be in the copy in part. Have the "
    "virtual machine's own tools copy the disk if the copy has to be consistent"
)


def plan(module, opener):
    options = module.params
    request = ConvertRequest(
        tuple(absolute(source) for source in options["source"]),
        options["source_format"],
        module.image_name(),
        options["format"],
        options["options"],
        options["backing_file"],
        options["backing_format"],
        options["snapshot"],
        options["compress"],
        rate=module.size("rate_limit") or 0,
    )
    for source in request.sources:
        if is_same_file(source, request.target):
            raise OptionError("The new image is also the source", remedy="give the new image another name")
    try:
        plan = plan_convert(request, options["replace"], not module.check_mode, opener)
    except MismatchError as error:
        if error.differing:
            error.remedy = "remove it, or set replace to if_different or always"
        raise
    if plan.changed:
        if request.source_format is None:
            for source in request.sources:
                module.warn(
                    printable(DETECTED % (source, module.detected_format(source), "source_format", "source_format"))
                )
        used = _used_sources(request, opener) if options["force_share"] else []
        for source in used:
            module.warn(printable(IN_USE % source))
        if options["check_source"] and not used:
            check_sources(request.sources, request.source_format, opener)
    return plan


def _used_sources(request, opener):
    """The sources that somebody is writing to."""
    used = []
    for source in request.sources:
        try:
            with opener.variant(force_share=False).open(source, request.source_format, SOURCE):
                pass
        except ImageInUseError:
            used.append(source)
    return used


def describe(module, plan, outcome):
    described = {"matches_source": plan.matches, "differences": plan.differences}
    if plan.difference is not None:
        described["difference"] = plan.difference
    return described


def main():
    module = ImageModule(
        {
            **FILE_OPTIONS,
            **DEPENDANTS,
            "path": {"type": "path", "required": True, "aliases": ["dest"]},
            "format": {"type": "str", "required": True},
            "source": {"type": "list", "elements": "path", "required": True, "aliases": ["src"]},
            "source_format": {"type": "str"},
            "snapshot": {"type": "str"},
            "backing_file": {"type": "str"},
            "backing_format": {"type": "str"},
            "options": {"type": "dict", "default": {}},
            "compress": {"type": "bool", "default": False},
            "check_source": {"type": "bool", "default": True},
            "rate_limit": {"type": "raw"},
            "replace": {"type": "str", "choices": ["never", "if_different", "always"], "default": "never"},
        }
    )
    module.makes_image = True
    module.dependants_remedy = "give the new content another path and move them to it with qimg_rebase"
    module.reads_used_images = True
    module.change(plan, describe, FileOptions)


if __name__ == "__main__":
    main()
