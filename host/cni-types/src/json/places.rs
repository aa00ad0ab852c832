//! Where the members of large objects are, so that many edits of one object do not search it from
//! its beginning each time.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use super::Node;
use super::keys::{folded, folds_to};
use super::memory::BLOCK;

/// Objects of fewer members are searched.
const FEW: usize = 32;
/// An object is indexed once the edits since the last time have searched this many times its members:
/// an index takes as long as several searches.
const PATIENCE: usize = 16;
/// Bytes of a member's entries in an index, beside two copies of its key: full hash tables have
/// twice as many places as entries.
const ENTRIES: usize = 3 * BLOCK
    + 2 * size_of::<usize>()
    + 2 * size_of::<(Box<str>, usize)>()
    + 2 * size_of::<(Box<str>, Vec<usize>)>();

/// The indexed objects, by the tokens of their pointers.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    objects: BTreeMap<Vec<String>, Members>,
    /// Members that edits have searched since an object was indexed.
    searched: usize,
}

/// Where the members of one object are.
#[derive(Clone, Debug, Default)]
struct Members {
    /// A number of each member, ascending: it does not change when an earlier member is removed.
    order: Vec<usize>,
    next: usize,
    exact: HashMap<Box<str>, usize>,
    /// The numbers of the members that Go's decoder takes for one, ascending.
    folded: HashMap<Box<str>, Vec<usize>>,
    /// Bytes of all keys.
    keys: usize,
}

impl Members {
    fn of(members: &[(String, Node)]) -> Self {
        work::add(members.len());
        let mut places = Self::default();
        members.iter().for_each(|(key, _)| places.push(key));
        places
    }

    fn push(&mut self, key: &str) {
        self.order.push(self.next);
        self.exact.insert(key.into(), self.next);
        let same = self.folded.entry(folded(key).into()).or_default();
        same.push(self.next);
        self.next += 1;
        self.keys += key.len();
    }

    fn remove(&mut self, key: &str) {
        let Some(number) = self.exact.remove(key) else {
            return;
        };
        if let Ok(at) = self.order.binary_search(&number) {
            self.order.remove(at);
        }
        self.keys -= key.len();
        let folded = folded(key);
        if let Some(same) = self.folded.get_mut(&*folded) {
            same.retain(|known| *known != number);
            if same.is_empty() {
                self.folded.remove(&*folded);
            }
        }
    }

    fn at(&self, number: usize) -> Option<usize> {
        self.order.binary_search(&number).ok()
    }

    fn memory(&self) -> usize {
        2 * self.keys + self.order.len() * ENTRIES
    }
}

impl Places {
    fn object(&self, path: &[String], members: &[(String, Node)]) -> Option<&Members> {
        // Few objects are indexed, and few of those that are looked at are large.
        if members.len() <= FEW || self.objects.is_empty() {
            return None;
        }
        self.objects.get(path)
    }

    /// Where the member with this key is in the object at `path`.
    pub(super) fn of(
        &self,
        path: &[String],
        members: &[(String, Node)],
        key: &str,
    ) -> Option<usize> {
        match self.object(path, members) {
            Some(places) => places.at(*places.exact.get(key)?),
            None => {
                work::add(members.len());
                members.iter().position(|(known, _)| known == key)
            }
        }
    }

