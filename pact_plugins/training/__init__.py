"""How the term rides on a trainer: responses, reference, the forward pass it shares, receipts, the callback."""

from pact_plugins.training.attachment import Attachment
from pact_plugins.training.callback import PACTCallback
from pact_plugins.training.responses import Responses, find_responses

__all__ = ["Attachment", "PACTCallback", "Responses", "find_responses"]
