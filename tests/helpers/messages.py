"""The messages of the package, read from its source: errors of commands, problems, reasons why something is not
protected. What is put in while it runs is `…`."""

import ast
import re

HOLE = "…"
CALLS = {"Failure", "Silent", "die", "problem", "_sentence"}  # whose first argument is one
NAMES = re.compile(
    r"(^|_)(problems?|why_not|reasons?|refused|doubt|missing|detached|no_source|clears|pex|frozen|not_called|registered)$",
    re.IGNORECASE,
)
LISTS = {"problems", "reasons", "unseen"}
SAYING = {  # functions that return, or collect, nothing else
    *("reasons", "why_not", "_of_python", "_of_command", "_core_for", "_of_source"),
    *("_refusal", "why_kept", "distrust", "_keep"),
}


def template(node):
    """The text of an expression; "" for what has no words."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else HOLE
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left) + template(node.right)
    return HOLE


def texts(node):
    """Each that an expression may be."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp | ast.Dict):
        for one in node.values:
            yield from texts(one)
    elif isinstance(node, ast.Tuple | ast.List):
        for one in node.elts:
            yield from texts(one)
    elif isinstance(node, ast.BinOp) and isinstance(node.right, ast.IfExp):
        for one in texts(node.right):
            yield template(node.left) + one
    else:
        yield template(node)


def said(tree):
    """The expressions of a module that are messages."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            owner = getattr(node.func, "value", None)
            listed = getattr(owner, "attr", getattr(owner, "id", ""))
            if name in CALLS or (name in ("append", "extend") and listed in LISTS):
                yield node.args[0]
        elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = [getattr(one, "attr", getattr(one, "id", "")) for one in targets]
            if any(NAMES.search(name) for name in names):
                yield node.value
        elif isinstance(node, ast.FunctionDef) and node.name in SAYING:
            for one in ast.walk(node):
                if isinstance(one, ast.Return) and one.value is not None:
                    yield one.value
                elif isinstance(one, ast.Call) and getattr(one.func, "attr", "") == "append":
                    yield one.args[0]


def messages(package):
    """{message: name of the file}; those with words of their own."""
    found = {}
    for path in sorted(package.rglob("*.py")):
        for node in said(ast.parse(path.read_text())):
            for text in texts(node):
                if re.search(r"[A-Za-z]+ [A-Za-z]+", text):
                    found.setdefault(" ".join(text.split()), path.relative_to(package).as_posix())
    return found
