use std::sync::Arc;

use cni_types::json::Limits;

use super::super::{AttachmentDraft, Draft as _, validate};
use super::*;
use crate::model::grant::ConfGrant;

fn attachment(conf: &str) -> PolicyAttachment {
    let conf = Document::parse(conf, Limits::default()).unwrap();
    PolicyAttachment::new("default/storage", "net1", conf)
}

fn given(runtime_config: String) -> PolicyAttachment {
    let mut attachment = attachment(r#"{"type":"t"}"#);
    attachment.fixed.runtime_config = runtime_config;
    attachment
}

fn draft(conf: &str) -> AttachmentDraft {
    AttachmentDraft::new(attachment(conf), Arc::default())
}

#[test]
fn large_and_deep_arguments_are_shown() {
    let ports: Vec<String> = (1..20_000)
        .map(|port| format!(r#"{{"hostPort":{port},"containerPort":80}}"#))
        .collect();
    let ports = format!(r#""aliases":[{}]"#, ports.join(","));
    let deep = format!(r#""dns":{}{}"#, "[".repeat(200), "]".repeat(200));
    for arguments in [&ports, &deep] {
        let shown = runtime_config(&given(format!("{{{arguments}}}"))).unwrap();
        assert_eq!(shown, format!("{{{arguments}}}"));
    }
    assert_eq!(runtime_config(&given(String::new())).unwrap(), "{}");
    runtime_config(&given("[]".to_owned())).unwrap_err();
}

#[test]
fn a_removed_argument_is_not_shown() {
    let text = r#"{"mac":"02:00:00:00:00:01","ips":["10.0.0.1"],"dns":{}}"#;
    let mut attachment = given(text.to_owned());
    attachment.ips = vec!["10.0.0.1".to_owned()];
    let shown = runtime_config(&attachment).unwrap();
    assert_eq!(shown, r#"{"dns":{},"ips":["10.0.0.1"]}"#);
}

#[test]
fn the_pods_cni_args_are_shown() {
    let check = |conf: &str, edit: Option<(&str, &str)>, expected: Option<&str>| {
        let mut draft = draft(conf);
        if let Some((key, json)) = edit {
            let change = draft.set_cni_arg(key, json).unwrap();
            draft.apply(change).unwrap();
        }
        assert_eq!(
            cni_args(draft.attachment()).as_deref(),
            expected,
            "{conf} {edit:?}"
        );
    };
    let single = r#"{"type":"t","args":{"cni":{"mac":"a","x":1}}}"#;
    check(r#"{"type":"t"}"#, None, None);
    check(r#"{"type":"t","args":{"cni":7}}"#, None, None);
    check(single, None, Some(r#"{"mac":"a","x":1}"#));
    check(single, Some(("mac", "2")), Some(r#"{"x":1,"mac":2}"#));
    check(single, Some(("MAC", "2")), Some(r#"{"x":1,"MAC":2}"#));
    let chain = r#"{"plugins":[{"type":"a","ARGS":{"CNI":{"x":1}}},{"type":"b","args":{"cni":{"x":2,"y":3}}}]}"#;
    check(chain, None, Some(r#"{"x":1,"y":3}"#));
}

#[test]
fn typed_edits_replace_the_cni_args() {
    let conf = r#"{"plugins":[{"type":"a","args":{"cni":{"IPs":["10.66.0.1"],"mac":"m","guid":1,"x":1}}},
        {"type":"b","args":{"cni":{"ips":["10.66.0.1"]}}}]}"#;
    type Edit<'a> =
        &'a dyn Fn(&AttachmentDraft) -> Result<super::super::AttachmentChange, EditError>;
    let check = |edit: Edit<'_>, expected: &str| {
        let mut draft = draft(conf);
        let change = edit(&draft).unwrap();
        draft.apply(change).unwrap();
        assert_eq!(cni_args(draft.attachment()).as_deref(), Some(expected));
    };
    check(&|draft| draft.set_ips(&[]), r#"{"mac":"m","guid":1,"x":1}"#);
    let ips = ["10.9.0.1/24".to_owned()];
    check(
        &|draft| draft.set_ips(&ips),
        r#"{"mac":"m","guid":1,"x":1}"#,
    );
    check(
        &|draft| draft.set_mac(None),
        r#"{"IPs":["10.66.0.1"],"guid":1,"x":1,"ips":["10.66.0.1"]}"#,
    );
    check(
        &|draft| draft.set_infiniband_guid(None),
        r#"{"IPs":["10.66.0.1"],"mac":"m","x":1,"ips":["10.66.0.1"]}"#,
    );
}

#[test]
fn a_value_that_go_does_not_read_is_not_set() {
    let free = ConfGrant::default();
    let check = |conf: &str, pointer: &str, is_set: bool| {
        let set = draft(conf).conf_set(pointer, "100", &free);
        assert_eq!(set.is_ok(), is_set, "{conf} {pointer}");
    };
    check(r#"{"type":"t","vlan":5,"VLAN":7}"#, "/vlan", false);
    check(r#"{"type":"t","vlan":5,"VLAN":7}"#, "/VLAN", true);
    check(r#"{"type":"t","VLAN":7}"#, "/vlan", true);
    check(r#"{"type":"t","x":{"vlan":5,"VLAN":7}}"#, "/x/vlan", false);
    let args = draft(r#"{"type":"t","args":{"cni":{"mac":"a","MAC":"b"}}}"#);
    assert!(matches!(
        args.set_cni_arg("mac", "1"),
        Err(EditError::Invalid(_))
    ));
    args.set_cni_arg("MAC", "1").unwrap();
}

#[test]
fn numbers_that_nothing_can_read_are_refused() {
    let free = ConfGrant::default();
    let draft = draft(r#"{"type":"t"}"#);
    for number in ["1e999999", &"9".repeat(5_000), r#"{"x":[-1e400]}"#] {
        let refused = |edit: Result<_, EditError>| matches!(edit, Err(EditError::Invalid(_)));
        assert!(refused(draft.conf_set("/x", number, &free)), "{number}");
        assert!(refused(draft.set_cni_arg("x", number)), "{number}");
        validate::json_object(&format!(r#"{{"x":{number}}}"#)).unwrap_err();
    }
    draft.conf_set("/x", "12345678901234567890", &free).unwrap();
    draft.conf_set("/x", r#""1e999999""#, &free).unwrap();
}

#[test]
fn many_plugins_have_few_members_to_look_at() {
    let plugins = |first: &str| {
        let others = r#"{"type":"x"}"#;
        let conf = format!(r#"{{"plugins":[{first},{others},{others}]}}"#);
        draft(&conf)
    };
    let members: Vec<String> = (0..50).map(|number| format!(r#""m{number}":1"#)).collect();
    let members = members.join(",");
    for key in ["capabilities", "Capabilities"] {
        for more in ["", &*format!("{members},")] {
            let draft = plugins(&format!(r#"{{{more}"{key}":{{"ips":true}},"type":"x"}}"#));
            assert!(draft.takes("ips").is_ok(), "{key}");
            assert!(draft.takes("mac").is_err(), "{key}");
        }
    }
    for key in ["args", "ARGS"] {
        let draft = plugins(&format!(
            r#"{{{members},"{key}":{{"cni":{{"x":1,"X":2}}}}}}"#
        ));
        assert!(draft.set_cni_arg("x", "3").is_err());
        assert!(draft.set_cni_arg("X", "3").is_ok());
    }
}
