//! The differences that an edit of an attachment makes, for claims and for the log.

use std::borrow::Cow;
use std::ops::ControlFlow;

use cni_types::json::{Document, Node, Pointer};

use super::attachment::{ARGS, Area, AttachmentChange, AttachmentDraft, Member};
use super::budget::Extent;
use super::capability_args::{bandwidth, port_mapping, port_mappings_as_set};
use super::conf::{self, ConfEdit};
use super::difference::{Keys, Kind, Path, Step, Visit, Walk, compare_nodes, folded, group};
use super::settings::Setting;
use super::tree::{string, strings, strings_as_set, unless_empty};
use super::twins::{self, Twin};
use super::{Draft, EditError};
use crate::model::request::{Bandwidth, PolicyAttachment, PortMapping};

mod chain;

const CONF: &str = "conf";
const RUNTIME_CONFIG: &str = "runtimeConfig";
/// Spellings of one key that an edit compares; of more, each edit counts as a change of the value.
const SPELLINGS: usize = 16;

/// What a tree is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// For the log: in the form of the capability.
    Shown,
    /// For claims: lists as sets.
    Claimed,
}

impl Draft for AttachmentDraft {
    type Change = AttachmentChange;
    type Area = Area;

    fn extent(change: &AttachmentChange) -> Extent {
        match change {
            AttachmentChange::Conf(edits) => {
                // The call pays for one of them.
                let more = Extent::of_values(edits.len().saturating_sub(1));
                edits.iter().fold(more, |extent, edit| {
                    extent.and(Extent::of(edit.pointer.tokens(), edit.value.as_ref()))
                })
            }
            AttachmentChange::All(changes) => {
                let extents = changes.iter().map(Self::extent);
                extents.fold(Extent::default(), Extent::and)
            }
            AttachmentChange::Chain(plugin) => Extent::of(&[], Some(plugin)),
            AttachmentChange::Arg(key, value) => Extent::of(std::slice::from_ref(key), Some(value)),
            AttachmentChange::Ips(ips) => Extent::of_values(ips.len()),
            AttachmentChange::PortMappings(mappings) => Extent::of_values(mappings.len()),
            AttachmentChange::IfName(_)
            | AttachmentChange::Mac(_)
            | AttachmentChange::Guid(_)
            | AttachmentChange::Bandwidth(_)
            | AttachmentChange::Skip => Extent::default(),
        }
    }

    fn areas(&self, change: &AttachmentChange) -> Vec<Area> {
        let member = match change {
            AttachmentChange::Conf(edits) => {
                let area = |edit: &ConfEdit| Area::Conf(self.conf_area(edit));
                return edits.iter().map(area).collect();
            }
            AttachmentChange::All(changes) => {
                return changes.iter().flat_map(|one| self.areas(one)).collect();
            }
            AttachmentChange::Chain(_) => return vec![Area::Conf(Pointer::root())],
            AttachmentChange::Arg(..) => return vec![Area::Args],
            AttachmentChange::IfName(_) => Member::IfName,
            AttachmentChange::Ips(_) => Member::Ips,
            AttachmentChange::Mac(_) => Member::Mac,
            AttachmentChange::Guid(_) => Member::Guid,
            AttachmentChange::Bandwidth(_) => Member::Bandwidth,
            AttachmentChange::PortMappings(_) => Member::PortMappings,
            AttachmentChange::Skip => Member::Skipped,
        };
        vec![Area::Member(member)]
    }

    fn covers(area: &Area, other: &Area) -> bool {
        match (area, other) {
            (Area::Conf(area), Area::Conf(other)) => area.contains(other),
            (area, other) => area == other,
        }
    }

    fn above(area: &Area) -> Option<Area> {
        match area {
            Area::Conf(pointer) => pointer.parent().map(Area::Conf),
            Area::Args | Area::Member(_) => None,
        }
    }

    fn parent(&self, area: &Area) -> Option<Area> {
        let Area::Conf(pointer) = area else {
            return None;
        };
        let parent = pointer.parent()?;
        let node = self.attachment.conf.get(&parent);
        matches!(node, Some(Node::Object(_))).then_some(Area::Conf(parent))
    }

