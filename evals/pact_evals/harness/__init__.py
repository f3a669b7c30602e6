"""What the task files refer to, and the in-process run: everything that touches lm-eval."""
