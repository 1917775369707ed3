"""Pods: what all that Upright makes have in common (`build`), and what can be read from one (`reading`)."""
