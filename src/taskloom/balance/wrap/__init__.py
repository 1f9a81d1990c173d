"""Links that act on another link or balancer."""
