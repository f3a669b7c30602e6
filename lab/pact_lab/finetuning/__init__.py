"""One fine-tuning, as a TRL user would write it."""
