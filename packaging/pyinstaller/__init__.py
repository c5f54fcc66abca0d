"""For PyInstaller: a program that is frozen with `--hidden-import snapsafe_rt` activates itself when it starts.

PyInstaller finds this by the entry point "pyinstaller40":
https://pyinstaller.org/en/stable/hooks.html#provide-hooks-with-package
"""

import os


def hook_dirs() -> list[str]:
    return [os.path.dirname(os.path.abspath(__file__))]
