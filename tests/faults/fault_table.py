"""Makes docs/faults.md from the docstrings of the tests in this folder: `python tests/faults/fault_table.py`.

A docstring reads "what goes wrong → what happens".
"""

import ast
from pathlib import Path

HERE = Path(__file__).parent
DOCUMENT = HERE.parent.parent / "docs" / "faults.md"
HEAD = """# What goes wrong, and what happens

Each row is a test that does this to a whole study; `tests/faults/` holds them, and this page is made from them by
`python tests/faults/fault_table.py`. Faults of single parts are tested beside these: data in `tests/training/`, spaces
and architectures in `tests/space/test_hostile.py` and `tests/space/test_definition.py`, files in
`tests/store/test_store_faults.py`, worker processes in `tests/executors/test_executor_faults.py`.
"""


def rows(path):
    """(fault, what happens, test) of each test of a file. Raises ValueError for a test without them."""
    found = []
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            fault, arrow, outcome = " ".join((ast.get_docstring(node) or "").split()).partition(" → ")
            if not arrow:
                raise ValueError(f"{path.name}: {node.name} needs a docstring 'what goes wrong → what happens'")
            found.append((fault, outcome.rstrip("."), node.name))
    return found


def document():
    """The whole page."""
    parts = [HEAD]
    for path in sorted(HERE.glob("test_fault_*.py")):
        title = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").splitlines()[0].rstrip(".")
        lines = [f"| {fault} | {outcome} | `{name}` |" for fault, outcome, name in rows(path)]
        if lines:
            parts.append(f"## {title}\n\n`tests/faults/{path.name}`\n\n| fault | what happens | test |\n|---|---|---|")
            parts[-1] += "\n" + "\n".join(lines) + "\n"
    return "\n".join(parts)


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
