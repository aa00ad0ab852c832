//! The host side of guest calls as a function of bytes, only for the fuzz targets.
//!
//! Each line is one call: a method name and its arguments, separated by tabs; `accept`, `drop` and
//! `end` end the turn of one policy. No sequence of calls may change a protected value.

mod claims;
mod confs;
mod naive;
mod selections;
mod ways;

use std::collections::BTreeSet;
use std::sync::Arc;

use cni_types::json::{Document, Limits};
use cni_types::result::{CniResult, Dns};
use cni_types::version::ConfVersion;

use crate::model::grant::ConfGrant;
use crate::model::request::{Bandwidth, PolicyAttachment, PortMapping, Selection};
use crate::transaction::{
    AttachmentChange, AttachmentDraft, Budget, Draft, EditError, OutcomeChange, OutcomeDraft,
    RawIp, SelectionsChange, SelectionsDraft, Transaction, View, Working, conf_get, plugin_types,
    route,
};

const BUDGET: Budget = Budget::of(256, 1 << 20);
/// Two policies, so that they can conflict.
const POLICIES: [&str; 2] = ["first", "second"];
const CONF: &str = r#"{"cniVersion":"1.0.0","name":"storage","plugins":[
    {"type":"macvlan","master":"eth1","mtu":1500,"ipam":{"type":"host-local","x":[1,{"y":null}]}},
    {"type":"tuning","sysctl":{"a":"b"}}]}"#;
const RESULT: &str = r#"{"cniVersion":"1.1.0","interfaces":[{"name":"net1","sandbox":"/run/netns/a"}],
    "ips":[{"address":"10.1.2.3/24","interface":0}],"routes":[{"dst":"0.0.0.0/0"}]}"#;

pub use claims::claims;
pub use confs::confs;
pub use selections::selections;

/// One guest call.
struct Call<'a> {
    method: &'a str,
    arguments: Vec<&'a str>,
}

impl<'a> Call<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.split('\t');
        Self {
            method: words.next().unwrap_or_default(),
            arguments: words.collect(),
        }
    }

    fn text(&self, position: usize) -> &'a str {
        self.arguments.get(position).copied().unwrap_or_default()
    }

    fn optional(&self, position: usize) -> Option<&'a str> {
        self.arguments.get(position).copied()
    }

    fn number<T: std::str::FromStr + Default>(&self, position: usize) -> T {
        self.text(position).parse().unwrap_or_default()
    }

    fn all(&self) -> Vec<String> {
        self.arguments.iter().map(|&text| text.to_owned()).collect()
    }

    fn bytes(&self) -> usize {
        self.arguments.iter().map(|argument| argument.len()).sum()
    }
}

/// Runs the calls on an attachment, on a result, and on a pod's selections.
///
/// # Panics
/// If a value changed that no guest may change.
pub fn guest_edits(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let calls: Vec<Call<'_>> = text.lines().map(Call::parse).collect();
    for is_default in [true, false] {
        for grant in [ConfGrant::default(), ConfGrant::of(&["bridge"], &[])] {
            let first = attachment(is_default);
            let reserved = Arc::new([("eth0".to_owned(), "cluster".to_owned())].into());
            let last = play(
                AttachmentDraft::new(first.clone(), reserved),
                &calls,
                |draft, call| edit_attachment(draft, call, &grant),
            );
            unchanged(&first, &last.into_attachment(), &grant);
        }
    }
    let result = CniResult::parse(RESULT.as_bytes(), ConfVersion::default());
    let last = play(
        OutcomeDraft::new(result.expect("it is valid")),
        &calls,
        edit_outcome,
    );
    let json = last.json();
    CniResult::parse(json.as_bytes(), ConfVersion::default()).expect("a guest sees a valid result");
    let last = play(
        SelectionsDraft::of_pod(vec![selection("default", "blue")]),
        &calls,
        edit_selections,
    );
    assert!(last.iter(View::All).count() <= 64, "bounded");
}

