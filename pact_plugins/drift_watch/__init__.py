"""The drift watch: how probable refusals still are while training goes on, and what follows from it."""

from pact_plugins.drift_watch.settings import DriftWatchSettings

__all__ = ["DriftWatchSettings"]
