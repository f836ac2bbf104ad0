"""Makes the notebooks of their sources, and executes them: python notebooks/make.py [NAME ...].

The sources are NN_name.py, cells in the percent format; NN_name.ipynb has the same cells with their outputs, and is
what the site shows. `jaxgan[dev]` has what this needs.
"""

import sys
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent


def main() -> None:
    chosen = sys.argv[1:]
    for source in sorted(FOLDER.glob("[0-9]*.py")):
        if chosen and not any(name in source.stem for name in chosen):
            continue
        notebook = jupytext.read(source)
        since = time.perf_counter()
        NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": str(FOLDER)}}).execute()
        for cell in notebook.cells:  # Times and the like would change with every execution.
            cell.metadata.pop("execution", None)
        path = source.with_suffix(".ipynb")
        nbformat.write(notebook, path)
        size = path.stat().st_size / 1e3
        print(f"{path.name}: {(time.perf_counter() - since) / 60:.1f} minutes, {size:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
