//! Caches confs in the form that policies see. A node has few confs, and each request uses some.

use cni_types::conf::NetworkConfList;
use cni_types::json::{Document, Limits, RawObject};
use parking_lot::Mutex;

/// Maximum number of cached confs.
const KEPT: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Confs {
    known: Mutex<Vec<(NetworkConfList, Document)>>,
}

impl Confs {
    /// The parsed tree of a conf.
    ///
    /// # Errors
    /// Why the conf cannot be parsed into one.
    pub(super) fn tree(&self, conf: &NetworkConfList) -> Result<Document, String> {
        let mut known = self.known.lock();
        if let Some((_, tree)) = known.iter().find(|(known, _)| known.text() == conf.text()) {
            return Ok(tree.clone());
        }
        let tree = document(conf.raw())?;
        if known.len() >= KEPT {
            known.remove(0);
        }
        known.push((conf.clone(), tree.clone()));
        Ok(tree)
    }
}

/// The parsed tree of an object.
pub(super) fn document(object: &RawObject) -> Result<Document, String> {
    Document::parse(&object.to_text(), Limits::default()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conf_cache_is_bounded_and_correct() {
        let confs = Confs::default();
        let conf = |number: usize| {
            let text = format!(r#"{{"name":"n{number}","type":"t"}}"#);
            NetworkConfList::parse_any(text).unwrap()
        };
        for _ in 0..2 {
            for number in 0..2 * KEPT {
                let tree = confs.tree(&conf(number)).unwrap();
                assert_eq!(tree.to_string(), conf(number).text());
                assert_eq!(confs.tree(&conf(number)).unwrap(), tree);
            }
        }
        assert_eq!(confs.known.lock().len(), KEPT);
    }
}
