"""The laboratory: toy benchmarks, the demo, comparisons and benchmarks. Nothing here is needed to fine-tune."""
