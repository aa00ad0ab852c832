use std::fs;

use super::*;
use crate::model::request::{Command, RequestFacts};

const QUOTA: Quota = Quota {
    keys: 1_024,
    bytes: 256 << 10,
};

fn bond(container_id: &str, if_name: Option<&str>) -> Option<Bond> {
    Some(Bond {
        container_id: container_id.to_owned(),
        if_name: if_name.map(str::to_owned),
    })
}

fn set(state: &PolicyState, key: &str, bond: Option<Bond>) {
    state
        .swap(key, None, Some(vec![1]), bond.map(Binding::from), QUOTA)
        .unwrap();
}

#[test]
fn a_swap_needs_the_present_value() {
    let state = PolicyState::default();
    let swap = |expected, new| state.swap("k", expected, new, None, QUOTA);
    assert_eq!(swap(Some(b"a".as_slice()), None), Err(Refusal::Conflict));
    swap(None, Some(b"a".to_vec())).unwrap();
    assert_eq!(swap(None, Some(b"b".to_vec())), Err(Refusal::Conflict));
    swap(Some(b"a"), Some(b"b".to_vec())).unwrap();
    assert_eq!(state.get("k"), Some(b"b".to_vec()));
    swap(Some(b"b"), None).unwrap();
    assert_eq!(state.keys(""), Vec::<String>::new());
}

#[test]
fn keys_and_bytes_have_a_quota() {
    let state = PolicyState::default();
    let quota = Quota { keys: 2, bytes: 10 };
    let swap = |key: &str, bytes: usize| state.swap(key, None, Some(vec![0; bytes]), None, quota);
    swap("a", 1).unwrap();
    assert_eq!(swap("b", 9), Err(Refusal::Quota));
    swap("b", 1).unwrap();
    assert_eq!(swap("c", 1), Err(Refusal::Quota));
    assert_eq!(swap("c", MAX_VALUE + 1), Err(Refusal::TooLarge));
    assert_eq!(swap(&"k".repeat(MAX_KEY + 1), 1), Err(Refusal::TooLarge));
    assert_eq!(state.keys(""), ["a", "b"]);
}

#[test]
fn bound_state_vanishes_with_its_sandbox() {
    let states = States::default();
    let state = states.open("p");
    set(&state, "free", None);
    set(&state, "net1", bond("c1", Some("net1")));
    set(&state, "net2", bond("c1", Some("net2")));
    set(&state, "sandbox", bond("c1", None));
    set(&state, "other", bond("c2", None));
    states.release("c1", "net1", false);
    assert_eq!(state.keys(""), ["free", "net2", "other", "sandbox"]);
    states.release("c1", "eth0", true);
    assert_eq!(state.keys(""), ["free", "net2", "other"]);
    states.keep(&["c2"]);
    assert_eq!(state.keys(""), ["free", "other"]);
}

#[test]
fn state_survives_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || States::new(Some(dir.path().join("state")), None).open("10-p");
    let state = open();
    set(&state, "k", bond("c1", Some("net1")));
    set(&state, "l", None);
    let kept = |state: &PolicyState| {
        let contents = state.lock();
        let bonds = contents.keys.iter().map(|(key, value)| {
            (
                key.to_string(),
                value.bytes.to_vec(),
                value.bond.as_deref().cloned(),
            )
        });
        (bonds.collect::<Vec<_>>(), contents.bytes)
    };
    assert_eq!(kept(&open()), kept(&state));
}

/// Reads a file with this text. Returns the keys, and those of a second read.
fn reread(dir: &std::path::Path, text: &str) -> [Vec<String>; 2] {
    fs::write(dir.join("10-p.json"), text).unwrap();
    [(); 2].map(|()| {
        let states = States::new(Some(dir.to_owned()), None);
        states.open("10-p").keys("")
    })
}

