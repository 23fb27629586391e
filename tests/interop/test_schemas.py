# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Our documents, and real qemu-img's, are as the schemas say."""
from __future__ import annotations

import functools
import json
from pathlib import Path

import cli_images
import pytest
from generated_images import scenario
from jsonschema import Draft202012Validator

import qimg
from support import oracle
from support.in_process import qimg as run_ours
from support.side_by_side import SideBySide, template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

pytestmark = pytest.mark.oracle

#: Document -> the command lines that print it, for an image.
_LINES = {
    "info": ["info"],
    "info-chain": ["info", "--backing-chain"],
    "map": ["map"],
    "check": ["check"],
    "measure": ["measure", "-O", "qcow2"],
}
_FILTER = (
    'json:{"driver": "raw", "offset": 65536, "file": {"driver": "qcow2", "file": {"driver": "file", "filename": "%s"}}}'
)
#: Further command lines, on files that they may change, and the document that they print.
_FURTHER = [
    ("info", ["info", _FILTER % "data.qcow2"]),
    ("info", ["info", "--image-opts", "driver=raw,size=1M,file.driver=file,file.filename=sparse.raw"]),
    ("info-chain", ["info", "--backing-chain", "--image-opts", "driver=qcow2,file.filename=top.qcow2"]),
    ("map", ["map", "--start-offset", "1M", "--max-length", "3M", "top.qcow2"]),
    ("map", ["map", _FILTER % "packed.qcow2"]),
    ("check", ["check", "--repair", "leaks", "leaky.qcow2"]),
    ("check", ["check", "--repair", "all", "broken.qcow2"]),
    ("measure", ["measure", "--size", "1G", "-O", "qcow2"]),
    ("measure", ["measure", "-l", "s1", "-O", "raw", "bitmaps.qcow2"]),
    ("measure", ["measure", "-O", "qcow2", "-o", "compat=0.10", "bitmaps.qcow2"]),
]
#: Members of documents that neither prints here: what only some file systems, and images that we do not make, have.
_ELSEWHERE = {"encrypt", "encrypted", "extent-size-hint", "compressed"}
#: What ``info --limits`` of release 11 prints; cli_cases_later.py compares that.
_LATER = {
    "limits", "request-alignment", "min-mem-alignment", "opt-mem-alignment", "max-iov", "write-zeroes-alignment",
    "discard-alignment", "opt-transfer", "max-transfer", "max-write-zeroes", "max-discard",
}  # fmt: skip


@functools.cache
def _validator(document: str) -> Draft202012Validator:
    return Draft202012Validator(qimg.schema(document))


@pytest.mark.parametrize("document", qimg.schema_names())
def test_a_schema_is_one(document: str) -> None:
    Draft202012Validator.check_schema(qimg.schema(document))


