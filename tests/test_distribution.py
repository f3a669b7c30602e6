"""Wheel and sdist: everything that the checkout holds, and a wheel that works away from it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.framework

CHECKOUT = Path(__file__).resolve().parent.parent
HOMES = ("integrations/", "evals/", "lab/")


def run(*command: str | Path, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).parent / "uv"
    finished = run(uv, "build", "--quiet", "--out-dir", folder, CHECKOUT, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder


def environment(built: Path, folder: Path, packages: Path) -> Path:
    """One with the wheel in ``folder``; those packages, and not the checkout, stand behind it."""
    uv = Path(sys.executable).parent / "uv"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, folder],
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", folder / "bin" / "python", *built.glob("*.whl")],
    ):
        finished = run(*command, cwd=folder.parent)
        assert finished.returncode == 0, finished.stderr
    # A plain entry: .pth files of that folder, the editable checkout's among them, are not read.
    (purelib(folder) / "behind.pth").write_text(f"{packages}\n")
    return folder


def purelib(folder: Path) -> Path:
    asked = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(run(folder / "bin" / "python", "-c", asked, cwd=folder).stdout.strip())


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An environment with the wheel and the main one's packages."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    return environment(built, folder, Path(sysconfig.get_path("purelib")))


def tracked():
    listed = run("git", "ls-files", cwd=CHECKOUT)
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    return set(listed.stdout.split("\n")) - {""}


def test_the_wheel_holds_every_file_of_every_package(built):
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = {name for name in tracked() if name.startswith(("pact_plugins/", *HOMES))}
    examples = {f"pact_plugins/{name}" for name in tracked() if name.startswith("examples/")}
    inside = {name.removeprefix(next((home for home in HOMES if name.startswith(home)), "")) for name in packages}
    assert examples
    assert (inside | examples) - names == set()
    extra = {name for name in names - inside - examples if ".dist-info/" not in name}
    assert extra == set()
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert {"pact_plugins/py.typed", "pact_lab/py.typed"} <= names


def test_the_sdist_is_the_checkout(built):
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()} - {""}
    assert tracked() - names == set()
    # Untracked files of the checkout are the developer's own business.
    assert "PKG-INFO" in names
    assert not {name for name in names if name.startswith((".venv", ".import_linter", "runs/"))}


def test_the_wheel_works_away_from_the_checkout(installed, tmp_path):
    where = run(installed / "bin" / "python", "-c", "import pact_lab; print(pact_lab.__file__)", cwd=tmp_path)
    assert str(installed) in where.stdout, where.stderr
    doctor = run(installed / "bin" / "pact", "doctor", cwd=tmp_path)
    assert doctor.returncode == 0, doctor.stderr
    assert "tested" in doctor.stdout
    help_page = run(installed / "bin" / "pact", "--help", cwd=tmp_path)
    for command in ("demo", "eval", "audit", "train", "cache", "compare"):
        assert command in help_page.stdout
    rows = run(installed / "bin" / "pact", "eval", "/nowhere", "-o", "out", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert rows.returncode == 2
    assert "Traceback" not in rows.stderr


@pytest.mark.matrix
def test_the_demo_from_the_wheel(installed, tmp_path):
    demo = run(installed / "bin" / "pact", "demo", "-o", "demo", cwd=tmp_path, HF_HUB_OFFLINE="1")
    assert demo.returncode == 0, demo.stderr
    assert (tmp_path / "demo" / "results.json").is_file()


COMMANDS = {
    "trl": ("-m", "pact_plugins", "train", "trl", "tiny.yaml", "--model_name_or_path", "MODEL"),
    "axolotl": (
        *("-m", "axolotl.cli.main", "train", "tiny_lora.yml"),
        *("--launcher", "python", "--base-model", "MODEL", "--use-cpu", "true"),
    ),
    "llamafactory": ("-m", "pact_plugins", "train", "llamafactory", "tiny.yaml", "model_name_or_path=MODEL"),
}


@pytest.mark.matrix
@pytest.mark.parametrize("framework", COMMANDS)
def test_a_training_from_the_wheel(built, tmp_path, framework):
    packages = Path(sysconfig.get_path("purelib"))
    if framework != "trl":
        if not (CHECKOUT / ".venvs" / framework / "bin" / "python").exists():
            pytest.skip(f"no environment of {framework}: make environments")
        packages = purelib(CHECKOUT / ".venvs" / framework)
    folder = environment(built, tmp_path / "venv", packages)
    written = run(folder / "bin" / "pact", "examples", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    python, where = folder / "bin" / "python", tmp_path / "examples" / framework
    offline = {
        "HF_HUB_OFFLINE": "1",
        "AXOLOTL_DO_NOT_TRACK": "1",
        "PACT_CACHE_PATH": str(tmp_path / "cache"),
        "ACCELERATE_USE_CPU": "true",
    }
    model = run(python, "-m", "pact_plugins", "tiny-world", "path", cwd=where, **offline).stdout.strip()
    assert model.startswith(str(folder))
    command = [part.replace("MODEL", model) for part in COMMANDS[framework]]
    trained = run(python, *command, cwd=where, **offline)
    assert trained.returncode == 0, trained.stdout[-2000:] + trained.stderr[-3000:]
    (output,) = {path.parent for path in (where / "runs").rglob("pact.json")}
    verified = run(python, "-m", "pact_plugins", "verify", output, cwd=where, **offline)
    assert verified.returncode == 0, verified.stdout + verified.stderr
