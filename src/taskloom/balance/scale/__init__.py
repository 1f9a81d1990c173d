"""Links that give every task a factor from its loss: losses in, one number per task out."""
