"""ModelVersion: whether it can be served, and who serves it."""
