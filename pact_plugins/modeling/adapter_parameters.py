"""Which parameters of a model are an adapter's."""

from __future__ import annotations

from collections.abc import Iterator

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import other
from torch import nn

# PEFT before 0.16 has the first alone.
_WRAPPERS = tuple(
    getattr(other, name) for name in ("ModulesToSaveWrapper", "AuxiliaryTrainingWrapper") if hasattr(other, name)
)


def switched_off(model: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters that PEFT takes out of the computation when adapters are disabled."""
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            for name in (*module.adapter_layer_names, *module.other_param_names):
                part = getattr(module, name, None)
                if isinstance(part, nn.Module):
                    yield from part.parameters()
        elif isinstance(module, _WRAPPERS):
            yield from _of_wrapper(module)


def _of_wrapper(wrapper: nn.Module) -> Iterator[nn.Parameter]:
    original = {id(parameter) for parameter in getattr(wrapper, "original_module", nn.Module()).parameters()}
    yield from (parameter for parameter in wrapper.parameters() if id(parameter) not in original)
