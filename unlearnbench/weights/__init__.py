"""Weights that were changed elsewhere, as a row of a board."""

from unlearnbench.weights.row import LABEL, WeightsRow, parse_weights
from unlearnbench.weights.source import Source, find_source

__all__ = ["LABEL", "Source", "WeightsRow", "find_source", "parse_weights"]
