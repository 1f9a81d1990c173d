"""Links that leave one row: Gramian in, one weight per task out."""
