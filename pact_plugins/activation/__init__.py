"""Short names in the frameworks' stock commands: one ``.pth`` line, an import hook, nothing else.

``pact enable`` writes the line, ``pact disable`` removes it, ``pact doctor`` shows it. This package is imported at
every start of an enabled interpreter, so nothing is imported here.
"""
