def test_it():
    """Does pytest-forked work with this pytest?"""
