"""Runs that are played elsewhere: their cases are fetched, their results come in, the same gate judges them."""
