//! A JSON tree that is edited by pointer and prints unedited scalars verbatim.

use std::collections::HashMap;
use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::keys::folded;
use super::places::Places;
use super::reader::Reader;
use super::{Error, Pointer, RawObject};

/// Size and depth limits of a [`Document`], enforced on parsing and on every edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of text.
    pub max_bytes: usize,
    /// Nesting levels of objects and arrays; a bare scalar has 0.
    pub max_depth: usize,
}

impl Default for Limits {
    /// 1 MiB and 64 levels: more than any configuration needs, and harmless.
    fn default() -> Self {
        Self {
            max_bytes: 1 << 20,
            max_depth: 64,
        }
    }
}

/// One value of a [`Document`].
///
/// Equality is semantic for objects and strings: member order and escaping do not matter. Numbers
/// compare as text, so that no digit is lost.
#[derive(Clone, Debug)]
pub enum Node {
    /// Members in order, keys unique.
    Object(Vec<(String, Node)>),
    /// Elements in order.
    Array(Vec<Node>),
    /// A string, number, boolean or null, as its JSON text.
    Scalar(Box<str>),
}

/// A JSON tree with limits, edited by [`Pointer`].
#[derive(Clone, Debug)]
pub struct Document {
    root: Node,
    limits: Limits,
    /// Length of the text, so that an edit need not print the whole document to know it.
    bytes: usize,
    places: Places,
}

impl Document {
    /// Reads one JSON value.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::TooLarge`] or [`Error::TooDeep`].
    pub fn parse(text: &str, limits: Limits) -> Result<Self, Error> {
        let root = Node::parse(text, limits)?;
        let bytes = root.text_len();
        Ok(Self {
            root,
            limits,
            bytes,
            places: Places::default(),
        })
    }

    /// The whole tree.
    pub fn root(&self) -> &Node {
        &self.root
    }

    /// The limits enforced on every edit.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The value at `pointer`.
    pub fn get(&self, pointer: &Pointer) -> Option<&Node> {
        self.at(pointer.tokens())
    }

    /// The value at a pointer's tokens. Many edits of one object do not search it each time.
    pub fn at(&self, tokens: &[String]) -> Option<&Node> {
        let mut tokens_so_far = tokens.iter().enumerate();
        tokens_so_far.try_fold(&self.root, |node, (depth, token)| match node {
            Node::Object(members) => {
                let path = tokens.get(..depth).unwrap_or_default();
                let at = self.places.of(path, members, token)?;
                members.get(at).map(|(_, value)| value)
            }
            Node::Array(elements) => elements.get(index(token)?),
            Node::Scalar(_) => None,
        })
    }

    /// The members that Go's decoder takes for `key`, in order, of the object at a pointer's tokens.
    pub fn spellings(&self, object: &[String], key: &str) -> Vec<&(String, Node)> {
        match self.at(object) {
            Some(Node::Object(members)) => self.places.of_folded(object, members, &folded(key)),
            _ => Vec::new(),
        }
    }

    /// The last member that Go's decoder takes for `key`, which it reads, and the number of all of
    /// them. Many edits of one object do not search it each time.
    pub fn last_spelling(&self, object: &[String], key: &str) -> Option<(&(String, Node), usize)> {
        match self.at(object)? {
            Node::Object(members) => self.places.last_folded(object, members, &folded(key)),
            Node::Array(_) | Node::Scalar(_) => None,
        }
    }

    /// Replaces the value at `pointer`, or adds it: a new member of an existing object, or a new
    /// last element of an array (`-` or its length). Returns the previous value.
    ///
    /// # Errors
    /// [`Error::Syntax`] when `json` is not JSON; [`Error::MissingParent`],
    /// [`Error::NotAContainer`] or [`Error::Index`] when nothing can be set at `pointer`;
    /// [`Error::TooLarge`] or [`Error::TooDeep`] when the edit would exceed the limits. The
    /// document is then unchanged.
    pub fn set(&mut self, pointer: &Pointer, json: &str) -> Result<Option<Node>, Error> {
        self.set_node(pointer, Node::parse(json, self.limits)?)
    }

    /// As [`set`](Self::set), with a parsed value. The cost depends on the old and new value, not
    /// on the size of the document.
    ///
    /// # Errors
    /// As [`set`](Self::set), except [`Error::Syntax`].
    pub fn set_node(&mut self, pointer: &Pointer, value: Node) -> Result<Option<Node>, Error> {
        if pointer.tokens().len() + value.depth() > self.limits.max_depth {
            return Err(Error::TooDeep {
                limit: self.limits.max_depth,
            });
        }
        let added = value.text_len();
        let bytes = match self.get(pointer) {
            Some(old) => self.bytes - old.text_len() + added,
            None => self.bytes + added + self.overhead(pointer),
        };
        if bytes > self.limits.max_bytes {
            return Err(Error::TooLarge {
                bytes,
                limit: self.limits.max_bytes,
            });
        }
        let old = self.put(pointer, value)?;
        self.bytes = bytes;
        Ok(old)
    }

