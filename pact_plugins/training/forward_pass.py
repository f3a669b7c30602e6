"""The trainer's own forward pass: what it leaves behind of the decoder's, and who joins it there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pact_plugins.batch.host import begin_copy
from pact_plugins.batch.joined import Seats, joined
from pact_plugins.errors import AttachmentError
from pact_plugins.modeling import AutocastState, forget_compiled
from pact_plugins.modeling.rotary import preserved_rotary_state

# What bookkeeping on the host reads of a forward pass; an attention mask of four dimensions is too large for it.
_BOOKKEEPING = ("input_ids", "attention_mask", "position_ids", "token_type_ids")


class Taken(NamedTuple):
    """One forward pass of the trainer's.

    Attributes:
        inputs: the decoder's keyword arguments, without what joined them.
        hidden_states: (B, L, hidden) its last ones, of the trainer's own rows.
        autocast: the precision.
        joined: (P, hidden) the states that predict the responses of what joined, or None.
    """

    inputs: dict[str, Any]
    hidden_states: Tensor
    autocast: AutocastState
    joined: Tensor | None


class ForwardPass:
    """Two hooks on a decoder; the latest forward pass in training is kept until ``take`` hands it over.

    Nothing is on the decoder before ``attach``, so that it can be copied without a trace of us.

    Attributes:
        joining: from the decoder's keyword arguments to the seats of what joins them; None for nobody.
    """

    def __init__(self, decoder: nn.Module) -> None:
        self._decoder = decoder
        self.joining: Callable[[dict[str, Any]], Seats | None] = _nobody
        self._seats: Seats | None = None
        self._joined: Tensor | None = None
        self._paused = False
        self._inputs: dict[str, Any] | None = None
        self._hidden_states: Tensor | None = None
        self._autocast: AutocastState | None = None
        self._handles: list[Any] = []

    def attach(self) -> None:
        """Put the hooks on."""
        forget_compiled()
        self._handles = [
            self._decoder.register_forward_pre_hook(self._keep_inputs, with_kwargs=True),
            self._decoder.register_forward_hook(self._keep_hidden_states),
        ]

    def detach(self) -> None:
        """Take the hooks off and forget the last forward pass."""
        if self._handles:
            forget_compiled()
        while self._handles:
            self._handles.pop().remove()
        self.joining = _nobody
        self.discard()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A nested forward pass through the same decoder, for the reference, must not replace what is kept."""
        self._paused = True
        try:
            with preserved_rotary_state(self._decoder):
                yield
        finally:
            self._paused = False

    def take(self) -> Taken:
        """The latest forward pass; forgotten here afterwards.

        Raises:
            AttachmentError: the decoder did not run.
        """
        if self._inputs is None or self._hidden_states is None or self._autocast is None:
            raise AttachmentError(
                "the model's forward pass did not go through its decoder module, so its hidden states are unknown; "
                "another patch has replaced the forward pass"
            )
        taken = Taken(self._inputs, self._hidden_states, self._autocast, self._joined)
        self.discard()
        return taken

    def discard(self) -> None:
        """Forget the latest forward pass, and let its graph go."""
        self._inputs = self._hidden_states = self._joined = None

    @torch.compiler.disable
    def _keep_inputs(self, _decoder: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._paused or not torch.is_grad_enabled():
            return None
        names = ("input_ids", "attention_mask", "position_ids")
        self._inputs = {**dict(zip(names, args, strict=False)), **kwargs}
        for name in _BOOKKEEPING:
            value = self._inputs.get(name)
            begin_copy(value if isinstance(value, Tensor) and value.dim() == 2 else None)
        tensor = next((value for value in self._inputs.values() if isinstance(value, Tensor)), None)
        self._autocast = AutocastState.current("cpu" if tensor is None else tensor.device.type)
        self._seats = self.joining(self._inputs)
        return None if self._seats is None else ((), joined(self._inputs, self._seats))

    @torch.compiler.disable
    def _keep_hidden_states(self, _decoder: nn.Module, _args: Any, output: Any) -> Any:
        if self._paused or not torch.is_grad_enabled():
            return None
        seats, self._seats, self._hidden_states = self._seats, None, output[0]
        if seats is None:
            return None
        self._joined, self._hidden_states = seats.responses(output[0]), seats.own_rows(output[0])
        if isinstance(output, tuple):
            return (self._hidden_states, *output[1:])
        output.last_hidden_state = self._hidden_states
        return output


def _nobody(_inputs: dict[str, Any]) -> Seats | None:
    return None
