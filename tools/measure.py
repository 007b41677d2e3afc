"""What can be counted about the code: sizes, annotations, import cycles, tests that assert nothing.

python tools/measure.py            print the table
python tools/measure.py --check    exit 1 where a limit of the project's own is broken
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "playbill"
LARGEST_MODULE = 400
PATCHES = 10
_PATCHING = {"setattr", "delattr", "setitem", "delitem", "patch", "patch.object", "patch.dict"}


def trees(folder: Path) -> dict[Path, ast.Module]:
    """Every Python file below a folder, parsed."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.py"))}


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def is_annotated(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    args = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    own = [a for i, a in enumerate(args) if not (i == 0 and a.arg in ("self", "cls"))]
    return node.returns is not None and all(a.annotation is not None for a in own)


def imports(path: Path, tree: ast.Module) -> set[str]:
    """The modules of the package that a module imports at its top level, or for its types alone."""
    found: set[str] = set()
    checking = [
        n
        for node in tree.body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for n in node.body
    ]
    for node in [*tree.body, *checking]:
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("playbill"):
            found.add(node.module or "")
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name.startswith("playbill"))
    return found


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def cycles(modules: dict[Path, ast.Module]) -> list[list[str]]:
    """Groups of modules that import each other, directly or through others (packages' own `__init__` apart)."""
    graph = {name_of(p): imports(p, t) for p, t in modules.items() if p.name != "__init__.py"}
    graph = {name: {n for n in found if n in graph and n != name} for name, found in graph.items()}
    reach = {name: _reachable(graph, name) for name in graph}
    groups = {frozenset({n, *(m for m in reach[n] if n in reach[m])}) for n in graph if n in reach[n]}
    return [sorted(group) for group in groups]


def _reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[start])
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo.extend(graph[name])
    return seen


def asserts(node: ast.AST) -> bool:
    """Whether a test says what must hold: an assert, or an expected error."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Assert):
            return True
        if isinstance(inner, ast.Call) and ast.unparse(inner.func).split(".")[-1] in ("raises", "fail"):
            return True
    return False


def called_in(node: ast.AST) -> set[str]:
    """The last names of what a function calls."""
    return {ast.unparse(n.func).split(".")[-1] for n in ast.walk(node) if isinstance(n, ast.Call)}


def tests_without_assertion(modules: dict[Path, ast.Module]) -> list[str]:
    """Tests that assert nothing themselves, and call no helper of their file or of tests/support that does."""
    shared = [f for path, tree in modules.items() if "support" in path.parts for f in functions(tree)]
    silent = []
    for path, tree in modules.items():
        own = [f for f in functions(tree) if not f.name.startswith("test_")]
        helpers = {f.name for f in (*own, *shared) if asserts(f)}
        helpers |= {f.name for f in own if called_in(f) & helpers}
        for test in functions(tree):
            if test.name.startswith("test_") and not asserts(test) and not called_in(test) & helpers:
                silent.append(f"{path.relative_to(ROOT)}::{test.name}")
    return silent


def patches(modules: dict[Path, ast.Module]) -> list[str]:
    """Calls in tests that replace a piece of code or data of another module."""
    found = []
    for path, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called.startswith(("monkeypatch.", "mock.", "patch")) and called.split(".")[-1] in _PATCHING:
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    modules, tests = trees(PACKAGE), trees(ROOT / "tests")
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    lengths = [length(f) for tree in modules.values() for f in functions(tree)]
    annotated = [is_annotated(f) for tree in modules.values() for f in functions(tree)]
    largest = max(sizes, key=sizes.__getitem__)
    found_cycles, silent, patched = cycles(modules), tests_without_assertion(tests), patches(tests)
    median = statistics.median(sizes.values())
    print(f"lines of a module: median {median:.0f}, largest {sizes[largest]} ({largest.relative_to(PACKAGE)})")
    print(
        f"lines of a function: median {statistics.median(lengths):.0f}, "
        f"90th percentile {statistics.quantiles(lengths, n=10)[-1]:.0f}, longest {max(lengths)}"
    )
    print(f"fully annotated functions: {100 * sum(annotated) / len(annotated):.0f} %")
    print(f"import cycles: {len(found_cycles)} {found_cycles or ''}")
    print(f"tests without an assertion of their own: {len(silent)} {silent or ''}")
    print(f"patch-like calls in tests: {len(patched)} {patched or ''}")
    print(f"modules: {len(sizes)}, lines: {sum(sizes.values())}")
    broken = sizes[largest] > LARGEST_MODULE or found_cycles or silent or len(patched) > PATCHES
    return 1 if options.check and broken else 0


if __name__ == "__main__":
    sys.exit(main())
