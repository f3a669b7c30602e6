"""Runs: which models are evaluated, what is stored of them, and judging the stored answers again."""
