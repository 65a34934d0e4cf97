"""One file a step-up method: what is special about it."""
