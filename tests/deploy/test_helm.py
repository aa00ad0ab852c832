"""The chart renders what kustomize renders."""

import json
import tomllib
import unittest

import render
import schemas

# Values of the chart that must give the same as an overlay: the file of the same name, if any.
SAME = {
    "containerd-1.6": {},
    "containerd-2": "containerd-2",
    "cri-o": "containerd-2",
    "kind": "containerd-2",
    "k3s": "k3s",
    "rke2": {},
    "talos": "talos",
    "openshift": "openshift",
    "policies": "policies",
    "uninstall": {"uninstall": True},
}
COMPONENTS = {
    "cni-1.1": {"config": {"cniVersion": "1.1.0"}},
    "collect": {"config": {"cnidaria": {"collect": {"runtimeSocket": "/run/containerd/containerd.sock"}}}},
    "k3s": "k3s",
    "metrics": {"metrics": {"enabled": True}},
    "openshift": "openshift",
    "per-node-certificate": {"perNodeCertificate": True},
    "policy-image": {"policies": {"image": {"reference": "cnidaria-policies:0.1.0"}}},
    "policy-lookups": {"policies": {"lookups": True}},
    "talos": {"paths": {"netns": "/var/run/netns", "policies": "/var/lib/cnidaria-policies"}},
    "uninstall": {"uninstall": True},
    "unprivileged": {"unprivileged": True},
}


def values(named):
    return render.values_file(named) if isinstance(named, str) else named


def normal(objects):
    """The objects as text by kind and name, without what Helm adds, and with JSON texts parsed."""
    result = {}
    for one in objects:
        if one["kind"] == "DaemonSet":
            template = one["spec"]["template"]
            # Only Helm's DaemonSet has an annotation.
            annotations = template["metadata"].pop("annotations", {})
            assert annotations.keys() <= {"checksum/config"}, annotations
            # Kustomize moves volumes and variables that it patches to the front.
            pod = template["spec"]
            pod["volumes"].sort(key=lambda entry: entry["name"])
            for container in pod["initContainers"] + pod["containers"]:
                for members, name in [("env", "name"), ("volumeMounts", "mountPath")]:
                    container.get(members, []).sort(key=lambda entry: entry[name])
        if one["kind"] == "ConfigMap":
            one["data"] = {key: json.loads(text) for key, text in one["data"].items()}
        name = f"{one['kind']} {one['metadata']['name']}"
        result[name] = json.dumps(one, indent=2, sort_keys=True)
    return result


