"""Conversations recorded elsewhere, read from files of several formats and captured like reported ones.

`formats` lists what can be read; each reader is pure (lines in, entries and bad lines out), one loader stores them.
"""
