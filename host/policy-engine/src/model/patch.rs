//! What one policy changed, as an RFC 6902 JSON patch.

use std::fmt;

use serde_json::Value;

/// What an operation does with the value at its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Adds it; later elements of an array take the next index.
    Add,
    /// Removes it; later elements of an array take the previous index.
    Remove,
    /// Replaces it.
    Replace,
}

impl Change {
    /// The `op` of RFC 6902.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
            Self::Replace => "replace",
        }
    }
}

/// One step of a [`Patch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// What it does.
    pub change: Change,
    /// RFC 6901 pointer.
    pub path: String,
    /// The new value as JSON text; `None` if it was removed.
    pub value: Option<String>,
}

impl Operation {
    /// The new value, parsed; its text if a number in it is out of range.
    pub fn parsed(&self) -> Option<Value> {
        let text = self.value.as_deref()?;
        let parsed = serde_json::from_str(text);
        Some(parsed.unwrap_or_else(|_| Value::String(text.to_owned())))
    }

    /// Bytes of its JSON text.
    pub(crate) fn text_len(&self) -> usize {
        let value = self
            .value
            .as_ref()
            .map_or(0, |value| r#","value":"#.len() + value.len());
        let path = serde_json::to_string(&self.path).map_or(0, |path| path.len());
        r#"{"op":"","path":}"#.len() + self.change.as_str().len() + path + value
    }
}

/// Operations, in order of application. `Display` prints the patch's JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Patch(pub Vec<Operation>);

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = serde_json::to_string(&self.path).map_err(|_| fmt::Error)?;
        write!(f, r#"{{"op":"{}","path":{path}"#, self.change.as_str())?;
        if let Some(value) = &self.value {
            write!(f, r#","value":{value}"#)?;
        }
        f.write_str("}")
    }
}

impl fmt::Display for Patch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (position, operation) in self.0.iter().enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            operation.fmt(f)?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_prints_as_rfc_6902_has_it() {
        let operation = |change, path: &str, value: Option<&str>| Operation {
            change,
            path: path.to_owned(),
            value: value.map(str::to_owned),
        };
        let patch = Patch(vec![
            operation(Change::Replace, "/conf/a~1b", Some("[1]")),
            operation(Change::Remove, "/conf/\"", None),
        ]);
        let text = r#"[{"op":"replace","path":"/conf/a~1b","value":[1]},{"op":"remove","path":"/conf/\""}]"#;
        assert_eq!(patch.to_string(), text);
        let huge = operation(Change::Add, "/conf/x", Some("1e999"));
        assert_eq!(huge.parsed(), Some("1e999".into()));
        let lengths = patch.0.iter().map(|operation| operation.text_len() + 1);
        assert_eq!(lengths.sum::<usize>() + 1, text.len());
    }
}
