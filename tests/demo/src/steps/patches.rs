//! What the policies changed.

use node::Node;
use serde_json::Value;

use crate::scene::{NAME_SERVER, WEB_MTU};
use crate::{Error, expect, patches, screen};

pub(crate) fn show(node: &Node) -> Result<(), Error> {
    screen::step(
        "What the policies changed",
        "Each edit was checked by the host before it took effect, and is in the daemon's log as a \
         JSON patch.",
    );
    let applied = patches::read(&node.log());
    let rows: Vec<_> = applied
        .iter()
        .map(|one| {
            vec![
                one.policy.clone(),
                one.hook.clone(),
                screen::one_line(&one.patch),
            ]
        })
        .collect();
    screen::table(&["policy", "hook", "JSON patch"], &rows);

    let has = |policy: &str, hook: &str, value: Value| {
        let found = applied
            .iter()
            .any(|one| one.policy == policy && one.hook == hook && sets(&one.patch, &value));
        expect::that(found, || {
            format!("a patch of {policy} in {hook} should set {value}; the log has {applied:?}")
        })
    };
    has("20-annotation-mtu", "before-add", Value::from(WEB_MTU))?;
    has("30-dns-inject", "after-add", Value::from(NAME_SERVER))?;
    println!();
    screen::good("annotation-mtu and dns-inject have each made their edit");
    Ok(())
}

/// Whether an operation of the patch sets this value, alone or within a larger one.
fn sets(patch: &Value, value: &Value) -> bool {
    fn contains(value: &Value, wanted: &Value) -> bool {
        match value {
            Value::Array(elements) => elements.iter().any(|element| contains(element, wanted)),
            Value::Object(members) => members.values().any(|member| contains(member, wanted)),
            _ => value == wanted,
        }
    }
    let mut operations = patch.as_array().into_iter().flatten();
    operations.any(|operation| {
        let set = operation.get("value");
        set.is_some_and(|set| contains(set, value))
    })
}
