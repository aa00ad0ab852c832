//! Templates of files: placeholders in double braces, and lines that depend on the chosen hooks.
//!
//! `%% if a b` keeps the lines up to `%% end` if any of the words holds, `%% ifnot a b` if none does.

use std::collections::{BTreeMap, BTreeSet};

/// What templates are filled with.
#[derive(Debug, Default)]
pub(crate) struct Values {
    /// The conditions that hold, such as the hooks.
    pub(crate) words: BTreeSet<&'static str>,
    /// The texts of placeholders.
    pub(crate) texts: BTreeMap<&'static str, String>,
}

impl Values {
    /// Fills a template.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut kept = Vec::new();
        for line in template.lines() {
            if let Some(directive) = line.strip_prefix("%% ") {
                let mut words = directive.split(' ');
                match words.next() {
                    Some("if") => kept.push(self.has_any(words)),
                    Some("ifnot") => kept.push(!self.has_any(words)),
                    _ => {
                        kept.pop();
                    }
                }
            } else if kept.iter().all(|kept| *kept) {
                filled.push_str(&self.line(line));
                filled.push('\n');
            }
        }
        filled
    }

    fn has_any<'a>(&self, mut words: impl Iterator<Item = &'a str>) -> bool {
        words.any(|word| self.words.contains(word))
    }

    fn line(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (name, text) in &self.texts {
            let placeholder = format!("{{{{{name}}}}}");
            if line.contains(&placeholder) {
                line = line.replace(&placeholder, text.trim_end_matches('\n'));
            }
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_depend_on_words() {
        let mut values = Values::default();
        values.words.insert("gc");
        values.texts.insert("name", "x".to_owned());
        let template = "a {{name}}\n%% if gc del\nb\n%% ifnot gc\nc\n%% end\n%% end\n%% if del\nd\n%% end\ne\n";
        assert_eq!(values.fill(template), "a x\nb\ne\n");
    }
}
