"""Notebooks come in pairs, a script to read and to review and a notebook to open."""

from pathlib import Path

import pytest

jupytext = pytest.importorskip("jupytext")
SCRIPTS = sorted(Path(__file__).parent.parent.glob("notebooks/*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_both_of_a_pair_say_the_same_and_hold_no_output(script):
    notebook = jupytext.read(script.with_suffix(".ipynb"))
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    assert cells == [
        (cell.cell_type, cell.source) for cell in jupytext.read(script).cells
    ], "run: jupytext --sync notebooks/*.py"
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert not any(cell.get("execution_count") for cell in notebook.cells)
