"""Runs that can be stopped: loop, checkpoints, logs, several processes, pretraining."""
