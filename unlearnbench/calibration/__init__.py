"""Calibration: how often a judge is wrong on images of known content, and what a count of its answers is worth."""
