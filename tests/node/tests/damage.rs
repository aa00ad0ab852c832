//! Ledger files with a flipped bit: DEL returns every address and reports the damage.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that fails here says where"
)]

use std::fs;
use std::path::{Path, PathBuf};

use node::case::on_a_private_node;
use node::inspect::{self, Traces};
use node::{Node, Pod, Sandbox, networks};

/// Number of positions tried per file.
const PLACES: usize = 12;

fn prepare(node: &mut Node) -> Sandbox {
    let mut prepare = || {
        networks::prepare(node)?;
        node.start_daemon()?;
        node.add_pod(Pod::new("default", "a").networks("blue"))
    };
    prepare().unwrap_or_else(|error: node::Error| unreachable!("{}", error.chain()))
}

fn flip(path: &Path, place: usize) {
    let mut text = fs::read(path).expect("the file is there");
    let at = text.len() * place / PLACES;
    if let Some(byte) = text.get_mut(at) {
        *byte ^= 1 << (place % 7);
    }
    fs::write(path, text).expect("it can be written");
}

/// Adds the pod, flips a bit of a file, and deletes the pod; asserts that the damage is reported
/// and returns what is left.
fn delete_with_a_flipped_bit(node: &Node, pod: &Sandbox, file: &Path, place: usize) -> Traces {
    let added = node.call("ADD", pod).unwrap().make().unwrap();
    assert!(added.succeeded(), "{added:#?}");
    let before = node.log().matches("set aside a damaged file").count();
    flip(file, place);
    let deleted = node.call("DEL", pod).unwrap().make().unwrap();
    assert!(
        deleted.succeeded(),
        "{}, place {place}: {deleted:#?} {}",
        file.display(),
        node.log()
    );
    let told = node.log().matches("set aside a damaged file").count();
    assert!(
        told > before,
        "{}, place {place}: {}",
        file.display(),
        node.log()
    );
    fs::remove_dir_all(node.path("ledger/.damaged")).unwrap();
    Traces::of(node, &pod.netns_name).unwrap()
}

#[test]
fn bit_flip_in_plan_is_detected() {
    on_a_private_node(|node| {
        let pod = prepare(node);
        let clean = Traces::of(node, &pod.netns_name).unwrap();
        let file = node.path("ledger").join(&pod.container_id);
        for place in 0..PLACES {
            let left = delete_with_a_flipped_bit(node, &pod, &file, place);
            assert_eq!(left, clean, "place {place}");
        }
    });
}

#[test]
fn bit_flip_in_result_is_detected() {
    on_a_private_node(|node| {
        let pod = prepare(node);
        let clean = Traces::of(node, &pod.netns_name).unwrap();
        let results = node.path("ledger/results");
        assert!(node.call("ADD", &pod).unwrap().make().unwrap().succeeded());
        let files: Vec<PathBuf> = inspect::files(&results).unwrap().into_keys().collect();
        assert_eq!(files.len(), 2);
        assert!(node.call("DEL", &pod).unwrap().make().unwrap().succeeded());
        for file in files {
            for place in 0..PLACES {
                let left = delete_with_a_flipped_bit(node, &pod, &results.join(&file), place);
                assert_eq!(left, clean, "{}, place {place}", file.display());
            }
        }
    });
}
