"""A scenario of the natural world through the stock commands of Axolotl and LLaMA-Factory."""