class Helm(unittest.TestCase):
    maxDiff = 4000

    def assert_same(self, chart, kustomize):
        chart, kustomize = normal(chart), normal(kustomize)
        self.assertEqual(set(chart), set(kustomize))
        for name, text in chart.items():
            self.assertMultiLineEqual(text, kustomize[name], name)

    def test_defaults_equal_the_base(self):
        self.assert_same(render.chart(), render.base())

    def test_values_equal_the_overlays(self):
        self.assertEqual(set(SAME), set(render.OVERLAYS))
        for name, named in SAME.items():
            with self.subTest(name):
                self.assert_same(render.chart(values(named)), render.overlay(name))

    def test_values_equal_the_components(self):
        self.assertEqual(set(COMPONENTS), set(render.COMPONENTS))
        for name, named in COMPONENTS.items():
            with self.subTest(name):
                self.assert_same(render.chart(values(named)), render.base(name))

    def test_every_values_file_is_compared(self):
        files = {path.stem for path in (render.CHART / "values").iterdir()}
        self.assertLessEqual(files, {name for name in SAME.values() if isinstance(name, str)})

    def test_versions_agree_with_the_workspace(self):
        workspace = tomllib.loads((render.ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
        [chart] = render.read(render.CHART / "Chart.yaml")
        self.assertEqual((chart["version"], chart["appVersion"]), (workspace, workspace))
        daemonset = render.find(render.base(), "DaemonSet")
        template = daemonset["spec"]["template"]
        for metadata in [daemonset["metadata"], template["metadata"]]:
            self.assertEqual(metadata["labels"]["app.kubernetes.io/version"], workspace)
        for container in template["spec"]["initContainers"] + template["spec"]["containers"]:
            self.assertEqual(container["image"], f"cnidaria:{workspace}")
        images = [volume["image"] for volume in render.pod(render.overlay("policies"))["volumes"] if "image" in volume]
        self.assertEqual([image["reference"] for image in images], [f"cnidaria-policies:{workspace}"])

    def test_lint_has_no_complaints(self):
        done = render.run("helm", "lint", "--strict", str(render.CHART))
        self.assertIn("0 chart(s) failed", done.stdout)

    def test_everything_together_fits_the_schemas(self):
        everything = {
            "image": {"repository": "registry.example/cnidaria", "tag": "x", "pullPolicy": "Always"},
            "imagePullSecrets": [{"name": "secret"}],
            "config": {"cniVersion": "1.1.0", "cnidaria": {"threads": 2}},
            "unprivileged": True,
            "perNodeCertificate": True,
            "policies": {"lookups": True, "configs": {"10-a.json": {"module": "a.wasm"}}},
            "metrics": {"enabled": True, "podMonitor": {"enabled": True, "labels": {"release": "x"}}},
            "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "1Gi"}},
            "nodeSelector": {"a": "b"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "system-cluster-critical",
            "updateStrategy": {"type": "OnDelete"},
            "podLabels": {"team": "a", "app": "other"},
            "podAnnotations": {"a": "b"},
            "env": [{"name": "A", "value": "b"}],
        }
        objects = render.chart(everything, namespace="networks")
        for version in schemas.VERSIONS:
            for one in objects:
                self.assertEqual(schemas.problems(one, version), [])
        daemonset = render.find(objects, "DaemonSet")
        template = daemonset["spec"]["template"]
        self.assertEqual(template["metadata"]["labels"]["app"], "cnidaria")
        self.assertEqual(template["metadata"]["labels"]["team"], "a")
        for container in template["spec"]["initContainers"] + template["spec"]["containers"]:
            self.assertEqual(container["image"], "registry.example/cnidaria:x")
            self.assertEqual(container["imagePullPolicy"], "Always")
        config = render.daemon_config(objects)
        self.assertEqual(config["cnidaria"]["threads"], 2)
        self.assertIn("policies", config["cnidaria"])
        self.assertEqual(config["metricsPort"], 29091)
        for one in objects:
            if "namespace" in one["metadata"]:
                self.assertEqual(one["metadata"]["namespace"], "networks")
            for subject in one.get("subjects", []):
                self.assertIn(subject.get("namespace"), [None, "networks"])

    # The DaemonSet goes first, with its pods; what they need goes after it.
    def test_uninstalling_deletes_the_daemonset_first(self):
        hooks = render.hooks(namespace="networks")
        self.assertEqual({one["kind"] for one in hooks}, {"ServiceAccount", "Role", "RoleBinding", "Job"})
        for one in hooks:
            self.assertEqual(one["metadata"]["namespace"], "networks")
            self.assertEqual(one["metadata"]["annotations"][render.HOOK], "pre-delete")
            for version in schemas.VERSIONS:
                self.assertEqual(schemas.problems(one, version), [])
        [job] = [one for one in hooks if one["kind"] == "Job"]
        weight = lambda one: int(one["metadata"]["annotations"]["helm.sh/hook-weight"])
        self.assertTrue(all(weight(one) < weight(job) for one in hooks if one is not job))
        [container] = job["spec"]["template"]["spec"]["containers"]
        self.assertIn("--daemon-set=networks/cnidaria", container["command"])
        role = render.find(hooks, "Role", "cnidaria-pre-delete")
        self.assertEqual(role["rules"][0]["verbs"], ["get", "delete"])

    def test_a_changed_configuration_starts_new_pods(self):
        sums = set()
        for config in [{}, {"logLevel": "debug"}, {"cnidaria": {"threads": 2}}]:
            template = render.find(render.chart({"config": config}), "DaemonSet")["spec"]["template"]
            sums.add(template["metadata"]["annotations"]["checksum/config"])
        self.assertEqual(len(sums), 3)

    def test_wrong_values_are_refused(self):
        for argument, complaint in [
            ("unprivilegd=true", "unprivilegd"),
            ("metrics.port=0", "port"),
            ("metrics.port=abc", "port"),
            ("paths.cniBin=opt", "cniBin"),
            ("config.cniVersion=2.0", "cniVersion"),
            ("config.metricsPort=1", "config"),
            ("config.logLevel=info", "logLevel"),
            ("image.pullPolicy=Sometimes", "pullPolicy"),
            ("policies.configs.a=b", "configs"),
            ("resources=1", "resources"),
        ]:
            with self.subTest(argument):
                done = render.helm("--set", argument, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(complaint, done.stderr)


if __name__ == "__main__":
    unittest.main()
