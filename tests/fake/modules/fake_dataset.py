from unlearnbench.testing.fakes import Letters

__all__ = ["Letters"]
