"""Conversations: what a chat template writes around an assistant's turns, and where these turns are in token ids."""

from pact_plugins.conversation.asking import ChatQuestion
from pact_plugins.conversation.learning import learn_turns
from pact_plugins.conversation.turns import AssistantTurns

__all__ = ["AssistantTurns", "ChatQuestion", "learn_turns"]
