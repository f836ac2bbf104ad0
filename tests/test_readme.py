"""The README's program, run as a reader would."""

import ast
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_a_third_party_trains_a_pair_of_its_own(tmp_path):
    (program,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert program.count("\n") < 40
    imported = {
        name.name if isinstance(node, ast.Import) else f"{node.module}.{name.name}"
        for node in ast.walk(ast.parse(program))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert imported == {"flax.linen", "jax", "jax.numpy", "optax", "jaxgan.train_step"}
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    found = re.fullmatch(r"radius of the samples: (\S+) \+- (\S+)\n", process.stdout)
    assert found is not None
    # The data's radius is 1 +- 0.05; an untrained generator's is 0.72 +- 0.46.
    assert 0.9 < float(found[1]) < 1.1
    assert float(found[2]) < 0.15
