"""PACT for LLaMA-Factory: ``stage: pact`` in its YAML."""
