"""The plugin of kubectl, with a kubectl that answers from a table and logs its calls."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import render

PLUGIN = render.DEPLOY / "kubectl" / "kubectl-cnidaria"

KUBECTL = r"""#!/bin/sh
printf '%s\n' "$*" >>"$LOG"
case "$*" in
    *"get pods"*spec.nodeName=b*) echo "cnidaria-2 b" ;;
    *"get pods"*spec.nodeName=*) ;;
    *"get pods"*) printf 'cnidaria-1 a\ncnidaria-2 b\n' ;;
    *"get pod web-0 --namespace shop"*) printf b ;;
    *"get pod pending"*) ;;
    *"exec"*" - "* | *"exec"*" -") echo "sent: $(cat)" ;;
    *"exec"*cnidaria-1*fail*) echo half; exit 3 ;;
    *"exec"*cnidaria-1*) printf 'POD\nweb-0\n' ;;
    *"exec"*) printf 'POD\nweb-1\n' ;;
esac
"""


class Plugin(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        kubectl = self.directory / "kubectl"
        kubectl.write_text(KUBECTL)
        kubectl.chmod(0o755)

    def run_plugin(self, *arguments):
        environment = {
            **os.environ,
            "PATH": f"{self.directory}:{os.environ['PATH']}",
            "LOG": str(self.directory / "log"),
        }
        return subprocess.run(
            [PLUGIN, *arguments], env=environment, cwd=self.directory, capture_output=True,
            text=True, check=False, stdin=subprocess.DEVNULL,
        )

    def calls(self):
        return (self.directory / "log").read_text()

    def test_commands_run_on_all_nodes(self):
        done = self.run_plugin("attachments", "--output", "json")
        self.assertEqual(done.stdout, "a  POD\na  web-0\nb  POD\nb  web-1\n")
        self.assertEqual(done.returncode, 0)
        self.assertIn("--container cnidaria -- cnidaria attachments --output json", self.calls())

    def test_the_highest_status_counts(self):
        done = self.run_plugin("fail")
        self.assertEqual(done.returncode, 3)
        self.assertIn("a  half", done.stdout)
        self.assertIn("b  web-1", done.stdout)
        self.assertIn("a  exit status 3", done.stderr)

    def test_one_node_is_passed_through(self):
        done = self.run_plugin("--node", "b", "--context", "c", "--namespace=net", "policy", "list")
        self.assertEqual(done.stdout, "POD\nweb-1\n")
        self.assertTrue(all(line.startswith("--context c ") for line in self.calls().splitlines()))
        self.assertIn("exec --stdin --namespace net cnidaria-2", self.calls())

    def test_a_pod_is_explained_on_its_node(self):
        for arguments in (["--pod", "shop/web-0"], ["--pod=web-0", "-n", "shop"]):
            done = self.run_plugin("explain", *arguments)
            self.assertEqual(done.stdout, "POD\nweb-1\n", done.stderr)

    def test_a_manifest_is_sent(self):
        (self.directory / "pod.yaml").write_text("kind: Pod")
        for arguments in (["--confs", "pod.yaml"], ["pod.yaml", "--confs"]):
            done = self.run_plugin("explain", *arguments)
            self.assertEqual(done.stdout, "sent: kind: Pod\n")

    def test_changes_need_a_node(self):
        for command in (["attachments", "forget", "c"], ["policy", "release", "p"], ["uninstall"], ["log", "debug"]):
            done = self.run_plugin(*command)
            self.assertEqual(done.returncode, 2, command)
            self.assertIn("--node", done.stderr)
        self.assertFalse((self.directory / "log").exists())

    def test_the_level_of_the_log_is_read_from_all_nodes(self):
        for arguments in (["log"], ["log", "--output", "json"]):
            self.assertEqual(self.run_plugin(*arguments).returncode, 0, arguments)

    def test_errors_say_what_is_missing(self):
        for arguments, text in [
            ([], "which command"),
            (["--node"], "--node needs a value"),
            (["--node", "z", "attachments"], "on node z"),
            (["explain", "--pod", "shop/pending"], "has no node yet"),
        ]:
            done = self.run_plugin(*arguments)
            self.assertEqual(done.returncode, 2, arguments)
            self.assertIn(text, done.stderr)

    def test_help_shows_the_usage(self):
        self.assertIn("kubectl cnidaria attachments", self.run_plugin("--help").stdout)


if __name__ == "__main__":
    unittest.main()
