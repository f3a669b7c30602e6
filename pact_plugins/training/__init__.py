"""How the term rides on a trainer: responses, reference, the forward pass it shares, receipts, the callback."""

from pact_plugins.batch.responses import Responses, find_responses
from pact_plugins.training.attachment import Attachment
from pact_plugins.training.callback import PACTCallback

__all__ = ["Attachment", "PACTCallback", "Responses", "find_responses"]
