"""Modules of the table are imported by name, which PyInstaller cannot see. What only programs import is left to them:
it would bring OpenTelemetry, botocore and more into each bundle, where they happen to be installed."""

from PyInstaller.utils.hooks import collect_submodules

_NOT_NEEDED = (
    *("snapsafe_rt.__main__", "snapsafe_rt.cli", "snapsafe_rt.manager", "snapsafe_rt.testing", "snapsafe_rt.packaging"),
    *("snapsafe_rt.recipes", "snapsafe_rt.telemetry", "snapsafe_rt.webhooks"),
)
hiddenimports = collect_submodules("snapsafe_rt", filter=lambda name: not name.startswith(_NOT_NEEDED))
