"""The files around the code: they parse, fit their schemas, and say the same about version, address and Pythons."""

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import jaxgan

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WORKFLOWS = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}


def test_one_version():
    newest = re.findall(
        r"^## (\d+\.\d+\.\d+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M
    )[0]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert newest == citation["version"] == jaxgan.__version__
    assert [author["name"] for author in citation["authors"]] == [PROJECT["project"]["authors"][0]["name"]]


def test_one_address():
    """Whoever puts the repository somewhere replaces one word."""
    owner = re.fullmatch(r"https://github\.com/([\w-]+)/jaxgan", PROJECT["project"]["urls"]["Source"])
    assert owner is not None
    files = [
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "pyproject.toml",
        "docs/**/*.*",
        "notebooks/*",
        ".github/**/*.yml",
    ]
    other = (".jpg", ".png", ".zip")
    texts = [path.read_text() for name in files for path in ROOT.glob(name) if path.suffix not in other]
    found = re.findall(r"github(?:\.com)?/([\w-]+)/jaxgan\b|([\w-]+)\.github\.io/jaxgan", "\n".join(texts))
    assert len(found) >= 5
    assert {first or second for first, second in found} == {owner[1]}


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        ("github-workflows", ".github/workflows/*.yml"),
        ("github-issue-forms", ".github/ISSUE_TEMPLATE/[!c]*.yml"),
        ("github-issue-config", ".github/ISSUE_TEMPLATE/config.yml"),
        ("citation-file-format", "CITATION.cff"),
    ],
)
def test_files_fit_their_schemas(schema, names):
    files = list(ROOT.glob(names))
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
    process = subprocess.run(command, capture_output=True, text=True)
    assert process.returncode == 0, process.stdout


def test_continuous_integration_has_the_oldest_and_the_newest_python():
    (job,) = WORKFLOWS["ci.yml"]["jobs"].values()
    (pythons,) = [
        step["with"]["python-version"].split() for step in job["steps"] if "setup-python" in step.get("uses", "")
    ]
    prefix = "Programming Language :: Python :: "
    minors = [name.removeprefix(prefix) for name in PROJECT["project"]["classifiers"] if name.startswith(f"{prefix}3.")]
    assert sorted(pythons) == [minors[0], minors[-1]]
    assert PROJECT["project"]["requires-python"] == f">={minors[0]}"
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def test_dockerfile_copies_what_the_wheel_is_made_of():
    copied = set()
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, _ = shlex.split(line)[1:]
            copied.update(sources)
    assert all((ROOT / name).exists() for name in copied)
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert copied >= {
        "pyproject.toml",
        "requirements.lock",
        PROJECT["project"]["readme"],
        *PROJECT["project"]["license-files"],
        *wheel["packages"],
        *wheel["force-include"],
    }


def test_azure_job_names_what_is_there():
    job = yaml.safe_load((ROOT / "launch/azureml.yaml").read_text())
    build = job["environment"]["build"]
    assert (ROOT / "launch" / build["path"] / build["dockerfile_path"]).is_file()
    program, command, config, option, out = shlex.split(job["command"])
    assert (program, command, option) == ("jaxgan", "train", "--out")
    assert (ROOT / "configs" / f"{config}.py").is_file()
    assert out == f"${{{{outputs.{next(iter(job['outputs']))}}}}}"
