"""The shell around the pure core: everything that is read from or written to the Kubernetes API goes through here."""
