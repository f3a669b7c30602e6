"""The command group; its commands come from plugins, ours included, through ``register_commands``."""

from __future__ import annotations

import errno
import sys

import click

from pact_plugins.cli.interruption import Interrupted
from pact_plugins.cli.streams import plain_where_nobody_watches
from pact_plugins.errors import ConfigurationError, PACTError
from pact_plugins.messages import finish_bars

_INTERRUPTED = 130  # 128 and the number of the signal, as shells count

_FILE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR}


# Of pact-lab, whose own plugin registers them; here so that their names lead somewhere without it.
_OF_THE_LAB = {"demo", "compare", "bench", "tiny-world", "natural-world"}


class _Commands(click.Group):
    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """As click finds it; a command of the laboratory's that is not there names the package to install."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in _OF_THE_LAB and not ctx.resilient_parsing:
            raise ConfigurationError(f"`pact {cmd_name}` comes with the package pact-lab: pip install pact-lab")
        return found


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="pact-plugins")
def cli() -> None:
    """Keep an aligned model's refusals while you fine-tune it.

    \b
    Examples:
      pact demo                                     # see it work, in some minutes (pip install pact-lab)
      pact audit org/model data.jsonl               # before training
      pact train trl config.yaml                    # or axolotl, llamafactory
      pact enable                                   # before the frameworks' own commands, for plugins: pact
      pact eval aligned=org/model tuned=out         # after training
      pact check runs/eval && echo "refusals kept"

    Tab completion for bash (zsh, fish alike): eval "$(_PACT_COMPLETE=bash_source pact)"
    """


def main() -> None:
    """Entry point: an expected error is one message and exit status 2, not a traceback; so is Ctrl-C, with 130."""
    with plain_where_nobody_watches():
        status = _status()
    sys.exit(status)


def _status() -> int:
    try:
        from pact_plugins import plugins

        plugins.get_plugin_manager().hook.register_commands(cli=cli)
        # Its own way of ending says "Aborted!", whatever was kept.
        status = cli.main(prog_name="pact", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except Interrupted as stopped:
        return _said(str(stopped), _INTERRUPTED)
    except (KeyboardInterrupt, click.Abort):
        return _said("Interrupted.", _INTERRUPTED)
    except click.ClickException as error:
        finish_bars()
        error.show()
        return error.exit_code
    except PACTError as error:
        return _said(f"Error: {error}", 2)
    except OSError as error:
        # A library that wrote for us: a model's weights, a folder.
        if error.errno not in _FILE_SYSTEM:
            raise
        return _said(f"Error: {error.filename or 'a file'} cannot be written or read: {error.strerror}", 2)
    except ModuleNotFoundError as error:
        from pact_plugins.compatibility import what_brings

        package = what_brings(error.name or "")
        if package is None:
            raise
        return _said(f"Error: {error}; this command needs: pip install '{package}'", 2)


def _said(line: str, status: int) -> int:
    finish_bars()
    click.echo(line, err=True)
    return status
