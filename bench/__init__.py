"""`python -m bench`: times the night and the day here, side by side, and writes the tables of docs/performance.md."""
