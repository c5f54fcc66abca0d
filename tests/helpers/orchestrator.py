"""A stand-in for orchestrators that call a program before and after a snapshot: OSEP-0020 of OpenSandbox, OpenKruise's
agents, CubeSandbox, agent-sandbox.

By their texts: an argv without a shell, run in the machine as root with little of an environment and an id of the
operation; seconds that it may take, after which its process group is killed; any exit status but 0 has failed, and with
the policy Abort (the default) the transition is given up, and nothing more is called.
"""

import os
import signal
import subprocess
import uuid
from dataclasses import dataclass


class Aborted(Exception):
    """The transition was given up; `code` is None where the hook took too long."""

    def __init__(self, name, code, said):
        super().__init__(f"{name}: {'timed out' if code is None else f'exit status {code}'}: {said}")
        self.code = code
        self.said = said


@dataclass
class Hook:
    command: list
    timeout: float = 60
    policy: str = "Abort"


class Orchestrator:
    def __init__(self, pre, post, environ):
        self.hooks = {"prePause": pre, "postResume": post}
        self.environ = environ
        self.state = "Running"

    def call(self, name):
        hook = self.hooks[name]
        with subprocess.Popen(
            [str(word) for word in hook.command],
            env={**self.environ, "LIFECYCLE_PHASE": name, "OPERATION_ID": str(uuid.uuid4())},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            text=True,
        ) as process:
            try:
                said, _ = process.communicate(timeout=hook.timeout)
                code = process.returncode
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                said, code = process.communicate()[0], None
        if code != 0 and hook.policy == "Abort":
            raise Aborted(name, code, said)

    def pause(self):
        self.call("prePause")
        self.state = "Paused"

    def resume(self):
        self.call("postResume")
        self.state = "Running"
