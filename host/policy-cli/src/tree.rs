//! Places and key paths in a file of cases, for mistakes that are found after it was read.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// The documents of a file.
#[derive(Debug, Default)]
pub(crate) struct Tree(Vec<Spanned<Node>>);

/// A value with the places of its members.
#[derive(Debug)]
enum Node {
    Map(Vec<(Spanned<String>, Spanned<Node>)>),
    List(Vec<Spanned<Node>>),
    /// A scalar.
    Leaf,
}

impl Tree {
    /// The documents of a text; none if it is not YAML.
    pub(crate) fn of(text: &str) -> Self {
        Self(serde_saphyr::from_multiple(text).unwrap_or_default())
    }

    /// The path of the value at a place, such as `steps[0].expect`; if a key is there, that of the value
    /// that has the key.
    pub(crate) fn path(&self, at: Location) -> String {
        let mut path = String::new();
        let mut documents = self.0.iter();
        if let Some(document) = documents.rfind(|document| begins(document) <= place(at)) {
            document.value.descend(place(at), &mut path);
        }
        path
    }

    /// The place of a member of the document at a place.
    pub(crate) fn find(&self, document: Location, keys: &[&str]) -> Option<Location> {
        let mut documents = self.0.iter();
        let mut found = documents.find(|known| known.referenced == document)?;
        for key in keys {
            let Node::Map(members) = &found.value else {
                return None;
            };
            let (_, value) = members.iter().find(|(known, _)| known.value == *key)?;
            found = value;
        }
        Some(found.referenced)
    }
}

type Place = (u64, u64);

fn place(location: Location) -> Place {
    (location.line(), location.column())
}

fn begins<T>(spanned: &Spanned<T>) -> Place {
    place(spanned.referenced)
}

impl Node {
    fn descend(&self, at: Place, path: &mut String) {
        match self {
            Self::Map(members) => {
                let mut before = members.iter();
                let Some((key, value)) = before.rfind(|(key, _)| begins(key) <= at) else {
                    return;
                };
                if begins(key) == at {
                    return;
                }
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(&key.value);
                value.value.descend(at, path);
            }
            Self::List(elements) => {
                let mut before = elements.iter().enumerate();
                let Some((index, element)) = before.rfind(|(_, one)| begins(one) <= at) else {
                    return;
                };
                path.push_str(&format!("[{index}]"));
                element.value.descend(at, path);
            }
            Self::Leaf => {}
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Node::Map(members))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Leaf)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Node::Leaf)
    }
}
