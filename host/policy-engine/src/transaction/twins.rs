//! Values that are reached in several ways: plugins read one value from their conf, from the
//! cni-args and from the runtime configuration. Such a value has one owner, whichever way it was
//! set.
//!
//! As a rule, a member of the cni-args, a member of a plugin and a typed edit of one name set one
//! value. [`SHARED`] lists what the rule does not cover.

use std::borrow::Cow;
use std::net::IpAddr;

use cni_types::json::Node;

use super::difference::{Kind, Step, folded};
use super::sysctl;

/// One way to a value, of those that a difference touches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Twin {
    pub(super) value: Box<str>,
    pub(super) way: Way,
    /// Whether the value is the interface's, so that the plugins of a chain share it.
    pub(super) is_shared: bool,
    /// Whether the value has several spellings within one way.
    pub(super) is_spelt: bool,
}

/// How a value was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By a typed edit.
    Typed,
    /// In the cni-args, which the daemon merges into the conf of each plugin.
    Arg(usize),
    /// In `args.cni` of a plugin. The number is the name's, of several.
    ConfArg(Site, usize),
    /// Under a key of a plugin.
    Key(Site, usize),
    /// Under a key of the plugin's `ipam`. The number is the key's, of several.
    Ipam(Site, usize),
    /// Together with all `args` of a plugin.
    AllArgs(Site),
    /// As a port of the node, at one address or at all.
    Port(Option<IpAddr>),
    /// A selection of a network was removed.
    Removed,
    /// A selection of a network was added.
    Inserted,
}

/// The conf that a plugin reads, or one that it hands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site {
    plugin: usize,
    /// How many `delegate` lead there.
    depth: usize,
}

impl Way {
    fn plugin(self) -> Option<usize> {
        match self {
            Self::ConfArg(site, _)
            | Self::Key(site, _)
            | Self::Ipam(site, _)
            | Self::AllArgs(site) => Some(site.plugin),
            _ => None,
        }
    }
}

impl Twin {
    /// Whether a policy that goes this way changes a value that another one set by `claimed`. The
    /// same way leads to the same place, whose own claims decide, unless it has several spellings.
    pub(super) fn meets(&self, claimed: Way) -> bool {
        match (claimed, self.way) {
            (Way::Removed, Way::Inserted) => true,
            (one, other) if one == other => self.is_spelt,
            (Way::Port(one), Way::Port(other)) => overlap(one, other),
            _ if self.is_shared => true,
            (one, other) => match (one.plugin(), other.plugin()) {
                (Some(one), Some(other)) => one == other,
                _ => true,
            },
        }
    }
}

/// A value of the interface, which the plugins of a chain share.
struct Shared {
    name: &'static str,
    /// Names of typed edits, members of the cni-args, and keys of plugins.
    names: &'static [&'static str],
    /// Keys within `ipam`.
    ipam: &'static [&'static str],
}

