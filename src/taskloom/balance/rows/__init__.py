"""Links that need the task gradients themselves, not only their inner products."""
