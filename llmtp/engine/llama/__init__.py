"""llama-server: finding it, what its build can do, its command line, and what its words mean."""
