"""A new plugin package that works from its first minute; its author replaces the parts."""

from unlearnbench.scaffold.package import KINDS, Kind, new

__all__ = ["KINDS", "Kind", "new"]
