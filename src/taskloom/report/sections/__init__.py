"""The sections of the page, one file per question that it answers."""
