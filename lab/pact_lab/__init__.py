"""The laboratory: small worlds, the demo, comparisons and benchmarks. Nothing here is needed to fine-tune."""
