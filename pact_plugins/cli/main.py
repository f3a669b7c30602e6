"""The command group; its commands come from plugins, ours included, through ``register_commands``."""

from __future__ import annotations

import errno
import sys

import click

from pact_plugins.errors import PACTError

_FILE_SYSTEM = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.ENOTDIR}


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pact-plugins")
def cli() -> None:
    """Keep an aligned model's refusals while you fine-tune it."""


def main() -> None:
    """Entry point: an expected error is one message and exit status 2, not a traceback."""
    try:
        from pact_plugins import plugins

        plugins.get_plugin_manager().hook.register_commands(cli=cli)
        cli()
    except PACTError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        # A library that wrote for us: a model's weights, a folder.
        if error.errno not in _FILE_SYSTEM:
            raise
        click.echo(f"Error: {error.filename or 'a file'} cannot be written or read: {error.strerror}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as error:
        from pact_plugins.compatibility import extra_that_brings

        extra = extra_that_brings(error.name or "")
        if extra is None:
            raise
        click.echo(f"Error: {error}; this command needs: pip install 'pact-plugins[{extra}]'", err=True)
        sys.exit(2)
