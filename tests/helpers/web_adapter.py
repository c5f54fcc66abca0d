"""A stand-in for AWS's Lambda Web Adapter 1.1, by its documentation.

An empty POST to each path that its variables name, 60 s at the most; a status that is not 2xx, or no answer, fails the
phase. What clients ask it passes on from the same address, with headers of its own.
"""

import http.client


class Failed(Exception):
    """The phase did, and with it the snapshot or the restore."""


class Adapter:
    def __init__(self, port, environ):
        self.port = port
        self.environ = environ

    def ask(self, method, path, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode().strip()
        except OSError as error:
            raise Failed(str(error)) from None
        finally:
            connection.close()

    def _phase(self, name):
        path = self.environ.get(name)
        if path:
            status, text = self.ask("POST", path)
            if not 200 <= status < 300:
                raise Failed(f"{status}: {text}")

    def before_checkpoint(self):
        self._phase("AWS_LWA_SNAPSTART_BEFORE_CHECKPOINT_PATH")

    def after_restore(self):
        self._phase("AWS_LWA_SNAPSTART_AFTER_RESTORE_PATH")

    def invoke(self, method, path):
        """What a client asked for, by a function's address."""
        told = {"x-amzn-request-context": "{}", "x-amzn-lambda-context": "{}", "x-forwarded-for": "203.0.113.9"}
        return self.ask(method, path, told)
