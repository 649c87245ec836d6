"""What this machine has: devices, their memory, RAM and CPU. Knows nothing of models."""