    /// Where the members are that Go's decoder takes for this key, which is folded.
    pub(super) fn of_folded<'a>(
        &self,
        path: &[String],
        members: &'a [(String, Node)],
        key: &str,
    ) -> Vec<&'a (String, Node)> {
        match self.object(path, members) {
            Some(places) => {
                let same = places.folded.get(key).into_iter().flatten();
                let same = same.inspect(|_| work::add(1));
                let at = same.filter_map(|number| places.at(*number));
                at.filter_map(|at| members.get(at)).collect()
            }
            None => {
                work::add(members.len());
                let same = |(known, _): &&(String, Node)| folds_to(known, key);
                members.iter().filter(same).collect()
            }
        }
    }

    /// The last of the members that Go's decoder takes for this key, which is folded, and their
    /// number.
    pub(super) fn last_folded<'a>(
        &self,
        path: &[String],
        members: &'a [(String, Node)],
        key: &str,
    ) -> Option<(&'a (String, Node), usize)> {
        if let Some(places) = self.object(path, members) {
            work::add(1);
            let same = places.folded.get(key)?;
            let last = members.get(places.at(*same.last()?)?)?;
            return Some((last, same.len()));
        }
        let same = self.of_folded(path, members, key);
        Some((*same.last()?, same.len()))
    }

    /// The object at `path` has been, or is being, searched by an edit.
    pub(super) fn searched(&mut self, path: &[String], members: &[(String, Node)]) {
        if members.len() <= FEW || self.objects.contains_key(path) {
            return;
        }
        self.searched += members.len();
        if self.searched > PATIENCE * members.len() {
            self.searched = 0;
            self.objects.insert(path.to_vec(), Members::of(members));
        }
    }

    /// A member was added at the end of the object at `path`.
    pub(super) fn added(&mut self, path: &[String], key: &str) {
        if let Some(places) = self.objects.get_mut(path) {
            places.push(key);
        }
    }

    /// The member of the object at `path` was removed.
    pub(super) fn removed(&mut self, path: &[String], key: &str) {
        if let Some(places) = self.objects.get_mut(path) {
            places.remove(key);
        }
    }

    /// About the bytes of memory that the index takes.
    pub(super) fn memory(&self) -> usize {
        let tokens = |path: &Vec<String>| -> usize {
            let each = path.iter();
            each.map(|token| size_of::<String>() + BLOCK + token.len())
                .sum()
        };
        let objects = self.objects.iter();
        objects
            .map(|(path, members)| size_of::<Members>() + tokens(path) + members.memory())
            .sum()
    }

    /// The value at `path` is another one.
    pub(super) fn forget(&mut self, path: &[String]) {
        let within = self
            .objects
            .range::<[String], _>((Bound::Included(path), Bound::Unbounded));
        let within = within.take_while(|(known, _)| known.starts_with(path));
        let within: Vec<Vec<String>> = within.map(|(known, _)| known.clone()).collect();
        for known in within {
            self.objects.remove(&known);
        }
    }
}

/// Counts the members that were looked at, in tests.
mod work {
    #[cfg(test)]
    thread_local! {
        static MEMBERS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }

    #[cfg(test)]
    pub(super) fn add(members: usize) {
        MEMBERS.set(MEMBERS.get() + members);
    }

    #[cfg(not(test))]
    pub(super) fn add(_: usize) {}

    #[cfg(test)]
    pub(super) fn take() -> usize {
        MEMBERS.take()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Document, Limits, Pointer};
    use super::work;

    type Edit<'e> = &'e dyn Fn(&mut Document, usize);

    fn document(members: usize) -> Document {
        let members: Vec<String> = (0..members).map(|n| format!("\"m{n}\":1")).collect();
        let text = format!("{{\"o\":{{{}}}}}", members.join(","));
        Document::parse(&text, Limits::default()).unwrap()
    }

    fn pointer(text: &str) -> Pointer {
        Pointer::parse(text).unwrap()
    }

    /// The members that edits of one object look at.
    fn looked(count: usize, held: usize, edit: Edit<'_>) -> usize {
        let mut document = document(held);
        work::take();
        (0..count).for_each(|number| edit(&mut document, number));
        work::take()
    }

