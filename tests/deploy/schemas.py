"""Validates objects against Kubernetes' published schemas, which the package kubernetes-validate
contains. Unknown fields are errors."""

import functools
import json
import pathlib
import re

import jsonschema
import kubernetes_validate
import referencing

DIRECTORY = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
VERSIONS = [f"1.{minor}" for minor in range(30, 37)]
# Kinds of other projects, which no package has schemas of.
FOREIGN = {"PodMonitor", "PrometheusRule"}


@functools.cache
def _directory(version):
    [found] = DIRECTORY.glob(f"v{version}.*-local-strict")
    return found


@functools.cache
def _definitions(version):
    text = (_directory(version) / "_definitions.json").read_text()
    return referencing.Resource.from_contents(json.loads(text))


@functools.cache
def _validator(version, api_version, kind):
    # rbac.authorization.k8s.io/v1 is rbac-v1 there.
    group = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    file = _directory(version) / f"{kind.lower()}-{group}.json"
    if not file.exists():
        return None
    schema = json.loads(file.read_text())
    registry = _definitions(version) @ referencing.Registry()
    return jsonschema.Draft202012Validator(schema, registry=registry)


def problems(manifest, version):
    """What a server of that version would not accept, as lines of text."""
    kind, name = manifest["kind"], manifest["metadata"]["name"]
    if kind in FOREIGN:
        return []
    validator = _validator(version, manifest["apiVersion"], kind)
    if validator is None:
        return [f"{kind} {name}: Kubernetes {version} has no {manifest['apiVersion']} {kind}"]
    return [
        f"{kind} {name}: Kubernetes {version}: /{'/'.join(map(str, error.path))}: {error.message}"
        for error in validator.iter_errors(manifest)
    ]
