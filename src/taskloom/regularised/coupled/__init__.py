"""Ways to solve the linear system of a quadratic coupling, ``H_t a_t + (A Q)_t = r_t`` for all tasks at once."""
