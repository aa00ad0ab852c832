//! The commands in `docs/operations`, word for word, on a node with a real daemon.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use node::case::on_a_private_node;
use node::{Node, Pod, networks};

const PAGES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations");
/// What `cnidaria doctor` exits with if it finds errors, as it does on a node in memory.
const FOUND: i32 = 5;

/// A command of a page, and what the page says that it prints.
struct Shown {
    page: String,
    command: String,
    output: String,
}

/// The commands of all pages.
fn commands() -> Vec<Shown> {
    let mut found = Vec::new();
    let mut pages: Vec<_> = fs::read_dir(PAGES)
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    pages.sort();
    for path in pages {
        let page = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path).unwrap();
        let mut block: Option<&str> = None;
        for line in text.lines().map(str::trim_start) {
            if let Some(kind) = line.strip_prefix("```") {
                block = match block {
                    Some(_) => None,
                    None => Some(kind),
                };
                continue;
            }
            let command = match block {
                Some("sh") => Some(line),
                Some("console") => line.strip_prefix("$ "),
                _ => continue,
            };
            match command {
                Some(command) => found.push(Shown {
                    page: page.clone(),
                    command: command.split(" #").next().unwrap().trim().to_owned(),
                    output: String::new(),
                }),
                None => found.last_mut().unwrap().output += &format!("{line}\n"),
            }
        }
    }
    // What only changes the shell.
    found.retain(|one| !one.command.starts_with("cd ") && !one.command.starts_with("mine="));
    found
}

/// The beginnings of commands that are not run, from the table in the pages' index.
fn exceptions() -> Vec<String> {
    let index = fs::read_to_string(Path::new(PAGES).join("README.md")).unwrap();
    let table = index.split("<!-- commands -->").nth(1).unwrap();
    let table = table.split("<!-- end of commands -->").next().unwrap();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.map(|row| row.split('`').next().unwrap().to_owned())
        .collect()
}

fn is_exception(command: &str, exceptions: &[String]) -> bool {
    exceptions.iter().any(|one| command.starts_with(one))
}

#[test]
fn each_exception_is_on_a_page() {
    let commands = commands();
    for exception in exceptions() {
        let is_used = commands
            .iter()
            .any(|one| one.command.starts_with(&exception));
        assert!(is_used, "{exception}");
    }
}

/// Puts programs into the node's path: `cnidaria` with the node's own directories where a node has
/// its usual ones, and a `kubectl` that runs what `exec` runs in a pod.
fn programs(node: &Node) -> String {
    let real = node.binaries().command_line().unwrap();
    let root = node.path("");
    let root = root.display().to_string();
    let root = root.trim_end_matches('/');
    let cnidaria = format!(
        "#!/bin/sh\ncase \" $* \" in\n\
         *' doctor '* | *' bundle '*) set -- \"$@\" --config {root}/daemon-config.json ;;\n\
         *' explain '*) set -- \"$@\" --cni-conf {root}/runtime.conf ;;\nesac\n\
         exec {} --socket-dir {root}/multus \"$@\"\n",
        real.display()
    );
    let kubectl = "#!/bin/sh\nwhile [ \"$1\" != -- ]; do shift; done\nshift\nexec \"$@\"\n";
    for (name, text) in [("cnidaria", cnidaria.as_str()), ("kubectl", kubectl)] {
        let path = node.write(&format!("programs/{name}"), text).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = std::env::var("PATH").unwrap();
    format!("{root}/programs:{path}")
}

fn run(node: &Node, path: &str, command: &str) -> Output {
    let directory = node.path("work");
    fs::create_dir_all(&directory).unwrap();
    let mut shell = Command::new("sh");
    let shell = shell.args(["-euc", command]).env("PATH", path);
    shell.current_dir(directory).output().unwrap()
}

/// The first words of lines: parts of a trace and interfaces of a pod, without times and addresses.
fn words(text: &str) -> BTreeSet<&str> {
    let words = text
        .lines()
        .filter_map(|line| line.split_whitespace().next());
    words.collect()
}

#[test]
fn the_pages_commands_work() {
    on_a_private_node(|node| {
        networks::prepare(node).unwrap();
        node.start_daemon().unwrap();
        node.write("runtime.conf", node.conf.to_string()).unwrap();
        let storage = networks::macvlan(node, "storage", "uplink", "10.80.0.0/24");
        node.add_network("shop", "storage", &storage).unwrap();
        let pod = Pod::new("shop", "web-0").networks("storage");
        let sandbox = node.add_pod(pod).unwrap();
        let added = node.call("ADD", &sandbox).unwrap().make().unwrap();
        assert!(added.succeeded(), "{added:?}");
        let path = programs(node);
        let exceptions = exceptions();
        let mut count = 0;
        for Shown {
            page,
            command,
            output,
        } in commands()
        {
            if is_exception(&command, &exceptions) {
                continue;
            }
            count += 1;
            let done = run(node, &path, &command);
            let stdout = String::from_utf8_lossy(&done.stdout);
            let said = format!("{page}: {command}: {done:?}\n{stdout}");
            let code = done.status.code();
            let is_doctor = command.contains("doctor");
            assert!(
                code == Some(0) || is_doctor && code == Some(FOUND),
                "{said}"
            );
            let is_redirected = command.contains('>');
            assert!(is_redirected || !stdout.is_empty(), "{said}");
            if !output.is_empty() {
                // The page's example is of another node, but has no line of a kind that does not exist.
                let (shown, real) = (words(&output), words(&stdout));
                assert!(shown.intersection(&real).count() >= 2, "{said}");
            }
        }
        assert!(count >= 10, "{count} commands");
    });
}
