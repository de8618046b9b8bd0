"""A new plugin package or concept file that works from its first minute; its author replaces the parts."""

from unlearnbench.scaffold.concept import new_concept
from unlearnbench.scaffold.package import KINDS, Kind, new

__all__ = ["KINDS", "Kind", "new", "new_concept"]
