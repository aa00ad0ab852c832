//! What no policy may change of a conf: what decides what is executed, and under which name and version.
//!
//! Go's JSON matches keys whatever their case, and delegating plugins execute what nested objects
//! name. So every `type` at any depth counts, however it is written.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use cni_types::args::PluginType;
use cni_types::json::{Document, Node, Pointer};

use super::difference::{Keys, folded, same};
use super::{EditError, validate};

/// Members of a plugin or of a list that no policy may change.
const PROTECTED: [&str; 6] = [
    "name",
    "cniversion",
    "cniversions",
    "prevresult",
    "runtimeconfig",
    // Without it, a chain goes on with files of a directory.
    "loadonlyinlinedplugins",
];

/// Whether, and to what, a policy may change which binaries a conf names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TypeGrant(pub(crate) BTreeSet<String>);

/// Where in a conf a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    /// A list or a plugin.
    Plugin,
    /// The `args` of a plugin.
    Args,
    /// What a plugin's user passes to it.
    CniArgs,
    /// Anything else.
    Other,
}

impl Context {
    fn below(self, key: &str) -> Self {
        match (self, key) {
            (Self::Plugin, "plugins") => Self::Plugin,
            (Self::Plugin, "args") => Self::Args,
            (Self::Args, "cni") | (Self::CniArgs, _) => Self::CniArgs,
            _ => Self::Other,
        }
    }
}

/// Checks that `new` executes what `old` executes and is of the same name and version.
pub(crate) fn check(old: &Document, new: &Document, grant: &TypeGrant) -> Result<(), EditError> {
    if !matches!(new.root(), Node::Object(_)) {
        return Err(validate::invalid("a conf is not a JSON object"));
    }
    let mut found = Found::default();
    found.pair(None, Context::Plugin, old.root(), new.root());
    found.judge(grant, &Pointer::root())?;
    if has_types(old.root()) && !has_types(new.root()) {
        return Err(typeless());
    }
    Ok(())
}

/// As [`check`], for the edit that puts `new` at `pointer`, or removes what is there: looks at these
/// two values alone.
pub(super) fn check_edit(
    conf: &Document,
    pointer: &Pointer,
    new: Option<&Node>,
    grant: &TypeGrant,
) -> Result<(), EditError> {
    let old = conf.get(pointer);
    let Some((last, path)) = pointer.tokens().split_last() else {
        return match new {
            Some(new @ Node::Object(_)) => {
                let mut found = Found::default();
                found.pair(None, Context::Plugin, conf.root(), new);
                found.judge(grant, pointer)?;
                typed_after(conf, pointer, Some(new))
            }
            _ => Err(validate::invalid("a conf is not a JSON object")),
        };
    };
    let mut context = Context::Plugin;
    let mut node = Some(conf.root());
    for token in path {
        if let Some(Node::Object(_)) = node {
            context = context.below(&folded(token));
        }
        node = node.and_then(|node| node.at(std::slice::from_ref(token)));
    }
    let mut found = Found::default();
    match node {
        Some(Node::Object(_)) => found.member(None, context, last, old, new),
        _ => found.element(None, context, old, new),
    }
    let parent = pointer.parent().unwrap_or_default();
    match node {
        Some(Node::Object(_)) => found.judge(grant, &parent)?,
        _ => found.judge(grant, pointer)?,
    }
    typed_after(conf, pointer, new)
}

/// Refuses a `type` in cni-args, which plugins may execute, unless it was there.
pub(super) fn check_args(
    old: Option<&Node>,
    new: Option<&Node>,
    at: &str,
) -> Result<(), EditError> {
    let mut found = Found::default();
    found.element(None, Context::CniArgs, old, new);
    let place = Pointer::root().child(at);
    found.judge(&TypeGrant::default(), &place)
}

/// As [`check_args`], for one member.
pub(super) fn check_arg(key: &str, new: &Node, at: &str) -> Result<(), EditError> {
    let mut found = Found::default();
    found.member(None, Context::CniArgs, key, None, Some(new));
    let place = Pointer::root().child(at);
    found.judge(&TypeGrant::default(), &place)
}

