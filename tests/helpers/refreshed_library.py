"""For scripts: a library that the restore event alone renews. It is what kombu keeps, without kombu."""

import sys
import types

module = sys.modules["kombu.common"] = types.ModuleType("kombu.common")
exec(compile("_node_id = 1\ndef get_node_id():\n    return _node_id\n", "kombu/common.py", "exec"), vars(module))  # noqa: S102 - as an import does it


def drawn():
    return module.get_node_id()
