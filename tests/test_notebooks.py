"""Notebooks come in pairs, a script to read and to review and a notebook to open."""

from pathlib import Path

import pytest

import zoo

jupytext = pytest.importorskip("jupytext")
NOTEBOOKS = Path(__file__).parent.parent / "notebooks"
SCRIPTS = sorted(NOTEBOOKS.glob("*.py"))
WEIGHTS = sorted(path.parent for path in NOTEBOOKS.glob("weights/*/config.json"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_both_of_a_pair_say_the_same_and_hold_no_output(script):
    notebook = jupytext.read(script.with_suffix(".ipynb"))
    cells = [(cell.cell_type, cell.source) for cell in notebook.cells]
    assert cells == [
        (cell.cell_type, cell.source) for cell in jupytext.read(script).cells
    ], "run: jupytext --sync notebooks/*.py"
    assert not any(cell.get("outputs") for cell in notebook.cells)
    assert not any(cell.get("execution_count") for cell in notebook.cells)


@pytest.mark.parametrize("folder", WEIGHTS, ids=lambda path: path.name)
def test_weights_are_loaded_by_one_call_and_small(folder):
    assert zoo.load(folder).params
    assert sum(path.stat().st_size for path in folder.iterdir()) < 3 * 2**20
    told = (NOTEBOOKS / "weights" / "README.md").read_text(encoding="utf-8")
    assert f"`{folder.name}`" in told