impl Shared {
    const fn of(name: &'static str, names: &'static [&'static str]) -> Self {
        Self {
            name,
            names,
            ipam: &[],
        }
    }
}

/// What the reference plugins, whereabouts, SR-IOV, InfiniBand and Open vSwitch plugins read of an
/// interface, with folded names.
const SHARED: [Shared; 15] = [
    Shared {
        name: "ips",
        names: &["ips"],
        ipam: &["addresses", "ips"],
    },
    Shared {
        name: "ipranges",
        names: &["ipranges"],
        ipam: &RANGES,
    },
    Shared {
        name: "dns",
        names: &["dns"],
        ipam: &["dns"],
    },
    Shared::of("mac", &["mac"]),
    Shared::of("guid", &["guid", "infinibandguid", "infiniband-guid"]),
    Shared::of("mtu", &["mtu"]),
    Shared::of("promisc", &["promisc"]),
    Shared::of("allmulti", &["allmulti"]),
    Shared::of("txqlen", &["txqlen"]),
    Shared::of(
        "device",
        &["deviceid", "pcibusid", "device", "hwaddr", "kernelpath"],
    ),
    Shared::of("ingressrate", &["ingressrate"]),
    Shared::of("ingressburst", &["ingressburst"]),
    Shared::of("egressrate", &["egressrate"]),
    Shared::of("egressburst", &["egressburst"]),
    // The bridge plugin takes the second for the first.
    Shared::of("isgateway", &["isgateway", "isdefaultgateway"]),
];
/// Keys of `ipam` that hold whole ranges.
const RANGES: [&str; 4] = ["subnet", "ranges", "range", "ipranges"];
/// Keys of `ipam` that narrow the range beside them, which other keys of [`RANGES`] replace.
const RANGE_PARTS: [&str; 6] = [
    "rangestart",
    "rangeend",
    "range_start",
    "range_end",
    "exclude",
    "gateway",
];
/// The kernel's second way to an interface's MTU, as [`sysctl::setting`] names it.
const IPV6_MTU: &str = "net/ipv6/conf/ifname/mtu";
/// The members of the typed bandwidth are keys of the plugin's conf.
const BANDWIDTH: [&str; 4] = ["ingressrate", "ingressburst", "egressrate", "egressburst"];
/// Tuning merges the members of these; a policy owns them one by one.
const MERGED: [&str; 1] = ["sysctl"];
/// The value of all cni-args together.
const ALL_ARGS: &str = "";
/// Separates the parts of a value's name.
const SEPARATOR: char = '\0';

/// The values that a difference of an attachment touches.
pub(super) fn of_attachment(step: &Step<'_, '_>, if_name: &str) -> Vec<Twin> {
    let mut finder = TwinFinder::new(step, None, if_name);
    match step.path {
        [top, rest @ ..] if *top == "conf" => finder.in_conf(rest),
        [top, rest @ ..] if *top == "cniArgs" => finder.in_args(rest),
        [top, member, rest @ ..] if *top == "runtimeConfig" => finder.typed(member, rest),
        _ => {}
    }
    finder.twins
}

/// The values that a difference of the selections touches; each selection has its own.
pub(super) fn of_selection(step: &Step<'_, '_>, if_name: &str) -> Vec<Twin> {
    let [id, rest @ ..] = step.path else {
        return Vec::new();
    };
    let mut finder = TwinFinder::new(step, Some(id), if_name);
    match rest {
        [] => finder.each(&mut |finder, key, node| finder.of_selection(key, &[], node)),
        [member, rest @ ..] => {
            for (is_new, node) in finder.sides() {
                finder.is_new = is_new;
                finder.of_selection(member, rest, Some(node));
            }
            if step.old.or(step.new).is_none() {
                finder.of_selection(member, rest, None);
            }
        }
    }
    finder.twins
}

struct TwinFinder<'s, 'a> {
    step: &'s Step<'s, 'a>,
    /// The selection.
    id: Option<&'s str>,
    /// The interface, if it has a name yet.
    if_name: &'s str,
    /// Whether the value at hand is the new one.
    is_new: bool,
    twins: Vec<Twin>,
}

type Member<'f, 's, 'a> = dyn FnMut(&mut TwinFinder<'s, 'a>, &str, Option<&'a Node>) + 'f;

impl<'s, 'a> TwinFinder<'s, 'a> {
    fn new(step: &'s Step<'s, 'a>, id: Option<&'s str>, if_name: &'s str) -> Self {
        Self {
            step,
            id,
            if_name,
            is_new: false,
            twins: Vec::new(),
        }
    }

