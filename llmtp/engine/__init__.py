"""Finding a llama-server, knowing what its build can do, and a plan's command line."""