@pytest.fixture(scope="module", params=["table", 1, 2, 3])
def directory(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of all kinds."""
    base = tmp_path_factory.getbasetemp()
    if request.param == "table":
        return template(base / "cli-images", cli_images.build)
    return template(base / ("schemas-%d" % request.param), scenario(request.param).build)


def _printed(command: list[str], directory: Path) -> Iterator[object]:
    """What both print, for all images of a directory that they can open."""
    count = 0
    for path in sorted(filter(Path.is_file, directory.iterdir())):
        words = [*command, "-U", "--output=json", "./" + path.name]
        for answer in (oracle.run("qemu-img", *words, cwd=directory), run_ours(*words, cwd=directory)):
            if answer.stdout.startswith(("{", "[")) and answer.code in (0, 2, 3):
                count += 1
                yield json.loads(answer.stdout)
    assert count >= 6


@pytest.mark.parametrize("document", _LINES)
def test_what_is_printed_is_as_the_schema_says(document: str, directory: Path) -> None:
    for printed in _printed(_LINES[document], directory):
        _validator(document).validate(printed)


@pytest.mark.parametrize(("document", "words"), _FURTHER)
def test_what_other_command_lines_print_is_as_the_schema_says(
    document: str, words: list[str], images: Path, tmp_path: Path
) -> None:
    for answer in SideBySide(tmp_path, images).run([words[0], "--output=json", *words[1:]]):
        assert answer.code == 0, answer
        _validator(document).validate(json.loads(answer.stdout))


def _members(part: Any) -> Iterator[str]:
    """The names of all members of a document, or of the documents that a schema lets be."""
    if isinstance(part, list):
        for each in part:
            yield from _members(each)
    elif isinstance(part, dict):
        yield from part
        for each in part.values():
            yield from _members(each)


def _declared(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for each in part:
            yield from _declared(each)
    elif isinstance(part, dict):
        yield from part.get("properties", {})
        for each in part.values():
            yield from _declared(each)


@pytest.mark.parametrize("document", _LINES)
def test_both_print_all_that_a_schema_names(document: str, images: Path, tmp_path: Path) -> None:
    seen: list[set[str]] = [set(), set()]
    for number, printed in enumerate(_printed(_LINES[document], images)):
        seen[number % 2].update(_members(printed))
    if document == "check":
        for words in (words for kind, words in _FURTHER if kind == "check"):
            root = tmp_path / words[-1]
            root.mkdir()
            for number, answer in enumerate(SideBySide(root, images).run([*words, "--output=json"])):
                seen[number].update(json.loads(answer.stdout))
    expected = set(_declared(qimg.schema(document))) - _LATER - (_ELSEWHERE if document != "map" else set())

    assert [expected - each for each in seen] == [set(), set()]


def _objects(part: Any) -> Iterator[dict[str, Any]]:
    for each in part if isinstance(part, list) else part.values() if isinstance(part, dict) else ():
        yield from _objects(each)
    if isinstance(part, dict):
        yield part


@pytest.mark.parametrize("document", _LINES)
def test_no_schema_lets_unknown_members_be(document: str, images: Path) -> None:
    for printed in _printed(_LINES[document], images):
        for part in _objects(printed):
            part["nonsense"] = 1
            assert not _validator(document).is_valid(printed), part
            del part["nonsense"]


def test_documents_of_formats_that_we_do_not_have_are_as_the_schema_says(tmp_path: Path) -> None:
    secret = ["--object", "secret,id=s,data=x"]
    for words in (
        ["-f", "vmdk"], ["-f", "vmdk", "-o", "subformat=streamOptimized"], ["-f", "vdi"], ["-f", "vhdx"], ["-f", "vpc"],
        ["-f", "qed"], ["-f", "qcow2", *secret, "-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10"],
    ):  # fmt: skip
        oracle.qemu_img("create", "-q", *words, "disk", "1M", cwd=tmp_path)
        found = json.loads(oracle.qemu_img("info", "--output=json", "disk", cwd=tmp_path))
        _validator("info").validate(found)
        if words[1] in ("vmdk", "vdi", "vhdx", "qed"):
            _validator("check").validate(json.loads(oracle.qemu_img("check", "--output=json", "disk", cwd=tmp_path)))


def test_comparisons_are_as_the_schema_says(images: Path) -> None:
    reasons = set()
    for second in ("data.qcow2", "empty.qcow2", "odd.raw", "packed.qcow2"):
        for strict in (False, True):
            result = qimg.compare(images / "data.qcow2", images / second, strict=strict)
            _validator("compare").validate(result.document())
            reasons.add(result.reason)
    assert reasons == {None, "content", "size", "status"}


@pytest.mark.parametrize(
    ("document", "wrong"),
    [
        ("info", {"filename": "x", "format": "raw", "virtual-size": -1, "children": []}),
        ("info", {"filename": "x", "format": "raw", "virtual-size": 0, "children": [], "nonsense": 1}),
        ("info", {"filename": "x", "format": "raw", "virtual-size": 0}),
        ("info-chain", {"filename": "x", "format": "raw", "virtual-size": 0, "children": []}),
        ("map", [{"start": 0, "length": 1}]),
        ("check", {"filename": "x", "format": "qcow2", "check-errors": 0, "leaks": 0}),
        ("measure", {"required": 1}),
        ("compare", {"identical": False, "sizes-differ": False, "reason": "nonsense"}),
    ],
)
def test_what_is_no_such_document_is_refused(document: str, wrong: object) -> None:
    assert not _validator(document).is_valid(wrong)
