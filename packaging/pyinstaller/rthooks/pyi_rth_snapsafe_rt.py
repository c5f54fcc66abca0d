"""Runs before the frozen program: what sitecustomize does elsewhere."""

from snapsafe_rt.activation import from_site

from_site()
