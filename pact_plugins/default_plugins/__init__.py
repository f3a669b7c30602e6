"""What ships with the package, registered through the same hooks as a stranger's package."""
