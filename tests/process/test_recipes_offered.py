"""snapsafe_rt.recipes: what each of them touches, what it leaves alone, and what it raises."""

import importlib.util

import pytest

pytestmark = pytest.mark.any_python

STAGE = """
    import os, socket, sys
    import snapsafe_rt
    from snapsafe_rt import recipes
    from restored import in_child, children_end, restore
    from stage import error

    def ended(sock):
        sock.settimeout(0)
        try:
            return sock.recv(1) == b""
        except BlockingIOError:
            return False

    def pair(family=socket.AF_INET, host="127.0.0.1"):
        listener = socket.create_server((host, 0), family=family)
        client = socket.create_connection(listener.getsockname()[:2])
        return client, listener.accept()[0], listener
"""


def run(run_python, source_file, script, *arguments, **more):
    return run_python(STAGE + script, source_file.path, *arguments, env=source_file.env | more.pop("env", {}), **more)


@pytest.mark.parametrize("watch", ["1", "0"], ids=["runner", "check"])
def test_connections_that_were_opened_end(run_python, source_file, watch):
    script = """
    client, server, listener = pair()
    unix, datagram = socket.socketpair(), socket.socket(type=socket.SOCK_DGRAM)
    datagram.connect(("127.0.0.1", 9))
    idle = socket.socket()
    snapsafe_rt.register_after_restore(int)  # one that stays
    callback = recipes.connections(local=True)
    assert restore() == []
    assert ended(client) and not ended(unix[0]) and listener.accept
    socket.create_connection(listener.getsockname()).close()
    assert os.fstat(client.fileno())  # still its owner's
    assert idle.connect_ex(listener.getsockname()) == 0
    datagram.send(b"x")
    assert restore() == [] and ended(idle)
    assert snapsafe_rt.unregister(callback)
    client, server, listener = pair()
    assert restore() == [] and not ended(client)
    """
    run(run_python, source_file, script, env={"SNAPSAFE_WATCH": watch}, options=("-W", "ignore"))


def test_what_is_near_or_was_accepted_is_left_alone(run_python, source_file):
    """Its peer was restored as well; or the request that calls check() came by it."""
    script = """
    recipes.connections()
    near = [pair()]
    if socket.has_dualstack_ipv6():
        near.append(pair(socket.AF_INET6, "::1"))
    assert restore() == []
    assert not any(ended(end) for client, server, _ in near for end in (client, server))
    recipes.connections(local=True)
    if (pid := os.fork()) == 0:  # who has the accepted ends alone, and no listener
        for client, _, listener in near:
            client.close(), listener.close()
        os._exit(bool(restore() or any(ended(server) for _, server, _ in near)))
    assert children_end([pid]) == [0]
    """
    run(run_python, source_file, script, env={"SNAPSAFE_WATCH": "0"}, options=("-W", "ignore"))


def test_nobodys_socket_is_made_non_blocking(run_python, source_file):
    """An object for a socket of a default timeout makes it so, for all who have it open."""
    script = """
    import _socket
    client, server, listener = pair()
    ends = [*socket.socketpair(), client, server, listener, socket.socket(type=socket.SOCK_DGRAM)]
    def blocking():
        return [os.get_blocking(end.fileno()) for end in ends]
    recipes.connections(local=True)
    socket.setdefaulttimeout(5)
    assert restore() == [] and ended(client)
    client.settimeout(None)
    assert blocking() == [True] * 6, blocking()
    _socket.socket(fileno=os.dup(ends[0].fileno())).close()
    assert blocking() == [False, *[True] * 5], "the twin: an object made without a word does"
    """
    run(run_python, source_file, script, options=("-W", "ignore"))


def test_who_waits_for_an_answer_is_woken(run_python, source_file):
    script = """
    import threading
    client, server, listener = pair()
    recipes.connections(local=True)
    got = []
    thread = threading.Thread(target=lambda: got.append(client.recv(1)))
    thread.start()
    assert restore() == []
    thread.join()
    assert got == [b""]
    """
    run(run_python, source_file, script, options=("-W", "ignore"))


def test_a_loop_sees_the_ends_before_acheck_returns(run_python, source_file):
    script = """
    import asyncio
    async def main():
        recipes.connections(local=True)
        server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        from stage import bump
        bump()
        await snapsafe_rt.acheck()
        print(reader.at_eof())
        writer.close()
        server.close()
    asyncio.run(main())
    """
    assert run(run_python, source_file, script, options=("-W", "ignore")) == "True\n"


