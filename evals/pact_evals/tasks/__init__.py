"""The task files. A package, so that an entry point can name it."""
