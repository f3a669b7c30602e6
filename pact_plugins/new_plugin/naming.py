"""The one name that a user chooses, and the names that follow from it."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec

from pact_plugins.errors import ConfigurationError
from pact_plugins.new_plugin.kinds import Kind
from pact_plugins.plugins import get_plugin_manager
from pact_plugins.visible import shortly

# As packaging tools take them, and short enough for a file's name with something behind it.
_DISTRIBUTION = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,58}[A-Za-z0-9])?")
# The folder of its tests stands beside the package.
_OWN_FOLDERS = ("tests", "test")


@dataclass(frozen=True)
class Names:
    """What the files of a new plugin call it.

    Attributes:
        distribution: as given; what ``pip`` calls it.
        module: the package in Python, and what it registers in a configuration.
        command: a word of the command line.
    """

    distribution: str
    module: str
    command: str

    @classmethod
    def of(cls, name: str) -> Names:
        """The names that follow from ``name``.

        Raises:
            ConfigurationError: it cannot be the name of a package.
        """
        if not _DISTRIBUTION.fullmatch(name):
            raise ConfigurationError(
                f"NAME: {shortly(name)} cannot be a package's name: up to 60 letters and digits, with single - . or _ "
                "between them"
            )
        module = re.sub(r"[-_.]+", "_", name).lower()
        if not module.isidentifier() or keyword.iskeyword(module) or module in _OWN_FOLDERS:
            raise ConfigurationError(
                f"NAME: {name} would give a module called {module}, which Python cannot import, or which its tests "
                "would hide; begin with a letter and choose a longer name"
            )
        return cls(name, module, module.replace("_", "-"))

    def check_free(self, kinds: Iterable[Kind]) -> None:
        """See that nothing that is installed has these names: two of one name would stop every command.

        Raises:
            ConfigurationError: names what is there.
        """
        if get_plugin_manager().has_plugin(self.module):
            raise ConfigurationError(f"NAME: a plugin called {self.module} is installed already; choose another name")
        spec = find_spec(self.module)
        # A folder without code, such as the one that an earlier try was unpacked in, hides nothing.
        if spec is not None and spec.origin is not None:
            raise ConfigurationError(f"NAME: the module {self.module} is there already ({spec.origin}); choose another")
        for kind in kinds:
            name = self.command if kind.name == "command" else self.module
            if name in kind.registered():
                raise ConfigurationError(f"NAME: the {kind.name} {name} is there already; choose another name")
