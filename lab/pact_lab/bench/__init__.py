"""``pact bench``: what PACT costs, in paired ratios to plain fine-tuning with the same trainer, data and seeds."""
