"""Reference logits kept on disk by the content of each sequence: computed once, read by every later run."""

from pact_plugins.reference.cache.codec import decode, encode
from pact_plugins.reference.cache.entries import Entry
from pact_plugins.reference.cache.store import ReferenceStore, StoreDescription, hash_of_criterion, hash_of_ids

__all__ = ["Entry", "ReferenceStore", "StoreDescription", "decode", "encode", "hash_of_criterion", "hash_of_ids"]