    /// Removes and returns the value at `pointer`. Later array elements take the previous index.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the value does not exist, or when `pointer` is the whole document.
    pub fn remove(&mut self, pointer: &Pointer) -> Result<Node, Error> {
        let removed = self.take(pointer).ok_or_else(|| Error::NotFound {
            pointer: pointer.to_string(),
        })?;
        self.bytes -= removed.text_len() + self.overhead(pointer);
        Ok(removed)
    }

    /// Bytes that a new member or element at `pointer` adds besides its value: the key and the
    /// separating comma.
    fn overhead(&self, pointer: &Pointer) -> usize {
        let Some((last, path)) = pointer.tokens().split_last() else {
            return 0;
        };
        match self.at(path) {
            Some(Node::Object(members)) => {
                let key = serde_json::to_string(last).map_or(0, |key| key.len());
                key + 1 + usize::from(!members.is_empty())
            }
            Some(Node::Array(elements)) => usize::from(!elements.is_empty()),
            _ => 0,
        }
    }

    fn put(&mut self, pointer: &Pointer, value: Node) -> Result<Option<Node>, Error> {
        let Self { root, places, .. } = self;
        let tokens = pointer.tokens();
        let Some((last, path)) = tokens.split_last() else {
            places.forget(tokens);
            return Ok(Some(std::mem::replace(root, value)));
        };
        let parent = || pointer.parent().unwrap_or_default().to_string();
        match at_mut(root, places, path) {
            None => Err(Error::MissingParent { pointer: parent() }),
            Some(Node::Scalar(_)) => Err(Error::NotAContainer { pointer: parent() }),
            Some(Node::Object(members)) => {
                places.searched(path, members);
                let at = places.of(path, members, last);
                if let Some((_, old)) = at.and_then(|at| members.get_mut(at)) {
                    places.forget(tokens);
                    return Ok(Some(std::mem::replace(old, value)));
                }
                members.push((last.clone(), value));
                places.added(path, last);
                Ok(None)
            }
            Some(Node::Array(elements)) => {
                let len = elements.len();
                let position = if last == "-" { Some(len) } else { index(last) };
                if position == Some(len) {
                    elements.push(value);
                    return Ok(None);
                }
                match position.and_then(|at| elements.get_mut(at)) {
                    Some(old) => {
                        places.forget(tokens);
                        Ok(Some(std::mem::replace(old, value)))
                    }
                    None => Err(Error::Index {
                        pointer: parent(),
                        token: last.clone(),
                        len,
                    }),
                }
            }
        }
    }

    fn take(&mut self, pointer: &Pointer) -> Option<Node> {
        let Self { root, places, .. } = self;
        let tokens = pointer.tokens();
        let (last, path) = tokens.split_last()?;
        match at_mut(root, places, path)? {
            Node::Scalar(_) => None,
            Node::Object(members) => {
                places.searched(path, members);
                let at = places.of(path, members, last)?;
                places.forget(tokens);
                places.removed(path, last);
                Some(members.remove(at).1)
            }
            Node::Array(elements) => {
                let at = index(last).filter(|at| *at < elements.len())?;
                // Later elements get other pointers.
                places.forget(path);
                Some(elements.remove(at))
            }
        }
    }

    /// Length of the document's text in bytes.
    pub fn text_len(&self) -> usize {
        self.bytes
    }

    /// About the bytes of memory that its index takes.
    pub(super) fn indexed(&self) -> usize {
        self.places.memory()
    }

    /// The whole document as JSON text.
    pub fn to_raw(&self) -> Box<RawValue> {
        self.root.to_raw()
    }

    /// The whole document as an object.
    ///
    /// # Errors
    /// [`Error::NotAnObject`] when the root is not an object.
    pub fn to_object(&self) -> Result<RawObject, Error> {
        match &self.root {
            Node::Object(members) => {
                let mut object = RawObject::new();
                let members = members.iter();
                object.extend(members.map(|(key, value)| (key.as_str(), value.to_raw())));
                Ok(object)
            }
            _ => Err(Error::NotAnObject),
        }
    }
}

impl PartialEq for Document {
    fn eq(&self, other: &Self) -> bool {
        self.root == other.root
    }
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.root.fmt(f)
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.root.serialize(serializer)
    }
}

