//! Rehearsals: policies show what they would do, and nothing of it is kept or counted.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::{Arc, Mutex};

use policy_engine::{AppliedEdit, Command, Denied, Finding, Mode, PolicyHost, Witness};
use policy_tests::{Policies, add, conf_at, facts, findings, only, storage};
use serde_json::json;

const COMPILER: &str = env!("CARGO_BIN_EXE_policy-compiler");

/// What the policies did, as text.
#[derive(Debug, Default)]
struct Seen(Mutex<Vec<String>>);

impl Seen {
    fn push(&self, text: String) {
        self.0.lock().unwrap().push(text);
    }
}

impl Witness for Seen {
    fn edited(&self, edit: &AppliedEdit, _: Mode) {
        self.push(format!("{} edits {}", edit.policy, edit.patch));
    }

    fn denied(&self, denied: &Denied, _: Mode) {
        self.push(format!("{} denies {}", denied.policy, denied.message));
    }

    fn found(&self, finding: &Finding) {
        self.push(format!("{} finds {}", finding.policy, finding.message));
    }
}

async fn host() -> PolicyHost {
    let actions = json!({"before-add": [{"count": "adds"}, {"set-mtu": 1400}]});
    let config = json!({"settings": actions, "grants": ["state"]});
    Policies::new(COMPILER)
        .with("10-witness", "witness", &config)
        .load()
        .await
}

#[tokio::test]
async fn a_rehearsal_keeps_and_counts_nothing() {
    let host = host().await;
    let rehearse = async || {
        let seen = Arc::new(Seen::default());
        let mut session = host
            .current()
            .rehearse(facts(Command::Add, "default"), seen.clone());
        let (attachment, _) = session.before_add(storage()).await.unwrap();
        assert_eq!(conf_at(&attachment, "/mtu").as_deref(), Some("1400"));
        session.succeed();
        let seen = seen.0.lock().unwrap().clone();
        seen.join("\n")
    };
    for _ in 0..2 {
        let seen = rehearse().await;
        assert!(seen.contains("adds=1"), "{seen}");
        assert!(seen.contains(r#""path":"/conf/mtu""#), "{seen}");
    }
    assert_eq!(only(&host).evaluations, 0);

    let mut session = add(&host);
    let (_, report) = session.before_add(storage()).await.unwrap();
    assert_eq!(findings(&report), [("count", "adds=1")]);
    session.succeed();
    drop(session);
    assert_eq!(only(&host).evaluations, 1);
    // A rehearsal sees what requests keep.
    let seen = rehearse().await;
    assert!(seen.contains("adds=2"), "{seen}");
}
