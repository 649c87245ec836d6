"""A plan as a file for others: each format turns the same command into a text. Pure."""