impl Node {
    /// Reads one JSON value within `limits`.
    ///
    /// # Errors
    /// [`Error::Syntax`], [`Error::TooLarge`] or [`Error::TooDeep`].
    pub fn parse(text: &str, limits: Limits) -> Result<Self, Error> {
        if text.len() > limits.max_bytes {
            return Err(Error::TooLarge {
                bytes: text.len(),
                limit: limits.max_bytes,
            });
        }
        // serde_json checks the grammar without recursion; the reader below only splits.
        let checked: &RawValue = serde_json::from_str(text)?;
        Reader {
            rest: checked.get(),
            limits,
        }
        .node(0)
    }

    /// The value at `pointer`, relative to this node.
    pub fn get(&self, pointer: &Pointer) -> Option<&Node> {
        self.at(pointer.tokens())
    }

    /// The value at a pointer's tokens, relative to this node.
    pub fn at(&self, tokens: &[String]) -> Option<&Node> {
        tokens.iter().try_fold(self, |node, token| match node {
            Self::Object(members) => members
                .iter()
                .find(|(key, _)| key == token)
                .map(|(_, value)| value),
            Self::Array(elements) => elements.get(index(token)?),
            Self::Scalar(_) => None,
        })
    }

    /// The value deserialised as a `T`.
    ///
    /// # Errors
    /// [`Error::Syntax`] when it has another type.
    pub fn get_as<T: DeserializeOwned>(&self) -> Result<T, Error> {
        Ok(serde_json::from_str(self.to_raw().get())?)
    }

    /// The value as JSON text.
    pub fn to_raw(&self) -> Box<RawValue> {
        RawValue::from_string(self.to_string()).expect("a node is printed from JSON text")
    }

    /// Nesting levels of objects and arrays, including this one.
    pub fn depth(&self) -> usize {
        match self {
            Self::Scalar(_) => 0,
            Self::Array(elements) => 1 + elements.iter().map(Self::depth).max().unwrap_or(0),
            Self::Object(members) => 1 + members.iter().map(|(_, v)| v.depth()).max().unwrap_or(0),
        }
    }

    /// Length of the value's text in bytes.
    pub fn text_len(&self) -> usize {
        struct Count(usize);
        impl fmt::Write for Count {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0 += text.len();
                Ok(())
            }
        }
        let mut count = Count(0);
        // Counting cannot fail.
        let _ = fmt::write(&mut count, format_args!("{self}"));
        count.0
    }
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scalar(a), Self::Scalar(b)) => a == b || same_string(a, b),
            (Self::Array(a), Self::Array(b)) => a == b,
            (Self::Object(a), Self::Object(b)) => {
                if a.len() != b.len() {
                    return false;
                }
                let b: HashMap<&str, &Node> =
                    b.iter().map(|(key, value)| (key.as_str(), value)).collect();
                a.iter()
                    .all(|(key, value)| b.get(key.as_str()) == Some(&value))
            }
            _ => false,
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scalar(text) => f.write_str(text),
            Self::Array(elements) => {
                for (at, element) in elements.iter().enumerate() {
                    write!(f, "{}{element}", if at == 0 { "[" } else { "," })?;
                }
                f.write_str(if elements.is_empty() { "[]" } else { "]" })
            }
            Self::Object(members) => {
                for (at, (key, value)) in members.iter().enumerate() {
                    let key = serde_json::to_string(key).map_err(|_| fmt::Error)?;
                    write!(f, "{}{key}:{value}", if at == 0 { "{" } else { "," })?;
                }
                f.write_str(if members.is_empty() { "{}" } else { "}" })
            }
        }
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_raw().serialize(serializer)
    }
}

fn at_mut<'n>(root: &'n mut Node, places: &Places, tokens: &[String]) -> Option<&'n mut Node> {
    let mut tokens_so_far = tokens.iter().enumerate();
    tokens_so_far.try_fold(root, |node, (depth, token)| match node {
        Node::Object(members) => {
            let path = tokens.get(..depth).unwrap_or_default();
            let at = places.of(path, members, token)?;
            members.get_mut(at).map(|(_, value)| value)
        }
        Node::Array(elements) => elements.get_mut(index(token)?),
        Node::Scalar(_) => None,
    })
}

/// RFC 6901 allows neither leading zeros nor signs.
fn index(token: &str) -> Option<usize> {
    let digits = !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit());
    (digits && (token == "0" || !token.starts_with('0')))
        .then(|| token.parse().ok())
        .flatten()
}

/// Whether both are strings with the same content that differ only in escaping.
fn same_string(a: &str, b: &str) -> bool {
    let content = |text: &str| serde_json::from_str::<String>(text).ok();
    a.starts_with('"') && b.starts_with('"') && content(a).is_some_and(|a| Some(a) == content(b))
}
