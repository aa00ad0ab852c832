"""The base, the overlays and the components."""

import concurrent.futures
import functools
import itertools
import json
import os
import re
import unittest

import render
import schemas

# Components that another one excludes: each patches the same paths or labels.
PLATFORMS = {"k3s", "talos", "openshift"}
# Image volumes are on by default from this version on.
IMAGE_VOLUMES = "1.35"
# What a component changes in the daemon's configuration.
COLLECT = {"runtimeSocket": "/run/containerd/containerd.sock"}
CONFIG = {
    "cni-1.1": {"cniVersion": "1.1.0"},
    "metrics": {"metricsPort": 29091},
    "collect": {"cnidaria": {"collect": COLLECT}},
}


def changed(config, changes):
    """The configuration with the changes of a component."""
    own = config["cnidaria"] | changes.get("cnidaria", {})
    return config | changes | {"cnidaria": own}


def renderings():
    """Every overlay, every component alone, and every pair of components that makes sense."""
    wanted = {"base": render.base}
    for name in render.OVERLAYS:
        wanted[f"overlay {name}"] = functools.partial(render.overlay, name)
    # The image replaces a volume that other components patch, and an uninstallation all commands, so
    # these components come last.
    last = ["policy-image", "uninstall"]
    components = sorted(render.COMPONENTS, key=lambda name: (name in last and 1 + last.index(name), name))
    pairs = itertools.combinations(components, 2)
    for chosen in [*((one,) for one in components), *pairs]:
        if len(PLATFORMS.intersection(chosen)) < 2:
            wanted[f"base with {', '.join(chosen)}"] = functools.partial(render.base, *chosen)
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(wanted, pool.map(lambda one: one(), wanted.values())))


RENDERINGS = renderings()


def each(test):
    """Runs a test for every rendering."""

    @functools.wraps(test)
    def all_of_them(self):
        for name, objects in RENDERINGS.items():
            with self.subTest(name):
                test(self, name, objects)

    return all_of_them