    fn foresee(&self, change: &AttachmentChange, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let form = Form::Claimed;
        let (member, new) = match change {
            AttachmentChange::Conf(edits) => {
                let conf = &self.attachment.conf;
                let visit = &mut chain::claimed(self.is_chained, visit);
                return edits
                    .iter()
                    .try_for_each(|edit| foresee_conf(conf, edit, visit));
            }
            AttachmentChange::All(changes) => {
                return changes.iter().try_for_each(|one| self.foresee(one, visit));
            }
            AttachmentChange::Chain(plugin) => {
                return Walk::new(Keys::Folded, chain::second(), visit).values(
                    &[],
                    &[plugin],
                    false,
                );
            }
            AttachmentChange::Arg(key, value) => {
                let args = self.attachment.cni_args.as_ref();
                return foresee_member(args, &[], vec![ARGS.into()], (key, Some(value)), visit);
            }
            AttachmentChange::IfName(name) => (Member::IfName, Some(string(name))),
            AttachmentChange::Ips(ips) => (Member::Ips, ips_node(ips, form)),
            AttachmentChange::Mac(mac) => (Member::Mac, mac.as_deref().map(string)),
            AttachmentChange::Guid(guid) => (Member::Guid, guid.as_deref().map(string)),
            AttachmentChange::Bandwidth(value) => {
                (Member::Bandwidth, value.as_ref().map(bandwidth))
            }
            AttachmentChange::PortMappings(mappings) => {
                (Member::PortMappings, port_mappings_node(mappings, form))
            }
            AttachmentChange::Skip => {
                // All that policies set of the attachment goes with it.
                visit(&Step {
                    path: &[],
                    kind: Kind::Removed,
                    old: None,
                    new: None,
                })?;
                (Member::Skipped, Some(skipped()))
            }
        };
        let old = node(&self.attachment, member, form);
        compare_nodes(
            Keys::Folded,
            place(member),
            old.as_ref(),
            new.as_ref(),
            visit,
        )
    }

    fn settings(&self, change: &AttachmentChange) -> Vec<Setting> {
        let form = Form::Claimed;
        let (member, value) = match change {
            AttachmentChange::Conf(edits) => {
                let setting = |edit: &ConfEdit| self.conf_setting(edit);
                return edits.iter().map(setting).collect();
            }
            AttachmentChange::All(changes) => {
                return changes.iter().flat_map(|one| self.settings(one)).collect();
            }
            AttachmentChange::Chain(plugin) => {
                return vec![Setting::Set(chain::second(), Some(plugin.clone()))];
            }
            AttachmentChange::Arg(key, value) => {
                let place = vec![ARGS.into(), owned(folded(key))];
                return vec![Setting::Set(place, Some(value.clone()))];
            }
            AttachmentChange::IfName(name) => (Member::IfName, Some(string(name))),
            AttachmentChange::Ips(ips) => (Member::Ips, ips_node(ips, form)),
            AttachmentChange::Mac(mac) => (Member::Mac, mac.as_deref().map(string)),
            AttachmentChange::Guid(guid) => (Member::Guid, guid.as_deref().map(string)),
            AttachmentChange::Bandwidth(value) => {
                (Member::Bandwidth, value.as_ref().map(bandwidth))
            }
            AttachmentChange::PortMappings(mappings) => {
                (Member::PortMappings, port_mappings_node(mappings, form))
            }
            AttachmentChange::Skip => (Member::Skipped, Some(skipped())),
        };
        vec![Setting::Set(place(member), value)]
    }

    fn apply(&mut self, change: AttachmentChange) -> Result<(), EditError> {
        let attachment = &mut self.attachment;
        match change {
            AttachmentChange::Conf(edits) => return conf::apply(&mut attachment.conf, edits),
            // Of several, only the first one can fail.
            AttachmentChange::All(changes) => {
                return changes.into_iter().try_for_each(|one| self.apply(one));
            }
            AttachmentChange::Chain(plugin) => {
                chain::make(&mut attachment.conf, plugin)?;
                self.is_chained = true;
            }
            AttachmentChange::Arg(key, value) => {
                let args = match attachment.cni_args.take() {
                    Some(args) => args,
                    None => super::json_object("{}")?,
                };
                let args = attachment.cni_args.insert(args);
                let set = ConfEdit {
                    pointer: Pointer::root().child(key),
                    value: Some(value),
                };
                return conf::apply(args, vec![set]);
            }
            AttachmentChange::IfName(name) => attachment.if_name = name,
            AttachmentChange::Ips(ips) => attachment.ips = ips,
            AttachmentChange::Mac(mac) => attachment.mac = mac,
            AttachmentChange::Guid(guid) => attachment.infiniband_guid = guid,
            AttachmentChange::Bandwidth(bandwidth) => attachment.bandwidth = bandwidth,
            AttachmentChange::PortMappings(mappings) => attachment.port_mappings = mappings,
            AttachmentChange::Skip => attachment.skipped = true,
        }
        Ok(())
    }

