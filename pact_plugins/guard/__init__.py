"""Beyond the term: the gate's weights and the anchor's divergence as pure functions, and the anchors themselves."""

from pact_plugins.guard.anchors import AnchorSet
from pact_plugins.guard.rotation import Draw, drawn_indices
from pact_plugins.guard.vocabulary import reference_divergence, token_cross_entropy
from pact_plugins.guard.weights import row_weights

__all__ = ["AnchorSet", "Draw", "drawn_indices", "reference_divergence", "row_weights", "token_cross_entropy"]