    #[test]
    fn edits_cost_as_much_as_they_are() {
        let object = ["o".to_owned()];
        let added = |document: &mut Document, number: usize| {
            let at = pointer(&format!("/o/x{number}"));
            assert!(document.get(&at).is_none());
            assert!(
                document
                    .spellings(&object, &format!("X{number}"))
                    .is_empty()
            );
            document.set(&at, "1").unwrap();
        };
        let replaced = |document: &mut Document, number: usize| {
            document
                .set(&pointer(&format!("/o/m{number}")), "2")
                .unwrap();
        };
        let removed = |document: &mut Document, number: usize| {
            document.remove(&pointer(&format!("/o/m{number}"))).unwrap();
        };
        let exchanged = |document: &mut Document, number: usize| {
            removed(document, number);
            added(document, number);
        };
        let edits: [Edit<'_>; 4] = [&added, &replaced, &removed, &exchanged];
        for (index, edit) in edits.into_iter().enumerate() {
            for held in [0, 4096] {
                if held == 0 && index > 0 {
                    continue;
                }
                let (few, many) = (looked(512, held, edit), looked(4096, held, edit));
                assert!(many <= 9 * few, "{index} {held}: {few} {many}");
            }
        }
    }

    /// The number's bits choose the case of each letter.
    fn spelt(number: usize) -> String {
        let letter = |(at, letter): (usize, char)| match number >> at & 1 {
            1 => letter.to_ascii_uppercase(),
            _ => letter,
        };
        "masterinterface".chars().enumerate().map(letter).collect()
    }

    #[test]
    fn spellings_cost_one_look_each() {
        for spellings in [512, 4096] {
            let mut document = Document::parse(r#"{"o":{}}"#, Limits::default()).unwrap();
            let object = ["o".to_owned()];
            for number in 0..spellings {
                let at = pointer(&format!("/o/{}", spelt(number)));
                document.set(&at, "1").unwrap();
            }
            work::take();
            assert_eq!(document.spellings(&object, &spelt(0)).len(), spellings);
            // And the one member of the document.
            assert_eq!(work::take(), spellings + 1);
            let last = document.last_spelling(&object, &spelt(1)).unwrap();
            assert_eq!((&*last.0.0, last.1), (&*spelt(spellings - 1), spellings));
            let looked = work::take();
            assert!(looked < 10, "{looked}");
            document
                .set(&pointer(&format!("/o/{}", spelt(0))), "2")
                .unwrap();
            let looked = work::take();
            assert!(looked < 10, "{looked}");
        }
    }

    #[test]
    fn objects_edited_in_turn_cost_no_more() {
        let mut document = Document::parse(r#"{"a":{},"b":{},"c":{}}"#, Limits::default()).unwrap();
        work::take();
        for number in 0..6144 {
            let object = ["a", "b", "c"][number % 3];
            document
                .set(&pointer(&format!("/{object}/{number}")), "1")
                .unwrap();
        }
        let looked = work::take();
        assert!(looked < 200 * 6144, "{looked}");
    }

    fn edit() -> impl Strategy<Value = (bool, String, String)> {
        let place = "(/o/[mM][0-9]{1,2}|/o/m1/[ab]|/o/[xX][0-9]{1,2}|/a/[0-2-]|/a/0/z|/o|/n)";
        let value = prop_oneof![
            5 => Just("1".to_owned()),
            1 => Just("{\"a\":1,\"A\":2}".to_owned()),
            1 => Just(document(50).to_string()),
            1 => Just("[{},{}]".to_owned()),
        ];
        (any::<bool>(), place, value)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// A document that is read anew after each edit has no index.
        #[test]
        fn an_index_changes_nothing(edits in prop::collection::vec(edit(), 0..80)) {
            let text = document(60).to_string().replacen('{', "{\"a\":[],", 1);
            let mut document = Document::parse(&text, Limits::default()).unwrap();
            for (sets, at, value) in edits {
                let at = pointer(&at);
                let mut plain =
                    Document::parse(&document.to_string(), Limits::default()).unwrap();
                let one = |document: &mut Document| match sets {
                    true => document.set(&at, &value).map_err(|error| error.to_string()),
                    false => document.remove(&at).map(Some).map_err(|error| error.to_string()),
                };
                prop_assert_eq!(one(&mut document), one(&mut plain));
                prop_assert_eq!(document.to_string(), plain.to_string());
                prop_assert_eq!(document.text_len(), plain.text_len());
                for path in ["/o/m1", "/o/M1", "/o/x7", "/o/m1/a", "/a/0"] {
                    let path = pointer(path);
                    let (key, object) = path.tokens().split_last().unwrap();
                    prop_assert_eq!(document.get(&path), plain.get(&path));
                    prop_assert_eq!(document.spellings(object, key), plain.spellings(object, key));
                    let (found, expected) = (document.last_spelling(object, key), plain.last_spelling(object, key));
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
