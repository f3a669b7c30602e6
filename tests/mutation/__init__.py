"""Do the tests hold what protects? One changed operator, constant or statement at a time, in seven modules."""
