"""packaging/containers/kubernetes.yaml keeps Kubernetes' schema; broken in one place it does not. Writes it as JSON.

pod.py POD.json        with kubernetes-validate, which brings the schemas
"""

import copy
import json
import pathlib
import sys

import kubernetes_validate
import yaml

POD = pathlib.Path(__file__).parents[2] / "packaging/containers/kubernetes.yaml"


def keeps_the_schema(pod: dict) -> str:
    """The version of Kubernetes, or "" if it does not."""
    version = kubernetes_validate.latest_version()
    try:
        kubernetes_validate.validate(pod, version, strict=True)
    except kubernetes_validate.ValidationError:
        return ""
    return version


pod = yaml.safe_load(POD.read_text())
version = keeps_the_schema(pod)
assert version, f"{POD} does not keep the schema"
renamed, mistyped, nameless = (copy.deepcopy(pod) for _ in range(3))
renamed["spec"]["initContainer"] = renamed["spec"].pop("initContainers")
mistyped["spec"]["initContainers"][0]["command"] = "cp -R /bundle/. /snapsafe"
del nameless["spec"]["volumes"][0]["name"]
assert not any(map(keeps_the_schema, (renamed, mistyped, nameless))), "this check finds nothing"
pathlib.Path(sys.argv[1]).write_text(json.dumps(pod))
print(f"images: the pod keeps the schema of Kubernetes {version}")
