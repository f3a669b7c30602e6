"""``pact demo``: one aligned model, plain fine-tuning and PACT, through the real ``SFTTrainer``."""
