"""``python -m pact_plugins`` is the ``pact`` command."""

from pact_plugins.cli import main

if __name__ == "__main__":
    main()