    fn compare(&self, later: &Self, area: &Area, visit: &mut Visit<'_>) -> ControlFlow<()> {
        let (old, new) = (&self.attachment, &later.attachment);
        match area {
            Area::Conf(pointer) => {
                let old = chain::before(self, later);
                let visit = &mut chain::claimed(later.is_chained, visit);
                compare_conf(&old, new.conf.root(), pointer, visit)
            }
            Area::Args => {
                let empty = Node::Object(Vec::new());
                let (old, new) = (old.cni_args.as_ref(), new.cni_args.as_ref());
                let old = old.map_or(&empty, Document::root);
                let new = new.map_or(&empty, Document::root);
                compare_nodes(Keys::Folded, vec![ARGS.into()], Some(old), Some(new), visit)
            }
            Area::Member(member) => {
                let form = Form::Claimed;
                let (old, new) = (node(old, *member, form), node(new, *member, form));
                compare_nodes(
                    Keys::Folded,
                    place(*member),
                    old.as_ref(),
                    new.as_ref(),
                    visit,
                )
            }
        }
    }

    fn show(&self, later: &Self, areas: &[Area], visit: &mut Visit<'_>) {
        let (old, new) = (&self.attachment, &later.attachment);
        for area in areas {
            let _ = match area {
                Area::Conf(pointer) => {
                    let tokens = pointer.tokens().iter().map(|token| Cow::Borrowed(&**token));
                    let path = std::iter::once(CONF.into()).chain(tokens).collect();
                    let before = chain::before(self, later);
                    let (old, new) = (before.get(pointer), new.conf.get(pointer));
                    compare_nodes(Keys::Exact, path, old, new, visit)
                }
                Area::Args => {
                    let (old, new) = (old.cni_args.as_ref(), new.cni_args.as_ref());
                    let (old, new) = (old.map(Document::root), new.map(Document::root));
                    compare_nodes(Keys::Exact, vec![ARGS.into()], old, new, visit)
                }
                Area::Member(member) => {
                    let form = Form::Shown;
                    let (old, new) = (node(old, *member, form), node(new, *member, form));
                    compare_nodes(
                        Keys::Exact,
                        place(*member),
                        old.as_ref(),
                        new.as_ref(),
                        visit,
                    )
                }
            };
        }
    }

    fn field(path: &Path<'_>) -> String {
        match path {
            [top, member, ..] if *top == RUNTIME_CONFIG => format!("{top}.{member}"),
            // The policy chooses the names of members in the others.
            [top, ..] => top.to_string(),
            [] => String::new(),
        }
    }

    fn twins(&self, step: &Step<'_, '_>) -> Vec<Twin> {
        twins::of_attachment(step, &self.attachment.if_name)
    }

    #[cfg(feature = "fuzz")]
    fn tree(&self) -> Node {
        use super::tree::object;
        let PolicyAttachment { conf, cni_args, .. } = &self.attachment;
        let shown = |member| node(&self.attachment, member, Form::Shown);
        object([
            (CONF, Some(conf.root().clone())),
            ("ifName", shown(Member::IfName)),
            ("ips", shown(Member::Ips)),
            ("mac", shown(Member::Mac)),
            ("infinibandGUID", shown(Member::Guid)),
            ("bandwidth", shown(Member::Bandwidth)),
            ("portMappings", shown(Member::PortMappings)),
            ("skipped", shown(Member::Skipped)),
            (ARGS, cni_args.as_ref().map(|args| args.root().clone())),
        ])
    }
}

impl AttachmentDraft {
    /// The area of an edit: the whole array if removing an element shifts the others.
    fn conf_area(&self, edit: &ConfEdit) -> Pointer {
        let parent = edit.pointer.parent().unwrap_or_default();
        match self.attachment.conf.get(&parent) {
            Some(Node::Array(_)) if edit.value.is_none() => parent,
            _ => edit.pointer.clone(),
        }
    }

    fn conf_setting(&self, edit: &ConfEdit) -> Setting {
        let area = self.conf_area(edit);
        let path = folded_path(area.tokens());
        let path = chain::path(self.is_chained, &path).unwrap_or(path);
        let place = path.into_iter().map(owned).collect();
        match &edit.value {
            Some(value) => Setting::Set(place, Some(value.clone())),
            None => Setting::Gone(place),
        }
    }
}

fn owned(token: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(token.into_owned())
}

fn place(member: Member) -> Vec<Cow<'static, str>> {
    let name = match member {
        Member::IfName => return vec!["ifName".into()],
        Member::Skipped => return vec!["skipped".into()],
        Member::Ips => "ips",
        Member::Mac => "mac",
        Member::Guid => "infinibandGUID",
        Member::Bandwidth => "bandwidth",
        Member::PortMappings => "portMappings",
    };
    vec![RUNTIME_CONFIG.into(), name.into()]
}

