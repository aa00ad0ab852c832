//! The differences that an edit of a result makes, for claims and for the log.

use std::borrow::Cow;
use std::ops::ControlFlow;

use cni_types::json::Node;
use cni_types::result::{CniResult, Dns, Interface, IpConfig, Route};

use super::budget::Extent;
use super::difference::{Keys, Path, Visit, compare_nodes};
use super::outcome::{OutcomeChange, OutcomeDraft};
use super::settings::{Place, Setting};
use super::tree::{object, parsed, set, string, strings_as_set};
use super::{Draft, EditError};

/// A part of an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Area {
    Interfaces,
    Ips,
    Routes,
    Dns,
    Tags,
}

const TAGS: &str = "tags";

impl OutcomeChange {
    pub(super) fn area(&self) -> Area {
        match self {
            Self::Dns(_) => Area::Dns,
            Self::Interfaces(_) => Area::Interfaces,
            Self::Ips(_) => Area::Ips,
            Self::Routes(_) => Area::Routes,
            Self::Tag(..) => Area::Tags,
        }
    }

    /// The values that the change sets, for an outcome at `path` of another value: a list's elements
    /// one by one, as others may add to it.
    pub(super) fn settings_at(&self, mut path: Place) -> Vec<Setting> {
        path.extend(self.area().place());
        if let Self::Tag(key, value) = self {
            path.push(key.clone().into());
            return vec![Setting::Set(path, Some(string(value)))];
        }
        let mut settings = vec![Setting::Gone(path.clone())];
        leaves(self.node(), &mut path, &mut settings);
        settings
    }

    /// The new value of the area.
    fn node(&self) -> Node {
        match self {
            Self::Dns(dns) => dns_node(dns),
            Self::Interfaces(interfaces) => interfaces_node(interfaces),
            Self::Ips(ips) => ips_node(ips),
            Self::Routes(routes) => routes_node(routes),
            Self::Tag(key, value) => set([(key.as_str(), string(value))]),
        }
    }
}

fn leaves(node: Node, path: &mut Place, settings: &mut Vec<Setting>) {
    match node {
        Node::Object(members) => {
            for (key, value) in members {
                path.push(key.into());
                leaves(value, path, settings);
                path.pop();
            }
        }
        leaf => settings.push(Setting::Set(path.clone(), Some(leaf))),
    }
}

impl Area {
    fn place(self) -> impl Iterator<Item = Cow<'static, str>> {
        let (top, member) = match self {
            Self::Interfaces => ("result", Some("interfaces")),
            Self::Ips => ("result", Some("ips")),
            Self::Routes => ("result", Some("routes")),
            Self::Dns => ("result", Some("dns")),
            Self::Tags => (TAGS, None),
        };
        std::iter::once(top).chain(member).map(Cow::Borrowed)
    }
}

impl Draft for OutcomeDraft {
    type Change = OutcomeChange;
    type Area = Area;

    fn extent(change: &OutcomeChange) -> Extent {
        Extent::of_values(match change {
            OutcomeChange::Dns(Dns {
                nameservers,
                domain: _,
                search,
                options,
            }) => nameservers.len() + search.len() + options.len(),
            OutcomeChange::Interfaces(interfaces) => interfaces.len(),
            OutcomeChange::Ips(ips) => ips.len(),
            OutcomeChange::Routes(routes) => routes.len(),
            OutcomeChange::Tag(..) => 0,
        })
    }

    fn areas(&self, change: &OutcomeChange) -> Vec<Area> {
        vec![change.area()]
    }

    fn covers(area: &Area, other: &Area) -> bool {
        area == other
    }

    fn foresee(&self, change: &OutcomeChange, visit: &mut Visit<'_>) -> ControlFlow<()> {
        self.foresee_at(Vec::new(), change, visit)
    }

    fn settings(&self, change: &OutcomeChange) -> Vec<Setting> {
        change.settings_at(Vec::new())
    }

    fn apply(&mut self, change: OutcomeChange) -> Result<(), EditError> {
        match change {
            OutcomeChange::Dns(dns) => self.result.dns = dns,
            OutcomeChange::Interfaces(interfaces) => self.result.interfaces = interfaces,
            OutcomeChange::Ips(ips) => self.result.ips = ips,
            OutcomeChange::Routes(routes) => self.result.routes = routes,
            OutcomeChange::Tag(key, value) => {
                self.tags.insert(key, value);
            }
        }
        Ok(())
    }

