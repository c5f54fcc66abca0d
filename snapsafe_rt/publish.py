"""The public name of the file source: for tests of an application, and for whoever restores without the manager.

A file source is a page that programs watch; its writer moves its generation at each restore.
"""

from snapsafe_rt.source.vmclock_file import FileSource, NotASource, create, publish

__all__ = ["FileSource", "NotASource", "create", "publish"]
