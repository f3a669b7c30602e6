"""How far the judges agree with people's labels."""
