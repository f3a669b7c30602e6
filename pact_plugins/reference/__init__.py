"""The frozen aligned reference: online (adapter off, frozen copy), from the cache, and the aligned model behind it."""
