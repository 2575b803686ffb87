"""Drawn drivers: a stand-in for the State Farm pictures, in their layout and size, from a seed."""
