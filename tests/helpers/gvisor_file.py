"""A file with the protocol of gVisor's /proc/gvisor/checkpoint (pkg/sentry/fsimpl/proc/checkpoint.go), served by FUSE.

Opening registers for the next checkpoint; reading blocks until it is over, or fails with EAGAIN if it must not; poll(2)
works. Then it gives the same answer for ever."""

import contextlib
import ctypes
import errno
import os
import select
import struct
import threading

LIBC = ctypes.CDLL(None, use_errno=True)
DETACH = 2  # MNT_DETACH
# linux/fuse.h
LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT = 1, 2, 3, 14, 15, 18, 25, 26
INTERRUPT, POLL, BATCH_FORGET, NOTIFY_POLL = 36, 40, 42, 1
ROOT, FILE = 1, 2
DIRECT_IO = 1


class GvisorFile:
    """Mounted below `folder`. Raises OSError where FUSE cannot be had."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.path = os.path.join(self.folder, "checkpoint")
        self.count = 0
        self.opened = {}  # handle: [the checkpoint that it waits for, its answer]
        self.waiting = {}  # request: handle
        self.polled = {}  # handle: what the kernel calls who polls it
        self.refuses = False  # to be opened
        self.changed = threading.Condition()
        self.fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self.fd},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
        if LIBC.mount(b"gvisor", self.folder.encode(), b"fuse", 0, options.encode()):
            code = ctypes.get_errno()
            os.close(self.fd)
            raise OSError(code, os.strerror(code), "fuse")
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self):
        LIBC.umount2(self.folder.encode(), DETACH)
        self.checkpoint(b"error\n")  # nobody waits for ever
        self.thread.join(30)  # another test forks
        os.close(self.fd)

    def checkpoint(self, answer):
        """One is over. Returns how many opens it answered."""
        with self.changed:
            self.count += 1
            due = [one for one in self.opened.values() if not one[1] and one[0] <= self.count]
            for one in due:
                one[1] = answer
            for request, handle in list(self.waiting.items()):
                if self.opened[handle][1]:
                    self._reply(request, self.opened[handle][1])
                    del self.waiting[request]
            for handle, kernels in list(self.polled.items()):
                if self.opened.get(handle, (0, b"gone"))[1]:
                    os.write(self.fd, struct.pack("<IiQQ", 24, NOTIFY_POLL, 0, kernels))
                    del self.polled[handle]
        return len(due)

    def wait_for_reader(self):
        """Until somebody waits for the next checkpoint."""
        with self.changed:
            assert self.changed.wait_for(lambda: self.waiting or self.polled, 30), "nobody waits"

    def wait_for_nobody(self):
        """Until all have closed it: the kernel tells of that later."""
        with self.changed:
            assert self.changed.wait_for(lambda: not self.opened, 30), "somebody has it open"

    def _reply(self, request, body=b"", error=0):
        with contextlib.suppress(OSError):  # who asked is gone
            os.write(self.fd, struct.pack("<IiQ", 16 + len(body), -error, request) + body)

    def _serve(self):
        while True:
            try:
                message = os.read(self.fd, 1 << 18)
            except OSError as failure:
                if failure.errno in (errno.EINTR, errno.ENOENT, errno.EAGAIN):
                    continue
                return  # unmounted
            _, operation, request, node = struct.unpack_from("<IIQQ", message)
            with self.changed:
                self._answer(operation, request, node, message[40:])
                self.changed.notify_all()

    def _answer(self, operation, request, node, body):
        if operation == INIT:
            self._reply(request, struct.pack("<IIIIHHIIHHI28x", 7, 31, 0, 0, 0, 0, 4096, 1, 0, 0, 0))
        elif operation == LOOKUP and body.rstrip(b"\0") == b"checkpoint":
            self._reply(request, struct.pack("<QQQQII", FILE, 0, 0, 0, 0, 0) + self._attributes(FILE))
        elif operation == GETATTR:
            self._reply(request, struct.pack("<QII", 0, 0, 0) + self._attributes(node))
        elif operation == OPEN and self.refuses:
            self._reply(request, error=errno.EIO)
        elif operation == OPEN:
            self.opened[request] = [self.count + 1, b""]
            self._reply(request, struct.pack("<QII", request, DIRECT_IO, 0))
        elif operation == READ:
            handle, offset, flags = struct.unpack_from("<QQ16xI", body)
            answer = self.opened[handle][1]
            if answer:
                self._reply(request, answer[offset:])
            elif flags & os.O_NONBLOCK:
                self._reply(request, error=errno.EAGAIN)
            else:
                self.waiting[request] = handle
        elif operation == POLL:
            handle, kernels = struct.unpack_from("<QQ", body)
            if not self.opened[handle][1]:
                self.polled[handle] = kernels
            self._reply(request, struct.pack("<II", select.POLLIN if self.opened[handle][1] else 0, 0))
        elif operation == INTERRUPT:
            interrupted = struct.unpack_from("<Q", body)[0]
            if self.waiting.pop(interrupted, None) is not None:
                self._reply(interrupted, error=errno.EINTR)
        elif operation in (RELEASE, FLUSH):
            if operation == RELEASE:
                self.opened.pop(struct.unpack_from("<Q", body)[0], None)
                self.polled.pop(struct.unpack_from("<Q", body)[0], None)
            self._reply(request)
        elif operation not in (FORGET, BATCH_FORGET):
            self._reply(request, error=errno.ENOENT if operation == LOOKUP else errno.ENOSYS)

    @staticmethod
    def _attributes(node):
        mode = 0o40755 if node == ROOT else 0o100444
        return struct.pack("<6Q10I", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, os.getuid(), os.getgid(), 0, 4096, 0)
