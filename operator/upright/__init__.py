"""Upright: trains, versions, serves and, when its metrics degrade, rolls back machine-learning models on Kubernetes."""

__version__ = "0.1.0"
