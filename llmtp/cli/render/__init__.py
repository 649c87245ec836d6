"""What is drawn, with Rich: functions of results and nothing else."""