/// `type` of each plugin, in order.
pub(crate) fn plugin_types(conf: &Document) -> Vec<String> {
    chain(conf.root())
        .map(|plugin| type_of(plugin).unwrap_or_default())
        .collect()
}

/// The plugins of a conflist, or the conf itself.
fn chain(conf: &Node) -> impl Iterator<Item = &Node> {
    let list = match conf.get(&Pointer::root().child("plugins")) {
        Some(Node::Array(list)) => Some(list),
        _ => None,
    };
    let single = list.is_none().then_some(conf);
    list.into_iter().flatten().chain(single)
}

pub(super) fn type_of(plugin: &Node) -> Option<String> {
    plugin.get(&Pointer::root().child("type"))?.get_as().ok()
}

/// Whether there is something to execute, and each plugin says what.
fn has_types(conf: &Node) -> bool {
    let mut chain = chain(conf).peekable();
    chain.peek().is_some() && chain.all(has_type)
}

fn has_type(plugin: &Node) -> bool {
    type_of(plugin).is_some_and(|name| PluginType::new(name).is_ok())
}

fn typeless() -> EditError {
    validate::invalid("a conf whose plugins have no type")
}

/// Whether each plugin still has a type after an edit, where it could take one away.
fn typed_after(conf: &Document, pointer: &Pointer, new: Option<&Node>) -> Result<(), EditError> {
    let string = |node: Option<&Node>| {
        let name: Option<String> = node.and_then(|node| node.get_as().ok());
        name.is_some_and(|name| PluginType::new(name).is_ok())
    };
    let list = conf.get(&Pointer::root().child("plugins"));
    let list = match list {
        Some(Node::Array(list)) => Some(list),
        _ => None,
    };
    let tokens: Vec<&str> = pointer.tokens().iter().map(String::as_str).collect();
    let typed = match (tokens.as_slice(), list) {
        ([], _) => new.is_some_and(has_types),
        (["type"], None) => string(new),
        (["plugins"], _) => match new {
            Some(Node::Array(list)) => !list.is_empty() && list.iter().all(has_type),
            _ => has_type(conf.root()),
        },
        (["plugins", _], Some(list)) => match new {
            Some(new) => has_type(new),
            None => list.len() > 1,
        },
        (["plugins", _, "type"], Some(_)) => string(new),
        _ => true,
    };
    match typed || !has_types(conf.root()) {
        true => Ok(()),
        false => Err(typeless()),
    }
}

