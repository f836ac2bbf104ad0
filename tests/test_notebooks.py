"""Notebooks: every cell runs; what is shown has the cells of the source, and every picture has a text."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

pytestmark = pytest.mark.usefixtures("tidied")

FOLDER = Path(__file__).parents[1] / "notebooks"
SOURCES = sorted(FOLDER.glob("[0-9]*.py"))
MOST = 500_000  # Bytes of a notebook with its outputs.


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_is_shown_has_the_cells_of_the_source(source: Path):
    shown = source.with_suffix(".ipynb")
    assert shown.is_file(), f"make it: python notebooks/make.py {source.stem}"
    assert shown.stat().st_size < MOST
    cells = [
        [(cell.cell_type, cell.source) for cell in notebook.cells]
        for notebook in (jupytext.read(source), nbformat.read(shown, 4))
    ]
    assert cells[0] == cells[1], f"made of another source; make it again: python notebooks/make.py {source.stem}"
    pictures = 0
    for cell in nbformat.read(shown, 4).cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            for kind in output.get("data", {}):
                if kind.startswith("image/"):
                    pictures += 1
                    assert output.metadata[kind]["alt"]
    assert pictures


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_every_cell_runs(source: Path, monkeypatch: pytest.MonkeyPatch):
    """In a fresh kernel, as on Colab: an event loop runs, JAX is there already; a warning is an error."""
    monkeypatch.setenv("JAXGAN_QUICK", "1")
    notebook = jupytext.read(source)
    first = "import asyncio, warnings, jax; warnings.simplefilter('error'); asyncio.get_running_loop()"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(first))
    NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(FOLDER)}}).execute()
