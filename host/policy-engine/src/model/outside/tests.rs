use super::*;

/// What a call asks for, and its answers.
async fn call() -> String {
    let label = lookup(Question::NodeLabel("zone"), || Some("a".to_owned()));
    let labels = lookup_all(Question::NodeLabels, || {
        BTreeMap::from([("zone".to_owned(), "a".to_owned())])
    });
    let kept = value("k", || Some(b"1".to_vec()));
    if swap("k", Some(b"1"), Some(b"2")).is_none() {
        swapped("k", Some(b"1"));
    }
    let after = value("k", || Some(b"2".to_vec()));
    tokio::task::yield_now().await;
    let times = (unix_ms(|| 7), unix_ms(|| 8));
    let random = recorded_random(2).unwrap_or_else(|| {
        drew(b"xy");
        b"xy".to_vec()
    });
    let keys = keys("", || vec!["k".to_owned()]);
    format!("{label:?} {labels:?} {kept:?} {after:?} {times:?} {random:?} {keys:?}")
}

#[tokio::test]
async fn a_replayed_call_gets_the_noted_answers() {
    let mut source = Source::Noted(Box::default());
    let first = during(&mut source, call()).await;
    let Source::Noted(noted) = source else {
        panic!("{source:?}")
    };
    assert_eq!(noted.state.len(), 1);
    let text = serde_json::to_string(&*noted).unwrap();
    let own: Outside = serde_json::from_str(&text).unwrap();
    let answers = RecordedAnswers {
        own,
        ..RecordedAnswers::default()
    };
    let mut source = Source::Recorded(Box::new(answers));
    assert_eq!(during(&mut source, call()).await, first);
    let Source::Recorded(answers) = source else {
        panic!("{source:?}")
    };
    assert_eq!(answers.missing, BTreeSet::new());
}

#[tokio::test]
async fn what_a_record_lacks_is_named() {
    let mut source = Source::Recorded(Box::default());
    during(&mut source, call()).await;
    let Source::Recorded(answers) = source else {
        panic!("{source:?}")
    };
    let missing: Vec<&str> = answers.missing.iter().map(String::as_str).collect();
    assert_eq!(
        missing,
        [
            "key k of the state",
            "keys of the state that begin with \"\"",
            "label zone of the node",
            "labels of the node",
            "random bytes"
        ]
    );
}

#[tokio::test]
async fn notes_are_bounded() {
    let mut source = Source::Noted(Box::default());
    during(&mut source, async {
        for number in 0..8 {
            value(&number.to_string(), || Some(vec![0; 64 << 10]));
        }
    })
    .await;
    let Source::Noted(noted) = source else {
        panic!("{source:?}")
    };
    assert!(noted.cut);
    assert_eq!(noted.state.len(), 3);
}

#[test]
fn outside_a_call_nothing_is_noted() {
    assert_eq!(unix_ms(|| 7), 7);
    assert_eq!(recorded_random(1), None);
    assert_eq!(swap("k", None, None), None);
}
