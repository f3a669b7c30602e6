"""Wheels and sdists: everything that the checkout holds, and wheels that work away from it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.framework

CHECKOUT = Path(__file__).resolve().parent.parent
HOMES = ("integrations/", "evals/")
# What a callback does not need, and no test may find by accident.
LEFT_OUT = ("pact_", "_pact_", "_editable_", "matplotlib", "rich", "scipy", "lm_eval", "trl")


def run(*command: str | Path, cwd: Path, given: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | variables
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    uv = Path(sys.executable).parent / "uv"
    for project in (CHECKOUT, CHECKOUT / "lab"):
        finished = run(uv, "build", "--quiet", "--out-dir", folder, project, cwd=folder)
        assert finished.returncode == 0, finished.stderr
    return folder


def environment(built: Path, folder: Path, packages: Path, wheels: str = "*.whl") -> Path:
    """One with those wheels in ``folder``; the packages, and not the checkout, stand behind them."""
    uv = Path(sys.executable).parent / "uv"
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, folder],
        [uv, "pip", "install", "--quiet", "--no-deps", "--python", folder / "bin" / "python", *built.glob(wheels)],
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
    """An environment with both wheels and the main one's packages."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    return environment(built, folder, Path(sysconfig.get_path("purelib")))


@pytest.fixture(scope="module")
def core_alone(built, tmp_path_factory):
    """An environment with pact-plugins, and behind it the main one's packages without those of the extras."""
    folder = tmp_path_factory.mktemp("core")
    behind = folder / "packages"
    behind.mkdir()
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(LEFT_OUT):
            (behind / package.name).symlink_to(package)
    return environment(built, folder / "venv", behind, "pact_plugins-*.whl")


def tracked():
    listed = run("git", "ls-files", cwd=CHECKOUT)
    if listed.returncode != 0:
        pytest.skip("no git checkout")
    return set(listed.stdout.split("\n")) - {""}


def names_in(built: Path, package: str) -> set[str]:
    (wheel,) = built.glob(f"{package}-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheels_hold_every_file_of_every_package(built):
    packages = {name for name in tracked() if name.startswith(("pact_plugins/", *HOMES))}
    inside = {name.removeprefix(next((home for home in HOMES if name.startswith(home)), "")) for name in packages}
    inside |= {f"pact_plugins/{name}" for name in tracked() if name.startswith("examples/")}
    laboratory = {name.removeprefix("lab/") for name in tracked() if name.startswith("lab/pact_lab/")}
    for package, expected in (("pact_plugins", inside), ("pact_lab", laboratory)):
        names = names_in(built, package)
        assert {name for name in names if ".dist-info/" not in name} == expected
        assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
        assert {f"{name.split('/')[0]}/py.typed" for name in expected} <= names


def test_what_everybody_installs_is_small(built):
    (wheel,) = built.glob("pact_plugins-*.whl")
    assert wheel.stat().st_size < 600_000


def test_one_version(built):
    versions = {file.name.split("-")[1].removesuffix(".tar.gz") for file in (*built.glob("*.whl"), *built.glob("*.gz"))}
    assert len(versions) == 1
    wanted = tomllib.loads((CHECKOUT / "lab" / "pyproject.toml").read_text())["project"]["dependencies"][0]
    assert wanted == f"pact-plugins[trl,eval]=={versions.pop()}"


def test_the_sdists_are_the_checkout(built):
    # Untracked files of the checkout are the developer's own business.
    for package in ("pact_plugins", "pact_lab"):
        (archive,) = built.glob(f"{package}-*.tar.gz")
        with tarfile.open(archive) as opened:
            names = {name.partition("/")[2] for name in opened.getnames()} - {""}
        laboratory = {name.removeprefix("lab/") for name in tracked() if name.startswith("lab/")}
        expected = laboratory if package == "pact_lab" else tracked() - {f"lab/{name}" for name in laboratory}
        assert expected - names == set()
        assert "PKG-INFO" in names
        assert not {name for name in names if name.startswith((".venv", ".import_linter", "runs/"))}


def test_the_core_alone(core_alone, tmp_path):
    """Nothing that belongs to an extra is there: the callback imports, and commands name what they lack."""
    pact, python = core_alone / "bin" / "pact", core_alone / "bin" / "python"
    imported = run(
        python, "-c", "from pact_plugins import PACTCallback, PACTConfig; PACTCallback(PACTConfig())", cwd=tmp_path
    )
    assert imported.returncode == 0, imported.stderr
    for command in ("--help", "doctor", "plugins", "config"):
        said = run(pact, command, cwd=tmp_path)
        assert (said.returncode, said.stderr) == (0, ""), command
    (tmp_path / "config.yaml").write_text("model_name_or_path: org/model\noutput_dir: out\n")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "p", "completion": "c"}\n')
    missing = {
        ("demo",): "pip install pact-lab",
        ("natural-world", "path"): "pip install pact-lab",
        ("audit", "org/model", "rows.jsonl", "--html", "a.html"): "pip install 'pact-plugins[report]'",
        ("train", "trl", "config.yaml"): "pip install 'pact-plugins[trl]'",
        ("eval", "org/model"): "pip install 'pact-plugins[eval]'",
    }
    for arguments, advice in missing.items():
        said = run(pact, *arguments, cwd=tmp_path)
        assert said.returncode == 2, arguments
        assert advice in said.stderr, said.stderr
        assert len(said.stderr.splitlines()) == 1, said.stderr


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
@pytest.mark.parametrize("extras", ["trl,eval", "axolotl,eval", "llamafactory,eval", "natural"])
def test_what_an_installer_takes_without_a_lock(built, tmp_path, extras):
    """Resolved for the wheels alone, as a user's installer does: the tables of lm-eval keep their headings."""
    uv = Path(sys.executable).parent / "uv"
    wheel = next(built.glob("pact_lab-*.whl" if extras == "natural" else "pact_plugins-*.whl"))
    wanted = f"{wheel.name.split('-')[0]}[{extras}] @ {wheel.as_uri()}"
    resolved = run(
        uv,
        "pip",
        "compile",
        "--quiet",
        "--find-links",
        built,
        "--python-version",
        "3.12",
        "-",
        cwd=tmp_path,
        given=wanted,
    )
    if "failed to fetch" in resolved.stderr.lower():
        pytest.skip("no package index")
    assert resolved.returncode == 0, resolved.stderr
    versions = dict(re.findall(r"^([\w-]+)==(\d+(?:\.\d+)*)", resolved.stdout, re.MULTILINE))
    assert int(versions["pytablewriter"].split(".")[0]) >= 1
    for extra in extras.split(","):
        assert {
            "trl": "trl",
            "axolotl": "axolotl",
            "llamafactory": "llamafactory",
            "eval": "lm-eval",
            "natural": "gguf",
        }[extra] in versions


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
