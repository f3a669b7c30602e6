"""Tiny models, tokenizers and trainers that several test rooms share."""
