"""lm-eval tasks of the toy benchmarks."""
