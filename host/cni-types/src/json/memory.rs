//! How much memory a document takes: its text can be a twentieth of it.

use super::{Document, Node};

/// Bytes that the allocator needs for a block beside its contents.
pub(super) const BLOCK: usize = 16;

impl Document {
    /// About the bytes of memory that the document takes, with what it has indexed. Visits every
    /// value.
    pub fn memory(&self) -> usize {
        self.root().memory() + self.indexed()
    }
}

impl Node {
    /// About the bytes of memory that the value takes, without the place where it is kept.
    pub fn memory(&self) -> usize {
        match self {
            Self::Scalar(text) => BLOCK + text.len(),
            Self::Array(elements) => {
                let own = BLOCK + elements.capacity() * size_of::<Self>();
                own + elements.iter().map(Self::memory).sum::<usize>()
            }
            Self::Object(members) => {
                let own = BLOCK + members.capacity() * size_of::<(String, Self)>();
                let each = members
                    .iter()
                    .map(|(key, value)| BLOCK + key.capacity() + value.memory());
                own + each.sum::<usize>()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Document, Limits, Pointer};

    fn document(text: &str) -> Document {
        Document::parse(text, Limits::default()).unwrap()
    }

    #[test]
    fn small_values_take_more_than_their_text() {
        let text = format!("[{}0]", "0,".repeat(9_999));
        let memory = document(&text).memory();
        // A value and its block for each two bytes of text.
        assert!(memory >= 10_000 * 32, "{memory}");
        assert!(memory <= 10_000 * 128, "{memory}");
        let text = format!("\"{}\"", "x".repeat(10_000));
        let memory = document(&text).memory();
        assert!((10_000..11_000).contains(&memory), "{memory}");
    }

    #[test]
    fn an_index_counts_until_it_is_dropped() {
        let members: Vec<String> = (0..1000).map(|n| format!("\"m{n}\":1")).collect();
        let mut document = document(&format!("{{\"o\":{{{}}}}}", members.join(",")));
        let before = document.memory();
        let set = |document: &mut Document, at: &str| {
            document.set(&Pointer::parse(at).unwrap(), "1").unwrap();
        };
        (0..100).for_each(|number| set(&mut document, &format!("/o/m{number}")));
        let indexed = document.memory();
        assert!(indexed >= before + 1000 * 100, "{before} {indexed}");
        document.remove(&Pointer::parse("/o/m0").unwrap()).unwrap();
        assert!(document.memory() < indexed);
        set(&mut document, "/o");
        assert!(document.memory() < 1000);
    }
}
