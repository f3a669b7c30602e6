"""Reference logits kept on disk by the content of each sequence: computed once, read by every later run."""
