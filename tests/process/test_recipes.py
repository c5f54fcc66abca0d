"""What the documents tell a program to do, done word by word: it works, and what they warn of does not."""

import pytest

DISPOSE = """
    import os, sys, threading, warnings
    import sqlalchemy, sqlalchemy.exc
    import snapsafe_rt
    from restored import settle, until
    from stage import bump
    engine = sqlalchemy.create_engine(sys.argv[2])
    how = {"close": False} if sys.argv[3] == "left" else {}
    snapsafe_rt.register_after_restore(engine.dispose, **how)
    with engine.begin() as c: c.execute(sqlalchemy.text("create table if not exists t (x int)"))
    out = engine.connect()
    old = out.connection.dbapi_connection
    bump()
    assert until(lambda: snapsafe_rt.status().last_event is not None)
    assert not snapsafe_rt.status().last_event["errors"], snapsafe_rt.status().last_event
    out.close()
    with engine.connect() as c: assert c.connection.dbapi_connection is not old
    print("ok")
    sys.exit(3 if sys.argv[3] == "closed" else 0)
"""


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///{}/db"], ids=["memory", "file"])
def test_sqlalchemys_pool_is_left_to_its_threads(run_python, source_file, tmp_path, url):
    """docs/events.md; on the runner, which may not close a connection of another thread."""
    pytest.importorskip("sqlalchemy")
    arguments = (source_file.path, url.format(tmp_path), "left")
    assert run_python(DISPOSE, *arguments, env=source_file.env, options=("-W", "default")) == "ok\n"
    assert not run_python(DISPOSE, *arguments, env=source_file.env, options=("-W", "default"), stream="stderr")


def test_sqlalchemys_pool_closed_by_the_runner_is_an_error(run_python, source_file):
    pytest.importorskip("sqlalchemy")
    said = run_python(DISPOSE, source_file.path, "sqlite://", "closed", env=source_file.env, status=3, stream="stderr")
    assert "ProgrammingError" in said
