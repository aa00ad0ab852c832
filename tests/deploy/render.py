"""Renders the manifests as kubectl and helm do."""

import functools
import json
import os
import pathlib
import subprocess
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
KUSTOMIZE = DEPLOY / "kustomize"
CHART = DEPLOY / "helm/cnidaria"
TOOLS = pathlib.Path(os.environ["CNIDARIA_DEPLOY_TOOLS"])

# The annotation of a hook.
HOOK = "helm.sh/hook"

COMPONENTS = sorted(path.name for path in (KUSTOMIZE / "components").iterdir())
OVERLAYS = sorted(path.name for path in (KUSTOMIZE / "overlays").iterdir())


def run(program, *arguments, check=True):
    """The finished process of one of the tools; its output is text."""
    command = [TOOLS / "bin" / program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if check and done.returncode != 0:
        raise AssertionError(f"{command}: {done.stdout}{done.stderr}")
    return done


def parse(text):
    """The objects of a YAML text."""
    return [one for one in yaml.load_all(text, yaml.CSafeLoader) if one]


def read(path):
    """The objects of a file."""
    return parse(path.read_text())


@functools.cache
def _kustomize(directory):
    return run("kubectl", "kustomize", str(directory)).stdout


def overlay(name):
    """The objects of an overlay."""
    return parse(_kustomize(KUSTOMIZE / "overlays" / name))


def base(*components):
    """The objects of the base with some components."""
    if not components:
        return parse(_kustomize(KUSTOMIZE / "base"))
    with tempfile.TemporaryDirectory() as directory:
        here = os.path.relpath(KUSTOMIZE, os.path.realpath(directory))
        kustomization = {
            "resources": [f"{here}/base"],
            "components": [f"{here}/components/{one}" for one in components],
        }
        (pathlib.Path(directory) / "kustomization.yaml").write_text(json.dumps(kustomization))
        return parse(run("kubectl", "kustomize", directory).stdout)


def helm(*arguments, namespace="kube-system", check=True):
    """The finished `helm template`."""
    command = ["template", "cnidaria", str(CHART), "--include-crds", "--namespace", namespace]
    return run("helm", *command, *arguments, check=check)


def chart(values=None, **options):
    """The objects of the chart with some values, without its hooks."""
    return [one for one in _chart(values, **options) if HOOK not in one["metadata"].get("annotations", {})]


def hooks(values=None, **options):
    """The chart's hooks."""
    return [one for one in _chart(values, **options) if HOOK in one["metadata"].get("annotations", {})]


def _chart(values, **options):
    if values is None:
        return parse(helm(**options).stdout)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(values, file)
        file.flush()
        return parse(helm("--values", file.name, **options).stdout)


def values_file(name):
    """The values that the chart ships for a kind of cluster."""
    [values] = read(CHART / f"values/{name}.yaml")
    return values


def find(objects, kind, name="cnidaria"):
    """An object by kind and name."""
    [found] = [one for one in objects if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return found


def daemon_config(objects):
    """The daemon's configuration in these objects."""
    return json.loads(find(objects, "ConfigMap", "cnidaria-daemon-config")["data"]["daemon-config.json"])


def pod(objects):
    """The pod specification of the DaemonSet."""
    return find(objects, "DaemonSet")["spec"]["template"]["spec"]