fn node(attachment: &PolicyAttachment, member: Member, form: Form) -> Option<Node> {
    match member {
        Member::IfName => Some(string(&attachment.if_name)),
        Member::Ips => ips_node(&attachment.ips, form),
        Member::Mac => attachment.mac.as_deref().map(string),
        Member::Guid => attachment.infiniband_guid.as_deref().map(string),
        Member::Bandwidth => {
            let value: Option<&Bandwidth> = attachment.bandwidth.as_ref();
            value.map(bandwidth)
        }
        Member::PortMappings => port_mappings_node(&attachment.port_mappings, form),
        Member::Skipped => attachment.skipped.then(skipped),
    }
}

fn skipped() -> Node {
    Node::Scalar("true".into())
}

fn ips_node(ips: &[String], form: Form) -> Option<Node> {
    unless_empty(ips, |ips| match form {
        Form::Shown => strings(ips),
        Form::Claimed => strings_as_set(ips),
    })
}

fn port_mappings_node(mappings: &[PortMapping], form: Form) -> Option<Node> {
    unless_empty(mappings, |mappings| match form {
        Form::Shown => Node::Array(mappings.iter().map(port_mapping).collect()),
        Form::Claimed => port_mappings_as_set(mappings),
    })
}

/// Visits the differences that an edit of the conf would make.
fn foresee_conf(conf: &Document, edit: &ConfEdit, visit: &mut Visit<'_>) -> ControlFlow<()> {
    let ConfEdit { pointer, value } = edit;
    let Some((last, tokens)) = pointer.tokens().split_last() else {
        let (old, new) = (Some(conf.root()), value.as_ref());
        return compare_nodes(Keys::Folded, vec![CONF.into()], old, new, visit);
    };
    let mut path = folded_path(tokens);
    let Some(Node::Array(elements)) = conf.at(tokens) else {
        return foresee_member(Some(conf), tokens, path, (last, value.as_ref()), visit);
    };
    let index = last.parse().unwrap_or(elements.len());
    if value.is_none() && index + 1 < elements.len() {
        visit(&Step {
            path: &path,
            kind: Kind::Shifted(index),
            old: None,
            new: None,
        })?;
    }
    path.push(last.into());
    let (old, new) = (elements.get(index), value.as_ref());
    Walk::new(Keys::Folded, path, visit).values(old.as_slice(), new.as_slice(), false)
}

/// Visits the differences that setting or removing a member of an object would make.
fn foresee_member<'a>(
    document: Option<&'a Document>,
    object: &[String],
    mut path: Vec<Cow<'a, str>>,
    (key, value): (&'a String, Option<&'a Node>),
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    path.push(folded(key));
    let mut walk = Walk::new(Keys::Folded, path, visit);
    let spelt = document.and_then(|document| document.last_spelling(object, key));
    if let (Some(document), Some(((last, old), count))) = (document, spelt)
        && count > SPELLINGS
    {
        let member: Vec<String> = object.iter().chain([key]).cloned().collect();
        let replaced = document.at(&member);
        let is_last = last == key || replaced.is_none();
        let read = value.filter(|_| is_last).unwrap_or(old);
        return walk.changed((replaced, value), (old, read));
    }
    let known = document.map_or_else(Vec::new, |document| document.spellings(object, key));
    let (mut old, mut new) = (Vec::new(), Vec::new());
    let mut value = value;
    for (other, known) in known {
        old.push(known);
        match other == key {
            true => new.extend(value.take()),
            false => new.push(known),
        }
    }
    new.extend(value);
    walk.values(&old, &new, true)
}

/// Visits the differences between two confs at a pointer, for all keys that Go's case folding
/// matches to the pointer's last token.
fn compare_conf(
    old: &Node,
    new: &Node,
    pointer: &Pointer,
    visit: &mut Visit<'_>,
) -> ControlFlow<()> {
    let Some((last, tokens)) = pointer.tokens().split_last() else {
        return compare_nodes(Keys::Folded, vec![CONF.into()], Some(old), Some(new), visit);
    };
    let mut path = folded_path(tokens);
    path.push(folded(last));
    let (old, new) = (old.at(tokens), new.at(tokens));
    let member = !matches!(old.or(new), Some(Node::Array(_)));
    let (old, new) = (values(old, last), values(new, last));
    Walk::new(Keys::Folded, path, visit).values(&old, &new, member)
}

/// The values under a token of a pointer, for all keys that Go's case folding matches to it.
fn values<'a>(parent: Option<&'a Node>, token: &str) -> Vec<&'a Node> {
    match parent {
        Some(Node::Array(elements)) => {
            let index: Option<usize> = token.parse().ok();
            index
                .and_then(|index| elements.get(index))
                .into_iter()
                .collect()
        }
        parent => group(parent, token),
    }
}

fn folded_path(tokens: &[String]) -> Vec<Cow<'_, str>> {
    std::iter::once(CONF.into())
        .chain(tokens.iter().map(|token| folded(token)))
        .collect()
}

#[cfg(test)]
mod tests;
