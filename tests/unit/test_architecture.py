# SPDX-FileCopyrightText: qimg contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of the house (docs/architecture.md) against the house: who may import whom, and what starting may cost."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

import qimg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SDK = Path(qimg.__file__).resolve().parent
MAP = Path(__file__).resolve().parents[2] / "docs" / "architecture.md"
FILES = sorted(path.relative_to(SDK) for path in SDK.rglob("*.py"))

#: Storey -> the rooms that are on it, from the ground up.  Nobody imports from a storey above.
STOREYS = (
    {
        "errors", "sizes", "limits", "policy", "references", "intervals",
        "json_parser", "json_writer", "nbd_names", "option_text", "schemas",
    },
    {"storage"},
    {"formats", "crypto"},
    {"operations"},
    {""},
    {"cli"},
    {"__main__"},
)  # fmt: skip

#: What each takes longer to import than many images take to open, or is not for this process at all.
EXPENSIVE = (
    "typing", "dataclasses", "enum", "re", "json", "logging", "argparse", "ctypes", "concurrent.futures", "threading",
)  # fmt: skip

#: Rooms of qcow2 that a header alone does not lead into.
NOT_FOR_INFO = {
    "qimg.formats.qcow2.%s" % name for name in (
        "bitmaps.directory", "changes.header_area", "refcounts.allocator", "snapshots.table", "writing.writer"
    )
}


def room_of(module: tuple[str, ...]) -> str:
    return module[0] if module else ""


def storey(module: tuple[str, ...]) -> int:
    (level,) = (level for level, rooms in enumerate(STOREYS) if room_of(module) in rooms)
    return level


def name_of(path: Path) -> tuple[str, ...]:
    """The dotted name of a file within the package, in its parts; the package itself has none."""
    parts = path.with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def exists(module: tuple[str, ...]) -> bool:
    return SDK.joinpath(*module).with_suffix(".py").is_file() or SDK.joinpath(*module, "__init__.py").is_file()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse((SDK / path).read_text("utf-8"))


def imports(path: Path) -> Iterator[tuple[str, ...]]:
    """The modules of the SDK that a file imports, anywhere in it, be it for its annotations only."""
    package = path.parent.parts
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = package[: len(package) - node.level + 1] + tuple(node.module.split(".") if node.module else ())
            for alias in node.names:
                module = (*base, alias.name)
                yield module if exists(module) else base


def test_every_room_stands_on_one_storey() -> None:
    rooms = {room_of(name_of(path)) for path in FILES}

    assert rooms == set().union(*STOREYS)
    assert len(rooms) == sum(map(len, STOREYS))


def test_imports_go_down_only() -> None:
    wrong = [
        "%s imports %s" % (path, ".".join(module))
        for path in FILES
        for module in imports(path)
        if storey(module) > storey(name_of(path))
    ]

    assert wrong == []


def test_imports_are_seen_wherever_they_stand() -> None:
    """The finder itself: of a module by ``from . import``, of a name, and within a function."""
    assert ("storage", "local") in set(imports(Path("operations/commit.py")))
    assert ("references",) in set(imports(Path("formats/opening.py")))
    assert ("formats", "qcow2", "driver") in set(imports(Path("formats/__init__.py")))
    assert ("formats", "qcow2", "compression") in set(imports(Path("formats/qcow2/image.py")))


def test_the_package_itself_imports_nothing_until_it_is_asked() -> None:
    assert not [node for node in tree_of(Path("__init__.py")).body if isinstance(node, ast.ImportFrom) and node.level]


def formats_of(path: Path) -> set[str]:
    """The formats whose packages a file imports."""
    packages = {path.parts[1] for path in FILES if path.parts[0] == "formats" and len(path.parts) > 2}
    return {module[1] for module in imports(path) if module[:1] == ("formats",) and module[1:2]} & packages


