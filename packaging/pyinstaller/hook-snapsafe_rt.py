"""Modules of the table are imported by name, which PyInstaller cannot see."""

from PyInstaller.utils.hooks import collect_submodules

_NOT_NEEDED = ("snapsafe_rt.cli", "snapsafe_rt.manager", "snapsafe_rt.testing", "snapsafe_rt.packaging")
hiddenimports = collect_submodules("snapsafe_rt", filter=lambda name: not name.startswith(_NOT_NEEDED))
