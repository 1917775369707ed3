"""What runs? One module for each answer, by the name that `spec.mode` has for it."""
