"""PACT for Axolotl: ``plugins: [pact_axolotl.PACTPlugin]``, or ``plugins: pact`` after ``pact enable``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pact_axolotl.axolotl_plugin import PACTPlugin

__all__ = ["PACTPlugin"]


def __getattr__(name: str) -> Any:
    """Import the plugin on demand.

    Raises:
        AttachmentError: it cannot be imported. Not an ImportError: Axolotl 0.19 logs those and trains on.
    """
    if name != "PACTPlugin":
        raise AttributeError(f"module 'pact_axolotl' has no attribute {name!r}")
    try:
        from pact_axolotl.axolotl_plugin import PACTPlugin
    except ImportError as error:
        from pact_plugins.errors import AttachmentError

        raise AttachmentError(f"pact_axolotl.PACTPlugin cannot be imported: {error}") from error
    return PACTPlugin
