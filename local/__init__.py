"""Stand-ins for RDS and S3 on one machine, sample logs, and the demo."""
