"""Loading a model for the command line, with errors in one line."""

from __future__ import annotations

from typing import Any

from pact_plugins.errors import ConfigurationError


def load_model(path: str, *, device: str, dtype: str = "auto", revision: str | None = None) -> tuple[Any, Any]:
    """A causal language model in evaluation mode on ``device``, and its tokenizer.

    Raises:
        ConfigurationError: it cannot be loaded, or not be moved to the device.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pact_plugins.modeling.loading import why_not_loaded

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        model: Any = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, revision=revision)
    except Exception as error:  # a damaged file is an error of whichever library reads it
        raise ConfigurationError(f"MODEL: {path} cannot be loaded: {why_not_loaded(path, error)}") from error
    try:
        return model.to(device).eval(), tokenizer
    except (RuntimeError, AssertionError) as error:  # torch raises either for a device that it lacks
        raise ConfigurationError(f"--device: {device} cannot be used: {str(error).splitlines()[0]}") from error