/// Protected members and types that differ between two values. Paths are kept as chains of tokens, so
/// that a long one is not copied for each member below it.
#[derive(Default)]
struct Found<'a> {
    tokens: Vec<(Option<usize>, Cow<'a, str>)>,
    /// The first protected member that differs.
    member: Option<usize>,
    /// The first type that differs.
    first: Option<usize>,
    /// The first type that differs in cni-args.
    in_args: Option<usize>,
    before: Vec<&'a Node>,
    after: Vec<(usize, &'a Node)>,
}

impl<'a> Found<'a> {
    fn token(&mut self, parent: Option<usize>, token: impl Into<Cow<'a, str>>) -> usize {
        self.tokens.push((parent, token.into()));
        self.tokens.len() - 1
    }

    fn pair(&mut self, at: Option<usize>, context: Context, old: &'a Node, new: &'a Node) {
        match (old, new) {
            (Node::Object(old), Node::Object(new)) => {
                let index = |members: &'a [(String, Node)]| -> HashMap<&'a str, &'a Node> {
                    members
                        .iter()
                        .map(|(key, value)| (key.as_str(), value))
                        .collect()
                };
                let (olds, news) = (index(old), index(new));
                for (key, value) in new {
                    self.member(
                        at,
                        context,
                        key,
                        olds.get(key.as_str()).copied(),
                        Some(value),
                    );
                }
                for (key, value) in old {
                    if !news.contains_key(key.as_str()) {
                        self.member(at, context, key, Some(value), None);
                    }
                }
            }
            (Node::Array(old), Node::Array(new)) => {
                let equal = |(a, b): &(&Node, &Node)| same(a, b, Keys::Exact);
                let head = old.iter().zip(new).take_while(equal).count();
                let shorter = old.len().min(new.len()) - head;
                let ends = old.iter().rev().zip(new.iter().rev());
                let tail = ends.take(shorter).take_while(equal).count();
                for index in head..old.len().max(new.len()) - tail {
                    let within = |list: &'a [Node]| {
                        let end = list.len() - tail;
                        list.get(index).filter(|_| index < end)
                    };
                    let at = Some(self.token(at, index.to_string()));
                    self.element(at, context, within(old), within(new));
                }
            }
            (old, new) => {
                self.element(at, context, Some(old), None);
                self.element(at, context, None, Some(new));
            }
        }
    }

    /// A value that is not looked at by its key.
    fn element(
        &mut self,
        at: Option<usize>,
        context: Context,
        old: Option<&'a Node>,
        new: Option<&'a Node>,
    ) {
        let (one, is_new) = match (old, new) {
            (Some(old), Some(new)) => return self.pair(at, context, old, new),
            (Some(old), None) => (old, false),
            (None, Some(new)) => (new, true),
            (None, None) => return,
        };
        let sides = |value| {
            if is_new {
                (None, Some(value))
            } else {
                (Some(value), None)
            }
        };
        match one {
            Node::Scalar(_) => {}
            Node::Object(members) => {
                for (key, value) in members {
                    let (old, new) = sides(value);
                    self.member(at, context, key, old, new);
                }
            }
            Node::Array(elements) => {
                for (index, value) in elements.iter().enumerate() {
                    let (old, new) = sides(value);
                    let at = self.token(at, index.to_string());
                    self.element(Some(at), context, old, new);
                }
            }
        }
    }

    fn member(
        &mut self,
        at: Option<usize>,
        context: Context,
        key: &str,
        old: Option<&'a Node>,
        new: Option<&'a Node>,
    ) {
        let token = self.token(at, key.to_owned());
        let key = folded(key);
        let differs = || old != new;
        if *key == *"type" && differs() {
            self.first.get_or_insert(token);
            if context == Context::CniArgs && new.is_some() {
                self.in_args.get_or_insert(token);
            }
            self.before.extend(old);
            self.after.extend(new.map(|new| (token, new)));
        } else if context == Context::Plugin && PROTECTED.contains(&&*key) && differs() {
            self.member.get_or_insert(token);
        }
        self.element(Some(token), context.below(&key), old, new);
    }

    fn judge(&self, grant: &TypeGrant, place: &Pointer) -> Result<(), EditError> {
        let immutable = |token| Err(EditError::Immutable(self.path(token, place)));
        if let Some(token) = self.member.or(self.in_args) {
            return immutable(token);
        }
        let Some(first) = self.first else {
            return Ok(());
        };
        if grant.0.is_empty() {
            return immutable(first);
        }
        // Those that the conf had may change places; one more than there was is as new as any other.
        let mut known: HashMap<String, usize> = HashMap::new();
        for value in &self.before {
            *known.entry(name(value)).or_default() += 1;
        }
        for (token, value) in &self.after {
            let name = name(value);
            if let Some(left) = known.get_mut(&name).filter(|left| **left > 0) {
                *left -= 1;
                continue;
            }
            let text: Option<String> = value.get_as().ok();
            let allowed =
                text.is_some_and(|name| grant.0.contains(&name) && PluginType::new(name).is_ok());
            if !allowed {
                let path = self.path(*token, place);
                return Err(EditError::Immutable(format!(
                    "{path} to {}",
                    short(&value.to_string())
                )));
            }
        }
        Ok(())
    }

    fn path(&self, token: usize, place: &Pointer) -> String {
        let mut tokens = Vec::new();
        let mut next = Some(token);
        while let Some((parent, token)) = next.and_then(|next| self.tokens.get(next)) {
            tokens.push(token);
            next = *parent;
        }
        let within = tokens.into_iter().rev();
        let path = within.fold(place.clone(), |path, token| path.child(&**token));
        short(&path.to_string())
    }
}

/// What is executed, in one form however it is written.
fn name(value: &Node) -> String {
    value
        .get_as::<String>()
        .map_or_else(|_| value.to_string(), |name| format!("{name:?}"))
}

fn short(text: &str) -> String {
    crate::report::clean(text, 256)
}
