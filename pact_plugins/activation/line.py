"""The one line in site-packages that installs the hook when Python starts."""

from __future__ import annotations

import os
import site
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pact_plugins.errors import ActivationError
from pact_plugins.files import write_text

# Files are read in alphabetical order: it has to come after the one that an editable installation puts there.
FILE_NAME = "pact_plugins_activation.pth"

_BEGIN = 'import sys; exec("try:\\n    from pact_plugins.activation import hook\\n    hook.install('
_END = ')\\nexcept Exception:\\n    pass")\n'


def line(targets: Mapping[str, str]) -> str:
    """The start-up line: one line that begins with "import". Where the package is gone, or broken, it does
    nothing.

    The targets stand in it, so that nothing has to be looked up when Python starts.
    """
    return _BEGIN + repr(dict(sorted(targets.items()))) + _END


def site_folders() -> list[Path]:
    """The folders whose ``.pth`` files this interpreter reads at start."""
    folders = [Path(folder) for folder in site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        folders.append(Path(site.getusersitepackages()))
    return folders


def target_folder() -> Path:
    """Where the line belongs: beside the installed package, else into the interpreter's own site-packages."""
    folders = site_folders()
    try:
        beside = Path(str(distribution("pact-plugins").locate_file("")))
    except PackageNotFoundError:
        beside = None
    if beside is not None and any(beside.resolve() == folder.resolve() for folder in folders):
        return beside
    return Path(sysconfig.get_path("purelib"))


def written_in() -> list[Path]:
    """Every file that holds the line, in the folders that this interpreter reads."""
    return [file for folder in site_folders() if (file := folder / FILE_NAME).is_file()]


def is_current(file: Path, targets: Mapping[str, str]) -> bool:
    """Whether the file holds today's line: another version, or a plugin installed since, would write another one."""
    return file.is_file() and file.read_text(encoding="utf-8") == line(targets)


def write(targets: Mapping[str, str], folder: Path | None = None) -> tuple[Path, bool]:
    """Write the line; returns the file, and whether anything had to be written.

    Raises:
        ActivationError: the folder is not writable.
    """
    file = (folder or target_folder()) / FILE_NAME
    try:
        if is_current(file, targets):
            return file, False
        write_text(file, line(targets))
    except OSError as error:
        raise ActivationError(
            f"{file.parent} is not writable ({error.strerror}): `pact enable` puts one file there. Use a virtual "
            "environment of your own, or do without: plugins: [pact_axolotl.PACTPlugin], pact train llamafactory, "
            'lm_eval --include_path "$(pact tasks-path)"'
        ) from error
    return file, True


def remove() -> list[Path]:
    """Remove the line wherever this interpreter would read it; returns the files that are gone.

    Raises:
        ActivationError: a file cannot be removed.
    """
    removed = []
    for file in written_in():
        try:
            file.unlink()
        except OSError as error:
            raise ActivationError(f"{file} cannot be removed ({error.strerror})") from error
        removed.append(file)
    return removed


def works_at_start() -> bool:
    """Start this interpreter once more and see whether it has the hook."""
    program = "import sys; sys.exit('pact_plugins.activation.hook' not in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "PACT_DISABLE"}
    return subprocess.run([sys.executable, "-c", program], env=environment, check=False).returncode == 0
