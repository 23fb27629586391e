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
      - The images. Directories and patterns are looked up on the managed host.
      - A directory stands for the files in it that are detected as images, and for those whose names end in C(.qcow2),
        C(.raw) or C(.img). Its subdirectories and hidden files are left out.
      - A pattern such as V(/srv/images/*.qcow2) stands for all files that match it.
      - A directory or pattern without any image is an error, and so is an empty list; see O(allow_empty).
    type: list
    elements: path
    required: true
  format:
    description:
      - The format of the images, for instance V(qcow2) or V(raw).
      - By default, it is detected.
        Say V(raw) for raw images, because the guest of such an image can write whatever it wants to its beginning.
    type: str
  allow_empty:
    description:
      - Succeed although there is no image in a directory, or none that matches a pattern, or O(path) is empty.
    type: bool
    default: false
  backing_chain:
    description:
      - Also describe all images below.
    type: bool
    default: false
  facts:
    description:
      - Put what was found out about the images into the fact C(qimg_images) of the host, in place of RV(images).
      - The fact holds the images of this task only, so that no image stays in it that is gone. To collect those of
        several tasks, register their results and put them together with P(ansible.builtin.combine#filter).
      - It belongs to the host of the images, so it is refused with C(run_once), for a task that is delegated without
        C(delegate_facts), and in a loop, whose items would replace each other's facts.
    type: bool
    default: false
notes:
  - An image about which something could not be found out makes the task fail (RV(failed_images)), after all others
    have been looked at.
  - In check mode, images that are not there yet are left out, with a warning.
seealso:
  - module: qimg.disk.qimg_check
"""

EXAMPLES = r"""
- name: Look at an image
  qimg.disk.qimg_info:
    path: /var/lib/libvirt/images/web1.qcow2
  register: result

- name: Show the size of its disk
  ansible.builtin.debug:
    msg: "{{ (result.images.values() | first).info['virtual-size'] }} bytes"

- name: Check all qcow2 images of the host, though virtual machines may be using them, and fail if there are none
  qimg.disk.qimg_info:
    path: /var/lib/libvirt/images/*.qcow2
    format: qcow2
    gather:
      - info
      - check
    force_share: true
  register: disks

- name: Show how much space they take
  ansible.builtin.debug:
    msg: "{{ disks.images.values() | map(attribute='info.actual-size') | sum }} bytes"

- name: Look at further images
  qimg.disk.qimg_info:
    path: /srv/images/*.qcow2
    allow_empty: true
  register: golden

- name: Keep what is known of all of them
  ansible.builtin.set_fact:
    images: "{{ disks.images | combine(golden.images) }}"
"""

RETURN = r"""
images:
  description:
    - What was found out about each image, by its absolute path.
    - Images about which something could not be found out are in RV(failed_images) instead.
  returned: O(facts=false)
  type: dict
  contains:
    info:
      description: What the image says about itself, in the words of C(qemu-img info --output=json).
      returned: O(gather) has V(info)
      type: dict
    map:
      description:
        - Which parts of the guest disk hold data and where, in the words of C(qemu-img map --output=json).
        - It ends after O(map_limit) extents.
      returned: O(gather) has V(map)
      type: list
      elements: dict
    map_truncated:
      description: Whether the image has more extents than C(map).
      returned: O(gather) has V(map)
      type: bool
    check:
      description:
        - What a check of the image's metadata finds, in the words of C(qemu-img check --output=json).
        - V(null) if the format cannot be checked.
      returned: O(gather) has V(check)
      type: dict
    chain:
      description:
        - All images below this one, the nearest first, in the words of
          C(qemu-img info --backing-chain --output=json).
      returned: O(backing_chain=true)
      type: list
      elements: dict
  sample:
    /var/lib/libvirt/images/web1.qcow2:
      info:
        children: []
        virtual-size: 10737418240
        filename: /var/lib/libvirt/images/web1.qcow2
        format: qcow2
        cluster-size: 65536
        actual-size: 200704
        backing-filename: golden.qcow2
        dirty-flag: false
      map: [{start: 0, length: 10737418240, depth: 0, present: false, zero: true, data: false, compressed: false}]
      map_truncated: false
      check:
        filename: /var/lib/libvirt/images/web1.qcow2
        format: qcow2
        check-errors: 0
        image-end-offset: 262144
        total-clusters: 163840
      chain: [{virtual-size: 10737418240, filename: /var/lib/libvirt/images/golden.qcow2, format: qcow2}]
failed_images:
  description:
    - Why the other images could not be looked at, by their absolute paths.
    - The task fails if there are any; RV(images) has the rest all the same.
  returned: always
  type: dict
  contains:
    msg:
      description: What is wrong, in a sentence.
      returned: always
      type: str
    error:
      description: The kind of error.
      returned: always
      type: str
  sample:
    /var/lib/libvirt/images/db.qcow2:
      msg: "Could not open '/var/lib/libvirt/images/db.qcow2': No such file or directory"
      error: StorageError
ansible_facts:
  description: The facts about the host.
  returned: O(facts=true)
  type: dict
  contains:
    qimg_images:
      description: As RV(images).
      returned: O(facts=true)
      type: dict
      sample:
        /var/lib/libvirt/images/web1.qcow2:
          info: {virtual-size: 10737418240, format: qcow2}
"""

from ansible_collections.qimg.disk.plugins.module_utils._finding import find_images
from ansible_collections.qimg.disk.plugins.module_utils._module import ImageModule, printable
from ansible_collections.qimg.disk.plugins.module_utils.qimg.errors import (
    ImageError,
    OptionError,
    UnknownContentError,
)
from ansible_collections.qimg.disk.plugins.module_utils.qimg.operations.info import info_chain

#: In check mode.
LEFT_OUT = "There is no image '%s' yet; in check mode, an earlier task is taken to make it, and it is left out"


def look(module, opener):
    paths = _paths(module, opener)
    images, failed_images = {}, {}
    for path in paths:
        try:
            images[path] = _described(module, path)
        except UnknownContentError as error:
            if len(paths) == 1:
                raise
            module.warn(printable(str(error)))
        except (ImageError, OSError) as error:
            failed_images[path] = module.failure_of(error, path)
    result = {"failed_images": failed_images}
    if module.params["facts"]:
        result["ansible_facts"] = {"qimg_images": images}
    else:
        result["images"] = images
    if failed_images:
        shown = "; ".join(failure["msg"] for failure in failed_images.values())
        result["failure"] = shown if len(paths) == 1 else (
            "%d of %d images could not be looked at: %s" % (len(failed_images), len(paths), shown)
        )
        if len(failed_images) == 1:
            failure = next(iter(failed_images.values()))
            result.update({name: value for name, value in failure.items() if name != "msg"})
    return result


def _paths(module, opener):
    """The images to look at.

    :raises OptionError: there are none
    """
    named, allow_empty = module.params["path"], module.params["allow_empty"]
    if not named and not allow_empty:
        raise OptionError("path: The list of images is empty", remedy="name images, or set allow_empty")
    paths, empty = find_images(named, opener)
    if allow_empty:
        empty = []
    if module.check_mode:
        # Earlier tasks may make what is not there yet.
        missing = [path for path in paths if not module.is_there(path)]
        paths = [path for path in paths if path not in missing]
        if not paths and missing + empty:
            module.skip(missing + empty)
        for path in missing + empty:
            module.warn(printable(LEFT_OUT % path))
    elif empty:
        raise OptionError(
            "path: There is no image in or matching %s" % " and ".join("'%s'" % name for name in empty),
            remedy="see whether that is the right directory or pattern, or set allow_empty",
        )
    return paths


def _described(module, path):
    """What is to be known of one image.

    :raises ImageError: it cannot be found out
    """
    documents = module.documents(path, module.params["format"])
    if module.params["backing_chain"]:
        chain = module.read_headers(lambda opener: info_chain(path, module.params["format"], opener=opener))
        documents["chain"] = [image.document() for image in chain[1:]]
    return documents


def main():
    module = ImageModule(
        {
            "path": {"type": "list", "elements": "path", "required": True},
            "format": {"type": "str"},
            "allow_empty": {"type": "bool", "default": False},
            "backing_chain": {"type": "bool", "default": False},
            "facts": {"type": "bool", "default": False},
        }
    )
    module.report(look)


if __name__ == "__main__":
    main()
