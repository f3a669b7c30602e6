"""``pact compare``: several methods, several seeds, on the tiny world or on the user's own model and data."""