class Kustomize(unittest.TestCase):
    def test_kubernetes_knows_every_field(self):
        distinct = {json.dumps(one) for objects in RENDERINGS.values() for one in objects}
        for text in distinct:
            with_image_volume = '"image": {"pullPolicy"' in text
            for version in schemas.VERSIONS:
                if not with_image_volume or version >= IMAGE_VOLUMES:
                    self.assertEqual(schemas.problems(json.loads(text), version), [])

    def test_unknown_fields_are_noticed(self):
        for version in schemas.VERSIONS:
            daemonset = render.find(render.base(), "DaemonSet")
            daemonset["spec"]["template"]["spec"]["hostNetworks"] = True
            found = schemas.problems(daemonset, version)
            self.assertEqual(len(found), 1, found)
            self.assertIn("hostNetworks", found[0])

    @each
    def test_objects_are_unique(self, name, objects):
        names = [
            (one["apiVersion"], one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"])
            for one in objects
        ]
        self.assertEqual(len(names), len(set(names)), names)

    @each
    def test_mounts_have_volumes_and_paths_of_their_own(self, name, objects):
        pod = render.pod(objects)
        volumes = [volume["name"] for volume in pod["volumes"]]
        self.assertEqual(len(volumes), len(set(volumes)))
        used = set()
        for container in pod["initContainers"] + pod["containers"]:
            paths = [mount["mountPath"] for mount in container["volumeMounts"]]
            self.assertEqual(len(paths), len(set(paths)))
            used.update(mount["name"] for mount in container["volumeMounts"])
        self.assertEqual(set(volumes), used)
        for volume in pod["volumes"]:
            self.assertEqual(len(volume), 2, volume)

    @each
    def test_the_selector_matches_and_never_changes(self, name, objects):
        spec = render.find(objects, "DaemonSet")["spec"]
        self.assertEqual(spec["selector"], {"matchLabels": {"app": "cnidaria"}})
        self.assertEqual(spec["template"]["metadata"]["labels"]["app"], "cnidaria")

    # Operators delete by this label, and must not delete users' networks.
    @each
    def test_everything_but_users_networks_has_the_label(self, name, objects):
        for one in objects:
            labels = one["metadata"].get("labels", {})
            mine = labels.get("app.kubernetes.io/name") == "cnidaria"
            of_users = one["metadata"]["name"] == "network-attachment-definitions.k8s.cni.cncf.io"
            self.assertEqual(mine, not of_users, one["metadata"])

    @each
    def test_containers_have_what_production_needs(self, name, objects):
        pod = render.pod(objects)
        self.assertEqual(pod["priorityClassName"], "system-node-critical")
        for container in pod["initContainers"] + pod["containers"]:
            self.assertTrue(container["securityContext"]["readOnlyRootFilesystem"])
            self.assertLessEqual({"cpu", "memory"}, container["resources"]["requests"].keys())
        [daemon] = pod["containers"]
        if "uninstall" in name:
            return
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
            live = ["--live"] if probe == "livenessProbe" else []
            self.assertEqual(daemon[probe]["exec"]["command"], ["/usr/bin/cnidaria", "ready", *live])
        self.assertNotIn("cpu", daemon["resources"]["limits"])

    @each
    def test_privileges_and_capabilities_exclude_each_other(self, name, objects):
        [daemon] = render.pod(objects)["containers"]
        context = daemon["securityContext"]
        self.assertEqual("unprivileged" in name, not context["privileged"])
        self.assertEqual("unprivileged" in name, "capabilities" in context)

    # Everything that a daemon has, and the directories that `install` writes to.
    @each
    def test_an_uninstallation_sees_what_the_daemon_saw(self, name, objects):
        if "uninstall" not in name:
            return
        [install] = render.pod(objects)["initContainers"]
        self.assertEqual(install["command"][:2], ["/usr/bin/cnidaria", "uninstall"])
        self.assertTrue(install["securityContext"]["privileged"])
        [daemon] = render.pod(objects)["containers"]
        paths = lambda container: {mount["mountPath"] for mount in container["volumeMounts"]}
        self.assertLessEqual(paths(daemon), paths(install))
        env = lambda container: {one["name"] for one in container["env"]}
        self.assertEqual(env(daemon), env(install))
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"]:
            self.assertNotIn(probe, daemon)
        for argument in install["command"][2:]:
            self.assertRegex(argument, "=/host/(opt/cni/bin|etc/cnidaria/policies)$")

    def test_the_memory_limit_covers_the_policies(self):
        limit = render.pod(render.base())["containers"][0]["resources"]["limits"]["memory"]
        policies = render.daemon_config(render.base())["cnidaria"]["policies"]
        budget = policies.get("guestMemoryBytes", 256 << 20)
        self.assertEqual(limit, f"{512 + (budget >> 20)}Mi")

    def test_components_change_their_keys_alone(self):
        before = render.daemon_config(render.base())
        for name in render.COMPONENTS:
            with self.subTest(name):
                wanted = changed(before, CONFIG.get(name, {}))
                self.assertEqual(render.daemon_config(render.base(name)), wanted)
        wanted = functools.reduce(changed, CONFIG.values(), before)
        self.assertEqual(render.daemon_config(render.base(*CONFIG)), wanted)

    @each
    def test_paths_of_confs_and_binaries_are_consistent(self, name, objects):
        pod = render.pod(objects)
        [daemon] = pod["containers"]
        places = {volume["name"]: volume.get("hostPath", {}).get("path") for volume in pod["volumes"]}
        env = {one["name"]: one.get("value") for one in daemon["env"]}
        if places["cni-bin"] != "/opt/cni/bin":
            self.assertEqual(env["CNI_PATH"], places["cni-bin"])
        else:
            self.assertNotIn("CNI_PATH", env)

    @each
    def test_sources_of_replacements_are_not_applied(self, name, objects):
        maps = [one["metadata"]["name"] for one in objects if one["kind"] == "ConfigMap"]
        self.assertLessEqual(set(maps), {"cnidaria-daemon-config", "cnidaria-policies"})

    def test_the_admission_policy_names_the_service_account(self):
        for objects in [render.base(), render.chart(namespace="networks")]:
            account = render.find(objects, "ServiceAccount")["metadata"]
            user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
            [condition] = render.find(objects, "ValidatingAdmissionPolicy")["spec"]["matchConditions"]
            self.assertIn(f"== '{user}'", condition["expression"])

    def test_the_policies_overlay_has_the_example(self):
        [example] = render.read(render.DEPLOY / "example-policy.yaml")
        theirs = render.find(render.overlay("policies"), "ConfigMap", "cnidaria-policies")
        parsed = lambda data: {key: json.loads(text) for key, text in data.items()}
        self.assertEqual(parsed(theirs["data"]), parsed(example["data"]))

    def test_documents_name_overlays_that_exist(self):
        named = set()
        operations = (render.ROOT / "docs/operations").iterdir()
        for page in [render.DEPLOY / "README.md", *operations, render.ROOT / "README.md"]:
            named.update(re.findall(r"kustomize/([a-z]+/[a-z0-9.-]*[a-z0-9])", page.read_text()))
        for path in named:
            self.assertTrue((render.KUSTOMIZE / path).exists(), path)
        pages = [render.DEPLOY / "README.md", render.ROOT / "docs/operations/install.md"]
        table = "".join(page.read_text() for page in pages)
        for name in [*render.OVERLAYS, *render.COMPONENTS]:
            self.assertIn(f"`{name}`", table)


if __name__ == "__main__":
    unittest.main()
