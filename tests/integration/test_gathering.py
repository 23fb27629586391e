# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What results hold of images, whose facts they become, and how images are found on the host."""
from __future__ import annotations

from pathlib import Path

from qimg.operations.create import plan_create

from .conftest import failed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from support.playbook import Ansible

FACTS = {"ansible.builtin.debug": {"var": "ansible_facts.qimg_images"}}


def image(path: Path, size: int = 1 << 20, format: str = "qcow2", **backing: Any) -> str:
    plan_create(str(path), format, size, **backing).apply()
    return str(path)


def looks(path: Any, **options: Any) -> dict[str, Any]:
    return {"qimg.disk.qimg_info": {"path": path, **options}}


def repeated(value: Any, seen: dict[str, int] | None = None) -> dict[str, int]:
    """How often each document and each extent occurs in a result, by its text; only what occurs more than once."""
    seen = {} if seen is None else seen
    if isinstance(value, (dict, list)):
        if "filename" in value or "start" in value:
            seen[str(value)] = seen.get(str(value), 0) + 1
        for part in value.values() if isinstance(value, dict) else value:
            repeated(part, seen)
    return {text: count for text, count in seen.items() if count > 1}


def test_no_document_is_twice_in_a_result(ansible: Ansible, tmp_path: Path) -> None:
    image(tmp_path / "base.qcow2")
    path = image(tmp_path / "disk.qcow2", backing_file="base.qcow2", backing_format="qcow2")
    everything = {"gather": ["info", "map", "check"]}
    results = ansible.play(
        {
            "resize": {"qimg.disk.qimg_resize": {"path": path, "size": "2M", **everything}},
            "check": {"qimg.disk.qimg_check": {"path": path, **everything}},
            "info": looks(path, backing_chain=True),
            "facts": looks(path, backing_chain=True, facts=True),
            "compare": {"qimg.disk.qimg_compare": {"path": path, "other_path": path, **everything}},
        }
    )
    assert failed(results) == {}
    assert {name: repeated(result) for name, result in results.items()} == {name: {} for name in results}


def test_a_loop_carries_of_each_image_its_own_documents_only(ansible: Ansible, tmp_path: Path) -> None:
    create = {"path": "%s/{{ item }}.raw" % tmp_path, "format": "raw", "size": "1M"}
    paths = {name: str(tmp_path / (name + ".raw")) for name in ("one", "two", "three")}
    results = ansible.play(
        {
            "create": {"qimg.disk.qimg_create": create, "loop": list(paths)},
            "look": {**looks("%s/{{ item }}.raw" % tmp_path), "loop": list(paths)},
            "known": {
                "ansible.builtin.debug": {
                    "msg": "{{ look.results | map(attribute='images') | ansible.builtin.combine }}"
                }
            },
        }
    )
    assert failed(results) == {}
    for result in results["create"]["results"]:
        assert result.keys() & {"info", "map", "check", "images", "ansible_facts"} == {"info"}
    for result in results["look"]["results"]:
        assert result["images"].keys() == {paths[result["item"]]} and "ansible_facts" not in result
    assert results["known"]["msg"].keys() == set(paths.values())


def test_facts_hold_what_the_last_task_has_found(ansible: Ansible, tmp_path: Path) -> None:
    one, two = (image(tmp_path / name) for name in ("one.qcow2", "two.qcow2"))
    results = ansible.play(
        {
            "look": looks(str(tmp_path), facts=True, gather=["info"]),
            "both": FACTS,
            "absent": {"qimg.disk.qimg_create": {"path": one, "state": "absent"}},
            "again": looks(str(tmp_path), facts=True, gather=["info"]),
            "rest": FACTS,
        }
    )
    assert failed(results) == {} and "images" not in results["look"]
    assert results["both"]["ansible_facts.qimg_images"].keys() == {one, two}
    assert results["rest"]["ansible_facts.qimg_images"].keys() == {two}


def test_facts_stay_with_the_host_that_has_the_images(ansible: Ansible, tmp_path: Path) -> None:
    image(tmp_path / "one.qcow2")
    image(tmp_path / "two.qcow2")
    own = "%s/{{ inventory_hostname }}.qcow2" % tmp_path
    every = {"ansible.builtin.debug": {"msg": "{{ [hostvars.one.ansible_facts, hostvars.two.ansible_facts] }}"}}
    # One host after another: the results are those of the last.
    results = ansible.play(
        {
            "look": looks(own, facts=True, gather=["info"]),
            "once": {**looks(own, facts=True), "run_once": True},
            "elsewhere": {**looks(own, facts=True), "delegate_to": "one"},
            "loop": {**looks("{{ item }}", facts=True), "loop": [str(tmp_path / "one.qcow2")]},
            "registered": {**looks(own, gather=["info"]), "run_once": True},
            "given": {
                **looks(str(tmp_path / "one.qcow2"), facts=True, gather=["info"]),
                "delegate_to": "one", "delegate_facts": True,
            },
            "facts": every,
        },
        "--forks=1",
        inventory="one,two,",
    )
    messages = failed(results)
    assert messages.keys() == {"once", "elsewhere"} | {"loop"}
    assert "With run_once, every host would get the facts of one; register the result instead" in messages["once"]
    assert "The facts of 'one' would become those of 'two'; set delegate_facts" in messages["elsewhere"]
    assert "In a loop" in results["loop"]["results"][0]["msg"]
    assert [list(facts["qimg_images"]) for facts in results["facts"]["msg"]] == [
        [str(tmp_path / "one.qcow2")], [str(tmp_path / "two.qcow2")],
    ]


