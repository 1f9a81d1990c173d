"""Links that wrap a balancing method of another library."""