    /// The values before and after, and whether each is the new one.
    fn sides(&self) -> impl Iterator<Item = (bool, &'a Node)> + use<'a> {
        let old = self.step.old.map(|node| (false, node));
        old.into_iter()
            .chain(self.step.new.map(|node| (true, node)))
    }

    /// Visits the members of both values.
    fn each(&mut self, visit: &mut Member<'_, 's, 'a>) {
        for (is_new, node) in self.sides() {
            self.is_new = is_new;
            members(node, &mut |key, node| visit(self, key, Some(node)));
        }
    }

    fn in_conf(&mut self, path: &[Cow<'_, str>]) {
        match path {
            [list, index, rest @ ..] if *list == "plugins" => {
                self.in_plugin(Site::of(index.parse().unwrap_or_default()), rest);
            }
            [list] if *list == "plugins" => {
                for (_, node) in self.sides() {
                    self.list(node);
                }
            }
            [] => self.each(&mut |finder, key, node| match (key, node) {
                ("plugins", Some(node)) => finder.list(node),
                _ => finder.member(Site::of(0), key, &[], node),
            }),
            rest => self.in_plugin(Site::of(0), rest),
        }
    }

    fn list(&mut self, node: &'a Node) {
        if let Node::Array(plugins) = node {
            for (plugin, node) in plugins.iter().enumerate() {
                members(node, &mut |key, node| {
                    self.member(Site::of(plugin), key, &[], Some(node));
                });
            }
        }
    }

    fn in_plugin(&mut self, plugin: Site, path: &[Cow<'_, str>]) {
        match path {
            [] => self.each(&mut |finder, key, node| finder.member(plugin, key, &[], node)),
            [key, rest @ ..] => {
                for (_, node) in self.sides() {
                    self.member(plugin, key, rest, Some(node));
                }
                if self.step.kind == Kind::Removed {
                    self.member(plugin, key, rest, None);
                }
            }
        }
    }

    /// A member of a plugin; `node` is what is at `rest` below it.
    fn member(&mut self, plugin: Site, key: &str, rest: &[Cow<'_, str>], node: Option<&'a Node>) {
        match (key, rest) {
            ("args", [cni, rest @ ..]) if *cni == "cni" => self.conf_args(plugin, rest, node),
            ("args", []) => match node {
                Some(node @ Node::Object(_)) => members(node, &mut |key, node| {
                    if key == "cni" {
                        self.conf_args(plugin, &[], Some(node));
                    }
                }),
                _ => self.push(ALL_ARGS, Way::AllArgs(plugin), false),
            },
            ("args", _) => {}
            ("ipam", [key, ..]) => self.ipam(plugin, key),
            ("ipam", []) => within(node, &mut |key, _| self.ipam(plugin, key)),
            // A plugin that delegates hands these on as a conf of its own.
            ("delegate", [key, rest @ ..]) => self.member(plugin.below(), key, rest, node),
            ("delegate", []) => within(node, &mut |key, node| {
                self.member(plugin.below(), key, &[], Some(node));
            }),
            _ => self.named(key, rest, node, &|name| Way::Key(plugin, name)),
        }
    }

    fn conf_args(&mut self, plugin: Site, path: &[Cow<'_, str>], node: Option<&'a Node>) {
        let way = |name| Way::ConfArg(plugin, name);
        match (path, node) {
            ([key, rest @ ..], _) => self.named(key, rest, node, &way),
            ([], Some(node @ Node::Object(_))) => {
                members(node, &mut |key, node| {
                    self.named(key, &[], Some(node), &way)
                });
            }
            ([], _) => self.push(ALL_ARGS, Way::AllArgs(plugin), false),
        }
    }

    fn ipam(&mut self, plugin: Site, key: &str) {
        // Its own way to each part, so that two policies may set two parts.
        let own = RANGES.len();
        if RANGE_PARTS.contains(&key) {
            self.push(&range_part(key), Way::Ipam(plugin, own), false);
        }
        if let Some(number) = RANGES.iter().position(|known| *known == key) {
            for part in RANGE_PARTS {
                self.push(&range_part(part), Way::Ipam(plugin, number), false);
            }
        }
        for Shared { name, ipam, .. } in &SHARED {
            if let Some(number) = ipam.iter().position(|known| *known == key) {
                self.push(name, Way::Ipam(plugin, number), true);
            }
        }
    }

    fn in_args(&mut self, path: &[Cow<'_, str>]) {
        self.push(ALL_ARGS, Way::Arg(0), false);
        match path {
            [] => self.each(&mut |finder, key, node| finder.named(key, &[], node, &Way::Arg)),
            [key, rest @ ..] => {
                for (_, node) in self.sides() {
                    self.named(key, rest, Some(node), &Way::Arg);
                }
            }
        }
    }

    /// A value that the rule or the table knows by its name.
    fn named(
        &mut self,
        key: &str,
        rest: &[Cow<'_, str>],
        node: Option<&'a Node>,
        way: &dyn Fn(usize) -> Way,
    ) {
        if MERGED.contains(&key) {
            return match rest {
                [member, ..] => self.setting(key, member, way(0)),
                [] => within(node, &mut |member, _| self.setting(key, member, way(0))),
            };
        }
        let (name, number, is_shared) = known(key);
        self.push(name, way(number), is_shared);
    }

    /// A kernel setting, which has several spellings.
    fn setting(&mut self, key: &str, member: &str, way: Way) {
        let setting = sysctl::setting(member, self.if_name);
        self.push(&format!("{key}{SEPARATOR}{setting}"), way, true);
        if let Some(twin) = self.twins.last_mut() {
            twin.is_spelt = true;
        }
        if key == "sysctl" && setting == IPV6_MTU {
            self.push("mtu", way, true);
        }
    }

    /// A member that a typed edit sets.
    fn typed(&mut self, member: &str, rest: &[Cow<'_, str>]) {
        let member = folded(member);
        match (&*member, rest) {
            ("portmappings", [port, ..]) => return self.port(port),
            ("portmappings", []) => self.each(&mut |finder, port, _| finder.port(port)),
            ("bandwidth", _) => {
                for name in BANDWIDTH {
                    self.push(name, Way::Typed, true);
                }
            }
            _ => {}
        }
        let (name, _, is_shared) = known(&member);
        self.push(name, Way::Typed, is_shared);
    }

    /// A port of the node; overlapping addresses are one value.
    fn port(&mut self, key: &str) {
        let mut parts = key.splitn(3, '/');
        let (port, protocol) = (parts.next(), parts.next());
        let (Some(port), Some(protocol)) = (port, protocol) else {
            return;
        };
        let ip = parts.next().and_then(|ip| ip.parse::<IpAddr>().ok());
        let value = format!("port{SEPARATOR}{port}/{protocol}");
        self.push(&value, Way::Port(ip.map(|ip| ip.to_canonical())), false);
    }

    fn of_selection(&mut self, member: &str, rest: &[Cow<'_, str>], node: Option<&'a Node>) {
        match (member, rest) {
            // A network that a policy kept was neither inserted nor removed.
            ("network", _) if self.step.old == self.step.new => {}
            ("network", _) => {
                let way = match self.is_new {
                    true => Way::Inserted,
                    false => Way::Removed,
                };
                if let Some(Node::Scalar(name)) = node {
                    let value = format!("network{SEPARATOR}{name}").into();
                    self.twins.push(Twin {
                        value,
                        way,
                        is_shared: false,
                        is_spelt: false,
                    });
                }
            }
            ("cni-args", [key, rest @ ..]) => self.named(key, rest, node, &Way::Arg),
            ("cni-args", []) => within(node, &mut |key, node| {
                self.named(key, &[], Some(node), &Way::Arg);
            }),
            ("portmappings", []) => within(node, &mut |port, _| self.port(port)),
            _ => self.typed(member, rest),
        }
    }

    fn push(&mut self, value: &str, way: Way, is_shared: bool) {
        let value = match self.id {
            Some(id) => format!("{id}{SEPARATOR}{value}").into(),
            None => value.into(),
        };
        self.twins.push(Twin {
            value,
            way,
            is_shared,
            is_spelt: false,
        });
    }
}

impl Site {
    /// A plugin of the chain, or the only one.
    fn of(plugin: usize) -> Self {
        Self { plugin, depth: 0 }
    }

    /// The conf that is handed on.
    fn below(self) -> Self {
        Self {
            depth: self.depth + 1,
            ..self
        }
    }
}

/// The value of a key that narrows a range.
fn range_part(key: &str) -> String {
    format!("ipranges{SEPARATOR}{key}")
}

/// The value that a folded name means, which of its names this is, and whether it is shared.
fn known(name: &str) -> (&str, usize, bool) {
    SHARED
        .iter()
        .find_map(|value| {
            let number = value.names.iter().position(|known| *known == name)?;
            Some((value.name, number, true))
        })
        .unwrap_or((name, 0, false))
}

fn members<'a>(node: &'a Node, visit: &mut dyn FnMut(&str, &'a Node)) {
    if let Node::Object(members) = node {
        for (key, value) in members {
            visit(&folded(key), value);
        }
    }
}

fn within<'a>(node: Option<&'a Node>, visit: &mut dyn FnMut(&str, &'a Node)) {
    if let Some(node) = node {
        members(node, visit);
    }
}

/// Whether a port at one address is a port at the other.
fn overlap(one: Option<IpAddr>, other: Option<IpAddr>) -> bool {
    let (Some(one), Some(other)) = (one, other) else {
        return true;
    };
    one == other
        || one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
}
