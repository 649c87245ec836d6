"""A report of a server for whoever mends llama.cpp: all that helps, and nothing private."""
