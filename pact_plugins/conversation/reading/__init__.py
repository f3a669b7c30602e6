"""From a file or a data set to conversations."""

from pact_plugins.conversation.reading.conversations import Conversation, Turn, UnreadableRowError
from pact_plugins.conversation.reading.formats import read_conversation
from pact_plugins.conversation.reading.sources import Source, open_source

__all__ = ["Conversation", "Source", "Turn", "UnreadableRowError", "open_source", "read_conversation"]
