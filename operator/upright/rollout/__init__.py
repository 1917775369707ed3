"""Deployment: which version gets how much traffic, what the evidence says of it, and the objects that make it so."""
