COVERS = ("sqlite3",)


def install(module):
    pass


def remove():
    pass


def protection():
    return "not loaded", "stub"
