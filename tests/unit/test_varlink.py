"""The one codec of Varlink, and that cython/connection.c looks for what it writes."""

import json
import os
import re
import socket

import pytest

from snapsafe_rt import varlink
from snapsafe_rt.core import native
from snapsafe_rt.manager import interface
from snapsafe_rt.manager.interface import Call, Error, Reply
from snapsafe_rt.snapshot import announcers

from ..conftest import PACKAGE

OVERFLOW_UID = 65534  # root of outside, in a user namespace


def test_a_call():
    message, rest = varlink.split(varlink.call("Inhibit", {"who": "é\0"}) + b"more")
    assert json.loads(message) == {"method": "org.snapsafe.Manager.Inhibit", "parameters": {"who": "é\0"}}
    assert rest == b"more"
    assert message.isascii()
    assert json.loads(varlink.call("Monitor", more=True)[:-1])["more"] is True


@pytest.mark.parametrize("parameters", [b"", b',"parameters":{}', b',"parameters":null'])
def test_no_parameters(parameters):
    assert varlink.reply(b'{"error":"org.snapsafe.Manager.NotQuiesced"%s}' % parameters) == ("NotQuiesced", {})


def test_replies():
    call = Call("", {}, False, False, None)
    for outcome, expected in ((Reply({"a": [1]}), ("", {"a": [1]})), (Error("a.b.C", d=2), ("C", {"d": 2}))):
        message, rest = varlink.split(interface.encode(call, outcome))
        assert (varlink.reply(message), rest) == (expected, b"")
    assert varlink.reply(b'{"error":""}')[0]
    assert varlink.reply(b'{"error":null}')[0]


@pytest.mark.parametrize("text", [b"", b"[]", b"{", b"\xff", b'{"parameters":[]}', b"[" * 100000, b'"\xed\xa0\x80"'])
def test_malformed(text):
    with pytest.raises(varlink.Malformed):
        varlink.decode(text)


def test_a_message_in_pieces():
    whole, received, found = varlink.call("Ready") * 2, b"", []
    for byte in whole:
        message, received = varlink.split(received + bytes((byte,)))
        found += [] if message is None else [message]
    assert (received, found) == (b"", [varlink.call("Ready")[:-1]] * 2)


def test_what_the_watcher_looks_for():
    """connection.c cannot ask Python: the bytes that it compares are those that are written here."""
    text = (PACKAGE.parent / "cython" / "connection.c").read_text()
    [(searched, length)] = re.findall(r'memmem\(received, first, "((?:\\"|[^"])*)", (\d+)\)', text)
    searched = searched.replace('\\"', '"').encode()
    assert len(searched) == int(length)
    call = Call("", {}, False, False, None)
    assert searched in interface.encode(call, Error("org.snapsafe.Manager.OperationInProgress", state="quiesced"))
    assert searched not in interface.encode(call, Reply({"state": 'an "error" of a state'}))
    ends = set(re.findall(r"memchr\((?:received|answer)[^,]*, '(\\0)'", text))
    assert (ends, varlink.END) == ({"\\0"}, b"\0")


def test_the_greeting_of_a_program():
    """Two calls: connection.c takes the answer to the first for the lock, and the next one for an announcement."""
    greeting = announcers.Manager("why")._greeting
    first, rest = varlink.split(greeting)
    second, rest = varlink.split(rest)
    assert [json.loads(one)["method"].rpartition(".")[2] for one in (first, second)] == ["Inhibit", "Prepare"]
    assert rest == b""


def test_whom_to_believe():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert varlink.credentials(ours) == (os.getpid(), os.getuid())
    assert varlink.trusted(0)
    assert varlink.trusted(os.geteuid())
    assert not varlink.trusted(54321)
    assert not varlink.trusted(54321, outside=True)
    assert varlink.trusted(OVERFLOW_UID) == (os.geteuid() == OVERFLOW_UID)
    assert varlink.trusted(OVERFLOW_UID, outside=True) == native.trusts(OVERFLOW_UID)
