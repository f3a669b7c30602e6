"""What a micro-batch holds: its responses, its sequences, their prompt-free contexts, the training set behind it."""