#[test]
fn a_damaged_file_keeps_its_good_keys() {
    let dir = tempfile::tempdir().unwrap();
    let aside = |number: &str| fs::read_to_string(dir.path().join(format!("10-p.{number}")));
    let good = r#""a":{"value":"AQ=="},"b":{"value":"AQ==","bound":{"containerId":"c"}}"#;
    for (number, rest) in [
        ("corrupt", r#","c":{"value":"@@"}}}"#),
        (
            "corrupt-1",
            r#","c":{"value":"AQ==","bound":{"later":1}}}}"#,
        ),
        ("corrupt-2", r#","c":7}}"#),
        ("corrupt-3", r#","c":{"value":"AQ"#),
        ("corrupt-4", r#"}} and more"#),
    ] {
        let text = format!(r#"{{"keys":{{{good}{rest}"#);
        assert_eq!(reread(dir.path(), &text), [["a", "b"]; 2], "{rest}");
        assert_eq!(aside(number).unwrap(), text);
    }
    let none: [Vec<String>; 2] = Default::default();
    for (number, text) in [("corrupt-5", "{"), ("corrupt-6", "[]"), ("corrupt-7", "")] {
        assert_eq!(reread(dir.path(), text), none);
        assert_eq!(aside(number).unwrap(), text);
    }
}

#[test]
fn damage_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(
        dir.path().join("10-p.json"),
        r#"{"keys":{"x":{"value":"@"}}}"#,
    )
    .unwrap();
    let states = States::new(Some(dir.path().to_owned()), None);
    assert_eq!(states.damage("10-p"), None);
    set(&states.open("10-p"), "k", None);
    let damage = states.damage("10-p").unwrap();
    assert!(damage.contains(r#"1 damaged keys, first "x""#), "{damage}");
    assert!(damage.contains("10-p.corrupt"), "{damage}");
    let later = States::new(Some(dir.path().to_owned()), None);
    assert_eq!(later.open("10-p").keys(""), ["k"]);
    assert_eq!(later.damage("10-p"), None);
}

#[test]
fn what_is_not_a_file_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("10-p.json");
    let open = || States::new(Some(dir.path().to_owned()), None).open("10-p");
    fs::create_dir(&file).unwrap();
    set(&open(), "k", None);
    assert!(dir.path().join("10-p.corrupt").is_dir());
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    set(&open(), "k", None);
    assert!(dir.path().join("10-p.corrupt-1").is_symlink());
}

#[test]
fn no_damaged_file_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("10-p.corrupt"), "first").unwrap();
    for number in 1..100 {
        fs::write(dir.path().join(format!("10-p.corrupt-{number}")), "").unwrap();
    }
    let text = r#"{"keys":{"a":{"value":"AQ=="},"b":1}}"#;
    assert_eq!(reread(dir.path(), text), [["a"]; 2]);
    let state = States::new(Some(dir.path().to_owned()), None).open("10-p");
    let swapped = state.swap("k", None, Some(vec![1]), None, QUOTA);
    assert!(
        matches!(swapped, Err(Refusal::Unavailable(_))),
        "{swapped:?}"
    );
    assert_eq!(
        fs::read_to_string(dir.path().join("10-p.json")).unwrap(),
        text
    );
    assert_eq!(fs::read(dir.path().join("10-p.corrupt")).unwrap(), b"first");
}

#[test]
fn a_file_beyond_every_quota_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let value = "A".repeat(64 << 10);
    let keys: Vec<String> = (0..400)
        .map(|number| format!(r#""k{number}":{{"value":"{value}"}}"#))
        .collect();
    let text = format!(r#"{{"keys":{{{}}}}}"#, keys.join(","));
    let none: [Vec<String>; 2] = Default::default();
    assert_eq!(reread(dir.path(), &text), none);
    assert!(dir.path().join("10-p.corrupt").exists());
    let sparse = fs::File::create(dir.path().join("10-p.json")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    set(
        &States::new(Some(dir.path().to_owned()), None).open("10-p"),
        "k",
        None,
    );
}

#[test]
fn the_first_write_removes_unfinished_files() {
    let dir = tempfile::tempdir().unwrap();
    let unfinished = dir.path().join(".7-0.new");
    fs::write(&unfinished, "{").unwrap();
    let state = States::new(Some(dir.path().to_owned()), None).open("10-p");
    // Another daemon may still write it.
    assert!(unfinished.exists());
    set(&state, "k", None);
    assert!(!unfinished.exists());
    assert!(dir.path().join("10-p.json").exists());
}

#[test]
fn a_change_that_cannot_be_stored_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let state = States::new(Some(dir.path().join("state")), None).open("10-p");
    set(&state, "k", None);
    // A file in place of the directory makes the write fail.
    fs::remove_dir_all(dir.path().join("state")).unwrap();
    fs::write(dir.path().join("state"), "").unwrap();
    let swap = |expected: &[u8], new: Option<Vec<u8>>| {
        let swapped = state.swap("k", Some(expected), new, None, QUOTA);
        assert!(
            matches!(swapped, Err(Refusal::Unavailable(_))),
            "{swapped:?}"
        );
    };
    swap(&[1], Some(vec![2, 3]));
    assert_eq!(state.get("k"), Some(vec![1]));
    swap(&[1], None);
    assert_eq!(state.get("k"), Some(vec![1]));
    assert_eq!(state.lock().bytes, 2);
    fs::remove_file(dir.path().join("state")).unwrap();
    let swapped = state.swap("k", Some(&[1]), Some(vec![2]), None, QUOTA);
    assert_eq!(swapped, Ok(()));
}

#[test]
fn concurrent_increments_are_all_persisted() {
    let dir = tempfile::tempdir().unwrap();
    let states = States::new(Some(dir.path().join("state")), None);
    let state = states.open("10-p");
    let increment = || {
        loop {
            let before = state.get("n");
            let now = before.as_ref().map_or(0, |bytes| bytes[0]) + 1;
            match state.swap("n", before.as_deref(), Some(vec![now]), None, QUOTA) {
                Ok(()) => return,
                Err(refusal) => assert_eq!(refusal, Refusal::Conflict),
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..10).for_each(|_| increment()));
        }
    });
    assert_eq!(state.get("n"), Some(vec![80]));
    let again = States::new(Some(dir.path().join("state")), None).open("10-p");
    assert_eq!(again.get("n"), Some(vec![80]));
}

#[test]
fn file_write_does_not_block_reads() {
    let dir = tempfile::tempdir().unwrap();
    let states = States::new(Some(dir.path().join("state")), None);
    let (state, other) = (states.open("10-p"), states.open("20-q"));
    set(&state, "k", None);
    let writing = state.written.lock();
    assert_eq!(state.get("k"), Some(vec![1]));
    set(&other, "k", None);
    std::thread::scope(|scope| {
        scope.spawn(|| set(&state, "l", None));
        // The value is visible before it is in the file.
        while state.get("l").is_none() {
            std::thread::yield_now();
        }
        drop(writing);
    });
    assert_eq!(
        States::new(Some(dir.path().join("state")), None)
            .open("10-p")
            .keys(""),
        ["k", "l"]
    );
}

fn bound(state: &PolicyState, key: &str) -> Option<Bond> {
    state.lock().keys[key].bond.as_deref().cloned()
}

#[test]
fn a_request_that_fails_gives_its_keys_back() {
    let states = Arc::new(States::default());
    let state = states.open("10-p");
    let request = Arc::new(RequestFacts::of_node(Command::Add));
    let another = Arc::new(RequestFacts::of_node(Command::Add));
    let set = |key: &str, request: &Arc<RequestFacts>| {
        let bond = bond("c1", Some("net1")).unwrap();
        let binding = Binding::by(request, bond, true);
        let quota = Quota { keys: 3, ..QUOTA };
        state.swap(key, None, Some(vec![1]), Some(binding), quota)
    };
    // Keys of another request with the same interface name stay.
    set("other", &another).unwrap();
    for _ in 0..2000 {
        let request = Arc::new(RequestFacts::of_node(Command::Add));
        let guard = Guard::new(&states, Some(&request));
        set("a", &request).unwrap();
        set("b", &request).unwrap();
        drop(guard);
        assert_eq!(state.keys(""), ["other"]);
        // A call still running when the request failed is rejected.
        let late = set("a", &request);
        assert!(matches!(late, Err(Refusal::Unavailable(_))), "{late:?}");
    }
    let mut guard = Guard::new(&states, Some(&request));
    set("a", &request).unwrap();
    guard.disarm();
    drop(guard);
    assert_eq!(state.keys(""), ["a", "other"]);
    states.release_sandbox("c2");
    assert_eq!(state.keys(""), ["a", "other"]);
    states.release_sandbox("c1");
    assert_eq!(state.keys(""), Vec::<String>::new());
}

#[test]
fn a_failed_request_restores_what_it_found() {
    let states = Arc::new(States::default());
    let state = states.open("10-p");
    let value = |byte| Some([byte]);
    let add = |container: &str, expected: Option<[u8; 1]>, new: u8| {
        let request = Arc::new(RequestFacts::of_node(Command::Add));
        let guard = Guard::new(&states, Some(&request));
        let binding = Binding::by(&request, bond(container, None).unwrap(), true);
        let expected = expected.as_ref().map(<[u8; 1]>::as_slice);
        let swapped = state.swap("k", expected, Some(vec![new]), Some(binding), QUOTA);
        swapped.unwrap();
        (guard, request)
    };
    // Unbound, and of a living sandbox.
    state.swap("k", None, Some(vec![1]), None, QUOTA).unwrap();
    drop(add("c1", value(1), 2));
    assert_eq!(state.get("k"), Some(vec![1]));
    let (mut guard, _request) = add("c1", value(1), 2);
    guard.disarm();
    assert!(state.lock().replaced.is_empty());
    drop(add("c2", value(2), 3));
    assert_eq!(state.get("k"), Some(vec![2]));
    // Another request has the key by then.
    let (failed, _request) = add("c2", value(2), 3);
    let (mut kept, _other) = add("c3", value(3), 4);
    drop(failed);
    assert_eq!(state.get("k"), Some(vec![4]));
    kept.disarm();
    // Its sandbox has gone by then.
    let (failed, _request) = add("c4", value(4), 5);
    states.release_sandbox("c3");
    drop(failed);
    assert_eq!(state.get("k"), None);
    // The request that it took the key from has failed as well.
    let (first, _request) = add("c5", None, 6);
    let (second, _other) = add("c6", value(6), 7);
    drop(first);
    drop(second);
    assert_eq!(state.get("k"), None);
}

#[test]
fn bonds_follow_an_interface_that_is_renamed() {
    let dir = tempfile::tempdir().unwrap();
    let open = || States::new(Some(dir.path().join("state")), None);
    let states = open();
    let state = states.open("10-p");
    let request = Arc::new(RequestFacts::of_node(Command::Add));
    let set = |key: &str, if_name: Option<&str>, renames| {
        let binding = Binding::by(&request, bond("c1", if_name).unwrap(), renames);
        let swapped = state.swap(key, None, Some(vec![1]), Some(binding), QUOTA);
        swapped.unwrap();
    };
    set("sandbox", None, false);
    set("first", Some("net1"), true);
    states.rename(&request, "net2").write();
    // The next attachment had the name `net2` and is renamed to the first one's.
    set("second", Some("net2"), true);
    states.rename(&request, "net1").write();
    for states in [&states, &open()] {
        let state = states.open("10-p");
        assert_eq!(bound(&state, "sandbox"), bond("c1", None));
        assert_eq!(bound(&state, "first"), bond("c1", Some("net2")));
        assert_eq!(bound(&state, "second"), bond("c1", Some("net1")));
    }
}

#[test]
fn write_interval_grows_with_file_size() {
    assert_eq!(pause(0), Duration::ZERO);
    assert_eq!(pause(32 << 20), Duration::from_secs(1));
    let dir = tempfile::tempdir().unwrap();
    let state = States::new(Some(dir.path().join("state")), None).open("10-p");
    assert!(state.written.lock().next.is_none());
    set(&state, "k", None);
    assert!(state.written.lock().next.is_some());
}

#[test]
fn keys_of_policies_not_loaded_are_released() {
    let dir = tempfile::tempdir().unwrap();
    let open = || States::new(Some(dir.path().join("state")), None);
    let state = open().open("10-p");
    set(&state, "gone", bond("c1", None));
    set(&state, "other", bond("c2", None));
    set(&state, "free", None);
    let check = |release: &dyn Fn(&States), expected: &[&str]| {
        // No policy opens its state.
        let later = open();
        assert!(!later.is_empty());
        release(&later);
        assert_eq!(open().open("10-p").keys(""), expected);
    };
    check(
        &|states| states.release("c1", "eth0", true),
        &["free", "other"],
    );
    check(&|states| states.release_sandbox("c2"), &["free"]);
    check(&|states| states.keep(&[]), &["free"]);
}
