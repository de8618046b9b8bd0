"""Runs: what is to be done, the stages that do it, and what a run leaves behind."""
