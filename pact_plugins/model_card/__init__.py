"""The model card's section on PACT: what protected a run, written from what the run left."""
