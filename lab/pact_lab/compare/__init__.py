"""``pact compare``: several methods, several seeds, on the toy benchmark or on the user's own model and data."""
