"""A Python that stays there and does what it is told, for looking at it from outside."""

import json
import os
import subprocess
import sys

from tests.conftest import FOLDER, HELPERS, OPTIONS, PACKAGE

SERVER = """
import json, sys
for line in sys.stdin:
    answer = None
    exec(json.loads(line), globals())
    print(json.dumps(answer), flush=True)
"""


class Living:
    """`living("import ssl")` runs that in it; what it assigns to `answer` comes back."""

    def __init__(self, *, env=None, activated=True, options=(), under=(), **more):
        clean = {name: value for name, value in os.environ.items() if not name.startswith("SNAPSAFE")}
        folders = [FOLDER] if activated else []
        clean["PYTHONPATH"] = os.pathsep.join(map(str, [*folders, PACKAGE.parent, HELPERS]))
        self.process = subprocess.Popen(
            [*under, sys.executable, *(OPTIONS if activated else ()), *options, "-c", SERVER],
            env={**clean, **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            **more,
        )
        self("pass")

    def __call__(self, code):
        self.say(code)
        return self.hear()

    def say(self, code):
        self.process.stdin.write(json.dumps(code) + "\n")
        self.process.stdin.flush()

    def hear(self):
        line = self.process.stdout.readline()
        assert line, f"it ended with status {self.process.wait(10)}"
        return json.loads(line)

    @property
    def pid(self):
        return self.process.pid

    def close(self):
        self.process.kill()
        self.process.wait(10)
        self.process.stdin.close()
        self.process.stdout.close()
