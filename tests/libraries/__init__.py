"""The table of libraries that .ci/libraries measures: one function for each, in the files of this folder."""

from . import ids, numeric, python, web
from .listed import LEVELS, TABLE, Library, Surface

__all__ = ["LEVELS", "TABLE", "Library", "Surface", "ids", "numeric", "python", "web"]