def circles(graph: dict[tuple[str, ...], set[tuple[str, ...]]]) -> list[set[tuple[str, ...]]]:
    """The groups of modules that import each other: strongly connected components of more than one (Tarjan)."""
    order: dict[tuple[str, ...], int] = {}
    lowest: dict[tuple[str, ...], int] = {}
    stack: list[tuple[str, ...]] = []
    found: list[set[tuple[str, ...]]] = []

    def visit(module: tuple[str, ...]) -> None:
        order[module] = lowest[module] = len(order)
        stack.append(module)
        for other in graph.get(module, ()):
            if other not in order:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], order[other])
        if lowest[module] == order[module]:
            component = set(stack[stack.index(module) :])
            del stack[stack.index(module) :]
            if len(component) > 1:
                found.append(component)

    for module in graph:
        if module not in order:
            visit(module)
    return found


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Not even for annotations: what cannot be read alone cannot be changed alone."""
    graph = {name_of(path): set(imports(path)) for path in FILES if name_of(path)}

    assert circles({("a",): {("b",)}, ("b",): {("c",)}, ("c",): {("b",)}}) == [{("b",), ("c",)}]
    assert circles(graph) == []


#: Words of single formats, which general code must not know.
WORDS_OF_FORMATS = re.compile(r"\b(qcow2|data[-_]file|vmdk|vhdx|luks)\b")
#: Where they may stand: documents, examples, and lists of everything that QEMU has.
GENERAL_EXCEPTIONS = {"schemas.py", "formats/__init__.py", "formats/driver_names.py", "formats/probing.py"}


def test_general_code_has_no_literal_of_a_format() -> None:
    """Docstrings may give examples; no other text of general code names a format, or what only one has."""
    for path in FILES:
        if (path.parts[0] == "formats" and len(path.parts) > 2) or str(path) in GENERAL_EXCEPTIONS:
            continue
        tree = tree_of(path)
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        words = [
            (node.lineno, node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
        ]
        assert [where for where in words if WORDS_OF_FORMATS.search(where[1])] == [], path


def test_a_format_knows_of_no_other_and_the_table_knows_them_all() -> None:
    for path in FILES:
        if path.parts[:1] == ("formats",) and len(path.parts) > 2:
            assert formats_of(path) <= {path.parts[1]}, path
    assert formats_of(Path("formats/__init__.py")) >= {"raw", "qcow2"}


def test_no_operation_and_no_command_names_a_format() -> None:
    above = ("operations", "cli")

    assert [str(path) for path in FILES if path.parts[0] in above and formats_of(path)] == []


def test_all_imports_of_the_package_are_relative_and_static() -> None:
    """Ansible renames the package: ``import qimg`` would find nothing there, or somebody else's."""
    for path in FILES:
        for node in ast.walk(tree_of(path)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            assert not {name.split(".")[0] for name in names} & {"qimg", "importlib"}, path


def test_no_file_is_too_long_to_be_read_at_once() -> None:
    lengths = {str(path): len((SDK / path).read_text("utf-8").splitlines()) for path in FILES}

    assert {path: length for path, length in lengths.items() if length > 500} == {}


def mapped_rooms() -> tuple[set[str], set[str]]:
    """The files and the packages that the page names in its tables; a package with a table of its own is no room."""
    rooms: set[str] = set()
    tables: set[str] = set()
    directory = ""
    for line in MAP.read_text("utf-8").splitlines():
        heading = re.match(r"\| file of `([^`]+)` \|", line)
        if heading:
            directory = heading.group(1)
            tables.add(directory)
        elif not line.startswith("|"):
            directory = ""
        elif line.startswith("| `"):
            inside = directory
            for name in re.findall(r"`([^`]+)`", line.split("|")[1]):
                # `storage/local.py` `linux.py`: the second lies where the first does.
                if "/" in name.rstrip("/"):
                    folder = name.rstrip("/").rpartition("/")[0] + "/"
                    inside, name = directory + folder, name[len(folder) :]
                rooms.add(inside + name)
    packages = {room for room in rooms if room.endswith("/")} - tables
    return rooms - packages - tables, packages


def test_every_room_is_on_the_map() -> None:
    files, packages = mapped_rooms()
    doors = ("__init__.py", "__main__.py")

    assert [
        str(path)
        for path in FILES
        if path.name not in doors
        and str(path) not in files
        and not any("%s/" % parent in packages for parent in path.parents)
    ] == []


def test_the_map_names_no_room_that_is_gone() -> None:
    files, packages = mapped_rooms()

    assert len(files) > 50
    assert [room for room in sorted(files | packages) if not (SDK / room).exists()] == []


def loaded_by(statements: str, *arguments: str) -> set[str]:
    """The modules that a bare interpreter has loaded after some statements."""
    program = "import sys; sys.path.insert(0, %r)\n%s\nsys.stderr.write('\\n'.join(sys.modules))"
    program %= (str(SDK.parent), statements)
    answer = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, *arguments], capture_output=True, text=True, check=True
    )
    return set(answer.stderr.split("\n"))


def test_importing_the_package_loads_nothing_that_takes_time() -> None:
    assert loaded_by("import qimg") & set(EXPENSIVE) == set()


@pytest.mark.parametrize("form", [(), ("--output=json",), ("-f", "qcow2"), ("--backing-chain",)], ids=" ".join)
def test_info_loads_nothing_that_takes_time(form: tuple[str, ...], tmp_path: Path) -> None:
    base, path = str(tmp_path / "base.qcow2"), str(tmp_path / "disk.qcow2")
    qimg.create(base, "qcow2", size=1 << 20)
    qimg.create(path, "qcow2", backing_file=base, backing_format="qcow2")

    loaded = loaded_by("from qimg.cli.main import main\nmain(['qemu-img', *sys.argv[1:]])", "info", *form, path)

    assert "qimg.formats.qcow2.image" in loaded
    assert loaded & {*EXPENSIVE, *NOT_FOR_INFO} == set()


@pytest.mark.parametrize(
    "words",
    [("check",), ("map",), ("resize", "--shrink", "{}", "512K"), ("commit",), ("rebase", "-b", "")],
    ids=" ".join,
)
def test_other_commands_load_nothing_but_threads_that_takes_time(words: tuple[str, ...], tmp_path: Path) -> None:
    base, path = str(tmp_path / "base.qcow2"), str(tmp_path / "disk.qcow2")
    qimg.create(base, "qcow2", size=1 << 20)
    qimg.create(path, "qcow2", backing_file=base, backing_format="qcow2")
    line = [word.format(path) for word in words] if "{}" in words else [*words, path]

    loaded = loaded_by("from qimg.cli.main import main\nmain(['qemu-img', *sys.argv[1:]])", *line)

    assert "qimg.formats.qcow2.image" in loaded
    assert loaded & {*EXPENSIVE} <= {"threading"}
