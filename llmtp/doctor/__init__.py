"""What this machine is, what will run on it, and what to type where something is wrong."""
