"""A scenario of the real model through the stock commands of Axolotl and LLaMA-Factory."""