def test_the_environment_is_read_again(run_python, source_file, tmp_path):
    script = """
    path = sys.argv[2]
    def write(text):
        with open(path, "w") as file:
            file.write(text)
    def found():
        return {name: value for name, value in os.environ.items() if name.startswith("X_")}
    write("# of this clone\\n\\nX_ONE=1=1\\nX_TWO='a b'\\n")
    os.environ["X_OURS"] = "kept"
    recipes.environment(path)
    assert found() == {"X_ONE": "1=1", "X_TWO": "a b", "X_OURS": "kept"}, found()
    write('X_ONE=2\\nX_THREE=""\\n')
    assert restore() == []
    assert found() == {"X_ONE": "2", "X_THREE": "", "X_OURS": "kept"}, found()
    for wrong in ("X_ONE=3\\nsecret\\n", "X-ONE=secret", "=secret", "X_ONE=sec\\0ret"):
        write(wrong)
        [raised] = restore()
        assert isinstance(raised, ValueError) and "secret" not in str(raised) and path in str(raised), raised
        assert found() == {"X_ONE": "2", "X_THREE": "", "X_OURS": "kept"}, found()
    os.unlink(path)
    [raised] = restore()
    assert isinstance(raised, FileNotFoundError)
    assert "FileNotFoundError" in error(recipes.environment, path)
    """
    run(run_python, source_file, script, tmp_path / "settings", env={"SNAPSAFE_WATCH": "0"})


@pytest.mark.parametrize("wrong", ["secr\u20act".encode(), b"secr\xfft"], ids=["not of this encoding", "not utf-8"])
def test_what_cannot_be_encoded_changes_nothing(run_python, source_file, tmp_path, wrong):
    path = tmp_path / "settings"
    path.write_bytes(b"X_ONE=1\n")
    path.with_suffix(".new").write_bytes(b"# a comment\nX_ONE=2\nX_TWO=" + wrong + b"\n")
    script = """
    path = sys.argv[2]
    recipes.environment(path)
    os.replace(path + ".new", path)
    [raised] = restore()
    assert type(raised) is ValueError and f"{path}, line 3" in str(raised) and "secr" not in str(raised), ascii(raised)
    assert raised.__suppress_context__
    assert os.environ["X_ONE"] == "1" and "X_TWO" not in os.environ
    try:
        os.environ.update({"X_ONE": "2", "X_TWO": chr(0x20AC)})
    except UnicodeEncodeError:
        assert os.environ["X_ONE"] == "2", "the twin: os.environ is changed one by one"
    """
    ascii_only = {"SNAPSAFE_WATCH": "0", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    run(run_python, source_file, script, path, env=ascii_only)


def test_credentials_of_the_environment_are_read_again(run_python, source_file, tmp_path):
    if importlib.util.find_spec("boto3") is None:
        pytest.skip("boto3 is not installed: .ci/companions runs this with it")
    script = """
    import boto3, botocore.session
    path = sys.argv[2]
    def write(key):
        with open(path, "w") as file:
            file.write(f"AWS_ACCESS_KEY_ID={key}\\nAWS_SECRET_ACCESS_KEY=s\\nAWS_SESSION_TOKEN=t{key}\\n")
    write("A")
    recipes.environment(path)
    sessions = boto3.Session(), botocore.session.get_session()
    kept = [session.get_credentials() for session in sessions]
    twin = boto3.Session().get_credentials()
    for session in sessions:
        recipes.botocore(session)
    write("B")
    assert (raised := restore()) == [], raised
    assert [(one.access_key, one.token) for one in kept] == [("B", "tB")] * 2, kept
    assert (twin.access_key, twin.token) == ("A", "tA")
    write("C")
    with open(path, "w") as file:
        pass
    assert [type(one).__name__ for one in restore()] == ["NoCredentialsError"] * 2
    assert error(recipes.botocore, 5) == "TypeError: a session of boto3 or botocore is needed, not int"
    """
    env = {"SNAPSAFE_WATCH": "0", "AWS_EC2_METADATA_DISABLED": "true", "HOME": str(tmp_path)}
    run(run_python, source_file, script, tmp_path / "settings", env=env, options=("-W", "ignore"), dev=False)


def test_nothing_is_imported_before_it_is_called(run_python, source_file):
    script = """
    new = {name.partition(".")[0] for name in sys.modules}
    assert not new & {"botocore", "boto3", "datetime"}, new
    """
    run(run_python, source_file, script, options=("-S",), dev=False)
