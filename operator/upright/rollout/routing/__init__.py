"""How do requests get to the versions? One module for each answer, by the name that `rollout.traffic` has for it."""