def test_images_are_found_on_the_host(ansible: Ansible, tmp_path: Path) -> None:
    at = tmp_path / "images"
    at.mkdir()
    known = [image(at / name) for name in ("a.qcow2", "b.qcow2", "renamed")]
    raw = image(at / "c.raw", format="raw")
    (at / "notes.txt").write_text("no image")
    (at / ".hidden.qcow2").write_bytes(b"QFI\xfb")
    (at / "below").mkdir()
    below = image(at / "below" / "d.qcow2")
    results = ansible.play(
        {
            "directory": looks(str(at), gather=["info"]),
            "pattern": looks("%s/*.qcow2" % at, gather=["info"]),
            "several": looks(["%s/*.raw" % at, "%s/*/*.qcow2" % at, known[0], known[0]], gather=["info"]),
        }
    )
    assert failed(results) == {}
    assert list(results["directory"]["images"]) == sorted([*known, raw])
    assert list(results["pattern"]["images"]) == known[:2]
    assert list(results["several"]["images"]) == [raw, below, known[0]]
    assert results["several"]["failed_images"] == {}


def test_no_image_is_an_error_unless_it_is_allowed(ansible: Ansible, tmp_path: Path) -> None:
    path = image(tmp_path / "disk.qcow2")
    (tmp_path / "empty").mkdir()
    nothing = {"list": [], "directory": str(tmp_path / "empty"), "pattern": [path, "%s/*.img" % tmp_path]}
    results = ansible.play({name: looks(names) for name, names in nothing.items()})
    messages = failed(results)
    assert messages.keys() == nothing.keys()
    assert "The list of images is empty; name images, or set allow_empty" in messages["list"]
    assert "There is no image in or matching '%s/*.img'; see whether" % tmp_path in messages["pattern"]
    allowed = {name: looks(names, allow_empty=True, gather=["info"]) for name, names in nothing.items()}
    for options in ([], ["--check"]):
        results = ansible.play(allowed, *options)
        assert failed(results) == {}
        assert {name: list(result["images"]) for name, result in results.items()} == {
            "list": [], "directory": [], "pattern": [path],
        }


def test_an_image_that_cannot_be_read_hides_no_other(ansible: Ansible, tmp_path: Path) -> None:
    good = image(tmp_path / "good.qcow2")
    missing, damaged = str(tmp_path / "missing.qcow2"), tmp_path / "damaged.qcow2"
    damaged.write_bytes(bytes(4096))
    asked = {"format": "qcow2", "gather": ["info"]}
    results = ansible.play(
        {
            "all": looks([missing, str(damaged), good], **asked),
            "pattern": looks("%s/*.qcow2" % tmp_path, **asked),
            "one": looks(missing, **asked),
        }
    )
    assert failed(results).keys() == results.keys()
    assert results["all"]["images"].keys() == results["pattern"]["images"].keys() == {good}
    assert results["all"]["failed_images"].keys() == {missing, str(damaged)}
    assert results["all"]["failed_images"][missing]["errno"] == 2
    assert results["all"]["failed_images"][str(damaged)]["error"] == "NotThisFormatError"
    assert results["all"]["msg"].startswith("2 of 3 images could not be looked at: ")
    assert results["pattern"]["failed_images"].keys() == {str(damaged)}
    assert results["one"]["errno"] == 2 and missing in results["one"]["msg"]
    checked = ansible.play({"all": looks([missing, good], **asked), "one": looks(missing, **asked)}, "--check")
    assert checked["all"]["images"].keys() == {good}
    assert checked["all"]["warnings"] == [
        "There is no image '%s' yet; in check mode, an earlier task is taken to make it, and it is left out" % missing
    ]
    assert checked["one"]["skipped"] is True


def test_results_hold_what_is_documented_of_the_file(ansible: Ansible, tmp_path: Path) -> None:
    path = str(tmp_path / "disk.qcow2")
    results = ansible.play(
        {
            "create": {"qimg.disk.qimg_create": {"path": path, "format": "qcow2", "size": "1M"}},
            "resize": {"qimg.disk.qimg_resize": {"path": path, "format": "qcow2", "size": "2M"}},
        }
    )
    common = {"changed", "failed", "path", "actions", "info"}
    owner = {"mode", "owner", "group", "uid", "gid", "secontext"}
    assert results["create"].keys() - owner == {*common, "differences"}
    assert results["create"].keys() >= {"mode", "owner", "group", "uid", "gid"}
    assert results["resize"].keys() == common