/// Runs the policies' calls, one policy after the other.
fn play<D: Draft>(
    draft: D,
    calls: &[Call<'_>],
    edit: impl Fn(&D, &Call<'_>) -> Result<D::Change, EditError>,
) -> D {
    let mut working = Working::new(draft);
    let mut policies = POLICIES.into_iter().cycle().map(Arc::<str>::from);
    let mut owner = policies.next().expect("there are some");
    let mut transaction = working.begin(Arc::clone(&owner), BUDGET);
    for call in calls {
        if !matches!(call.method, "accept" | "drop") {
            let before = transaction.draft().tree();
            if transaction
                .edit(call.bytes(), |draft| edit(draft, call))
                .is_err()
            {
                assert!(
                    before == transaction.draft().tree(),
                    "a refused edit did something"
                );
            }
            continue;
        }
        end_turn(&mut working, transaction, &owner, call.method == "accept");
        owner = policies.next().expect("there are some");
        transaction = working.begin(Arc::clone(&owner), BUDGET);
    }
    end_turn(&mut working, transaction, &owner, true);
    working.finish()
}

/// Ends a turn, and checks that it changed something exactly if accepted with a patch.
fn end_turn<D: Draft>(
    working: &mut Working<D>,
    transaction: Transaction<D>,
    owner: &Arc<str>,
    accepts: bool,
) {
    let now = |working: &Working<D>| working.begin(Arc::clone(owner), BUDGET).draft().tree();
    let before = now(working);
    let staged = working.staged(transaction);
    let changes = staged.patch.is_some();
    if accepts {
        working.commit(owner, staged);
    }
    assert!(
        (accepts && changes) == (before != now(working)),
        "the patch says what changed"
    );
}

fn edit_attachment(
    draft: &AttachmentDraft,
    call: &Call<'_>,
    grant: &ConfGrant,
) -> Result<AttachmentChange, EditError> {
    match call.method {
        "conf-set" => draft.conf_set(call.text(0), call.text(1), grant),
        "conf-remove" => draft.conf_remove(call.text(0), grant),
        "conf-get" => {
            let _ = conf_get(&draft.attachment().conf, call.text(0));
            Err(unknown())
        }
        "set-mtu" => draft.set_mtu(call.number(0)),
        "set-if-name" => draft.set_if_name(call.text(0)),
        "set-ips" => draft.set_ips(&call.all()),
        "set-mac" => draft.set_mac(call.optional(0)),
        "set-guid" => draft.set_infiniband_guid(call.optional(0)),
        "set-cni-arg" => draft.set_cni_arg(call.text(0), call.text(1)),
        "set-bandwidth" => draft.set_bandwidth(Some(Bandwidth {
            ingress_rate: call.number(0),
            ingress_burst: call.number(1),
            egress_rate: call.number(2),
            egress_burst: call.number(3),
        })),
        "set-port-mapping" => draft.set_port_mappings(&[port_mapping(call)]),
        _ => Err(unknown()),
    }
}

fn edit_outcome(draft: &OutcomeDraft, call: &Call<'_>) -> Result<OutcomeChange, EditError> {
    match call.method {
        "set-ips" => {
            let ips = call.arguments.iter().map(|address| RawIp {
                address: (*address).to_owned(),
                gateway: None,
                interface: Some(0),
            });
            draft.set_ips(&ips.collect::<Vec<_>>())
        }
        "set-ip" => draft.set_ips(&[RawIp {
            address: call.text(0).to_owned(),
            gateway: call.optional(1).map(str::to_owned),
            interface: call.optional(2).map(|_| call.number(2)),
        }]),
        "set-route" => draft.set_routes(vec![route(call.text(0), call.optional(1))?]),
        "set-dns" => draft.set_dns(Dns {
            nameservers: call.all(),
            domain: call.optional(0).map(str::to_owned),
            search: call.all(),
            options: call.all(),
        }),
        "set-no-interfaces" => draft.set_interfaces(Vec::new()),
        "set-interface" => {
            let mut interfaces = draft.result().interfaces.clone();
            for interface in &mut interfaces {
                call.text(0).clone_into(&mut interface.name);
                interface.mac = call.optional(1).map(str::to_owned);
                interface.sandbox = call.optional(2).map(str::to_owned);
            }
            draft.set_interfaces(interfaces)
        }
        "tag" => draft.tag(call.text(0), call.text(1)),
        _ => Err(unknown()),
    }
}

fn edit_selections(
    draft: &SelectionsDraft,
    call: &Call<'_>,
) -> Result<SelectionsChange, EditError> {
    let mut wanted = selection(call.text(1), call.text(2));
    wanted.if_name = call.optional(3).map(str::to_owned);
    wanted.ips.extend(call.optional(4).map(str::to_owned));
    wanted.mac = call.optional(5).map(str::to_owned);
    wanted
        .default_route
        .extend(call.optional(6).map(str::to_owned));
    match call.method {
        "insert" => draft.insert(call.number(0), &wanted),
        "replace" => draft.replace(call.number(0), &wanted),
        "remove" => draft.remove(call.number(0)),
        "move" => draft.shift(call.number(0), call.number(1)),
        _ => Err(unknown()),
    }
}

fn unknown() -> EditError {
    EditError::Invalid("no such edit".to_owned())
}

fn port_mapping(call: &Call<'_>) -> PortMapping {
    PortMapping {
        host_port: call.number(0),
        container_port: call.number(1),
        protocol: Some(call.text(2).to_owned()),
        host_ip: call.optional(3).map(str::to_owned),
    }
}

fn selection(namespace: &str, name: &str) -> Selection {
    Selection {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Selection::default()
    }
}

fn attachment(is_default: bool) -> PolicyAttachment {
    let conf = Document::parse(CONF, Limits::default()).expect("it is valid");
    PolicyAttachment {
        is_default,
        ips: vec!["10.1.2.3/24".to_owned()],
        ..PolicyAttachment::new("default/storage", "net1", conf)
    }
}

/// Checks the values that no guest may change, whatever its grants.
fn unchanged(first: &PolicyAttachment, last: &PolicyAttachment, grant: &ConfGrant) {
    assert_eq!(last.network, first.network);
    assert!(!first.is_default || last.if_name == first.if_name);
    assert_ne!(last.if_name, "eth0", "another network has it");
    for pointer in ["/name", "/cniVersion"] {
        assert_eq!(
            conf_get(&last.conf, pointer),
            conf_get(&first.conf, pointer)
        );
    }
    let known: BTreeSet<String> = plugin_types(&first.conf).into_iter().collect();
    for name in plugin_types(&last.conf) {
        assert!(
            known.contains(&name) || grant.types.contains(&name),
            "{name:?}"
        );
    }
    let text = last.conf.root().to_string();
    Document::parse(&text, Limits::default()).expect("the conf is JSON");
    for text in last.mac.iter().chain(&last.infiniband_guid) {
        assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        );
    }
}
