"""Recorded runs of published benchmarks, loaded as agents, versions, episodes and outcomes."""
