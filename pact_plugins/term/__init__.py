"""The term: confidence on safety-related tokens, held to the reference's at every response token."""
