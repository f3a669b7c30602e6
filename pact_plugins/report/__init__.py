"""What every report of the package is made of."""
