"""lm-eval tasks of the small worlds."""
