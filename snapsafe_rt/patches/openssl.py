COVERS = ("ssl",)


def install(module):
    pass


def remove():
    pass


def protection():
    return "not loaded", "stub"
