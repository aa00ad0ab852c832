"""The examples in the manual work."""

import os
import pathlib
import re
import tempfile
import unittest

import yaml

import render

OPERATIONS = render.ROOT / "docs/operations"
MONITORING = render.ROOT / "docs/monitoring.md"


def blocks(page, language):
    """The code blocks of a page."""
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)


class Documents(unittest.TestCase):
    def test_the_overlay_of_ones_own_renders(self):
        [text] = blocks(OPERATIONS / "install.md", "yaml")
        with tempfile.TemporaryDirectory() as directory:
            deploy = os.path.relpath(render.DEPLOY, os.path.realpath(directory))
            text = text.replace("cnidaria/deploy", deploy)
            (pathlib.Path(directory) / "kustomization.yaml").write_text(text)
            objects = render.parse(render.run("kubectl", "kustomize", directory).stdout)
        config = render.daemon_config(objects)
        self.assertEqual((config["cniVersion"], config["metricsPort"]), ("1.1.0", 29091))
        pod = render.pod(objects)
        for container in pod["initContainers"] + pod["containers"]:
            self.assertEqual(container["image"], "registry.example/cnidaria:0.1.0")

    def test_prometheus_accepts_the_scrape_configuration(self):
        [text] = blocks(MONITORING, "yaml")
        # Debian builds Prometheus without discovery in Kubernetes.
        config = yaml.safe_load(text)
        [discovery] = config["scrape_configs"][0].pop("kubernetes_sd_configs")
        self.assertEqual(discovery, {"role": "pod", "namespaces": {"names": ["kube-system"]}})
        alerts = render.DEPLOY / "monitoring/alerts.yaml"
        config["rule_files"] = [str(alerts)]
        rules = sum(len(group["rules"]) for group in yaml.safe_load(alerts.read_text())["groups"])
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(config, file)
            file.flush()
            done = render.run("promtool", "check", "config", file.name)
        self.assertIn(f" {rules} rules found", done.stdout + done.stderr)

    def test_paths_and_values_files_exist(self):
        for page in [*OPERATIONS.iterdir(), MONITORING, render.DEPLOY / "README.md"]:
            for block in blocks(page, "sh"):
                for path in re.findall(r"\bdeploy/[\w./-]*\w", block):
                    self.assertTrue((render.ROOT / path).exists(), path)
                for path in re.findall(r"\b(values/[\w.-]+\.yaml)", block):
                    self.assertTrue((render.CHART / path).exists(), path)

    # Deleting by these kinds must not take users' networks along.
    def test_uninstalling_spares_the_definition_of_networks(self):
        deletions = [line for block in blocks(OPERATIONS / "uninstall.md", "sh") for line in block.splitlines() if " delete " in line]
        self.assertGreaterEqual(len(deletions), 3)
        deleted = set()
        for line in deletions:
            self.assertNotRegex(line, r" -k | -f |crd|all\b")
            if "customresource" in line:
                self.assertIn("delete customresourcedefinition policynodestatuses.cnidaria.dev", line)
            kinds = re.search(r" delete ([a-z,]+)", line)[1]
            if "$mine" in line:
                deleted.update(kinds.split(","))
        everything = render.base("openshift", "policy-lookups", "per-node-certificate")
        kinds = {one["kind"].lower() for one in everything} - {"customresourcedefinition"}
        self.assertEqual(deleted, kinds)


if __name__ == "__main__":
    unittest.main()
