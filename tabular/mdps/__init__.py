"""Decision processes with exact values, and segments of them with labels."""
