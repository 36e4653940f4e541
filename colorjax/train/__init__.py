"""Training: one loop, its stages, and what keeps a run alive and its weights accounted for."""