    fn compare(&self, later: &Self, area: &Area, visit: &mut Visit<'_>) -> ControlFlow<()> {
        self.compare_at(Vec::new(), later, *area, visit)
    }

    fn show(&self, later: &Self, _: &[Area], visit: &mut Visit<'_>) {
        self.show_at(Vec::new(), later, visit);
    }

    fn field(path: &Path<'_>) -> String {
        match path {
            [top, member, ..] if *top == "result" => format!("{top}.{member}"),
            // The policy chooses the names of the tags.
            [top, ..] => top.to_string(),
            [] => String::new(),
        }
    }

    #[cfg(feature = "fuzz")]
    fn tree(&self) -> Node {
        self.shown()
    }
}

impl OutcomeDraft {
    /// Like [`Draft::foresee`], for an outcome within another value.
    pub(super) fn foresee_at(
        &self,
        path: Vec<Cow<'static, str>>,
        change: &OutcomeChange,
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        let mut path: Vec<Cow<'_, str>> = path;
        if let OutcomeChange::Tag(key, value) = change {
            path.extend([TAGS.into(), key.into()]);
            let old = self.tags.get(key).map(|value| string(value));
            let new = string(value);
            return compare_nodes(Keys::Exact, path, old.as_ref(), Some(&new), visit);
        }
        let new = change.node();
        let area = change.area();
        for token in area.place() {
            path.push(token);
        }
        compare_nodes(Keys::Exact, path, Some(&self.node(area)), Some(&new), visit)
    }

    /// Like [`Draft::compare`], for an outcome within another value.
    pub(super) fn compare_at(
        &self,
        mut path: Vec<Cow<'static, str>>,
        later: &Self,
        area: Area,
        visit: &mut Visit<'_>,
    ) -> ControlFlow<()> {
        path.extend(area.place());
        let (old, new) = (self.node(area), later.node(area));
        compare_nodes(Keys::Exact, path, Some(&old), Some(&new), visit)
    }

    /// Like [`Draft::show`], for an outcome within another value.
    pub(super) fn show_at(
        &self,
        path: Vec<Cow<'static, str>>,
        later: &Self,
        visit: &mut Visit<'_>,
    ) {
        let (old, new) = (self.shown(), later.shown());
        let _ = compare_nodes(Keys::Exact, path, Some(&old), Some(&new), visit);
    }

    /// The outcome for claims: every separately owned element has a key of its own.
    pub(super) fn claimed(&self) -> Node {
        let node = |area| Some(self.node(area));
        let result = object([
            ("interfaces", node(Area::Interfaces)),
            ("ips", node(Area::Ips)),
            ("routes", node(Area::Routes)),
            ("dns", node(Area::Dns)),
        ]);
        object([("result", Some(result)), (TAGS, node(Area::Tags))])
    }

    fn shown(&self) -> Node {
        object([
            ("result", Some(parsed(&self.json()))),
            (TAGS, Some(self.node(Area::Tags))),
        ])
    }

    fn node(&self, area: Area) -> Node {
        let CniResult {
            interfaces,
            ips,
            routes,
            dns,
            ..
        } = &self.result;
        match area {
            Area::Interfaces => interfaces_node(interfaces),
            Area::Ips => ips_node(ips),
            Area::Routes => routes_node(routes),
            Area::Dns => dns_node(dns),
            Area::Tags => set(self
                .tags
                .iter()
                .map(|(key, value)| (key.as_str(), string(value)))),
        }
    }
}

fn interfaces_node(interfaces: &[Interface]) -> Node {
    set(interfaces.iter().map(|interface| {
        let place = interface.sandbox.as_deref().unwrap_or_default();
        (
            format!("{place}/{}", interface.name),
            string(&format!("{interface:?}")),
        )
    }))
}

fn ips_node(ips: &[IpConfig]) -> Node {
    set(ips
        .iter()
        .map(|ip| (ip.address.to_string(), string(&format!("{ip:?}")))))
}

fn routes_node(routes: &[Route]) -> Node {
    set(routes.iter().map(|route| {
        (
            format!("{} {:?} {:?}", route.dst, route.gw, route.table),
            string(&format!("{route:?}")),
        )
    }))
}

fn dns_node(dns: &Dns) -> Node {
    object([
        ("nameservers", Some(strings_as_set(&dns.nameservers))),
        ("domain", dns.domain.as_deref().map(string)),
        ("search", Some(strings_as_set(&dns.search))),
        ("options", Some(strings_as_set(&dns.options))),
    ])
}
