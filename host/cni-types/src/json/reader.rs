//! Turns valid JSON text into a tree, with a depth limit.

use std::collections::HashSet;

use super::{Error, Limits, Node};

/// Splits text that is already known to be valid JSON.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a str,
    pub(super) limits: Limits,
}

impl<'a> Reader<'a> {
    pub(super) fn node(&mut self, depth: usize) -> Result<Node, Error> {
        self.rest = self.rest.trim_start();
        let container = self.rest.starts_with(['{', '[']);
        if container && depth >= self.limits.max_depth {
            return Err(Error::TooDeep {
                limit: self.limits.max_depth,
            });
        }
        if self.eat('{') {
            let mut members: Vec<(String, Node)> = Vec::new();
            while !self.eat('}') {
                self.eat(',');
                self.rest = self.rest.trim_start();
                let key: String = serde_json::from_str(self.token())?;
                self.eat(':');
                members.push((key, self.node(depth + 1)?));
            }
            Ok(Node::Object(last_wins(members)))
        } else if self.eat('[') {
            let mut elements = Vec::new();
            while !self.eat(']') {
                self.eat(',');
                elements.push(self.node(depth + 1)?);
            }
            Ok(Node::Array(elements))
        } else {
            Ok(Node::Scalar(self.token().into()))
        }
    }

    /// Skips whitespace, and `c` if it follows.
    fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(c);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    /// Takes the next scalar.
    fn token(&mut self) -> &'a str {
        let mut escaped = false;
        let string = self.rest.starts_with('"');
        let end = self.rest.char_indices().skip(1).find_map(|(at, c)| {
            if !string {
                return (matches!(c, ',' | '}' | ']') || c.is_ascii_whitespace()).then_some(at);
            }
            let closing = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closing.then_some(at + 1)
        });
        let (token, rest) = self
            .rest
            .split_at_checked(end.unwrap_or(self.rest.len()))
            .unwrap_or((self.rest, ""));
        self.rest = rest;
        token
    }
}

fn last_wins(mut members: Vec<(String, Node)>) -> Vec<(String, Node)> {
    let mut seen = HashSet::with_capacity(members.len());
    let mut keep: Vec<bool> = members
        .iter()
        .rev()
        .map(|(key, _)| seen.insert(key.as_str()))
        .collect();
    drop(seen);
    members.retain(|_| keep.pop().unwrap_or(true));
    members
}
