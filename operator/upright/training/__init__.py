"""TrainingJob: when to run, the Job of a run, and what became of it."""
