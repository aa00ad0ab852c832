//! The parts of a value in which a policy made edits.

use std::collections::BTreeMap;

use super::{Draft, MAX_SIBLINGS};

/// Edited areas, none within another one, in the order in which they were added.
#[derive(Debug)]
pub(super) struct Areas<A> {
    /// Areas within an area follow it.
    added: BTreeMap<A, usize>,
    next: usize,
}

impl<A> Default for Areas<A> {
    fn default() -> Self {
        Self {
            added: BTreeMap::new(),
            next: 0,
        }
    }
}

impl<A: Clone + Ord> Areas<A> {
    /// Adds an area of a draft, at a cost that does not grow with the areas that there are.
    pub(super) fn touch<D: Draft<Area = A>>(&mut self, draft: &D, area: A) {
        let mut above = Some(area.clone());
        while let Some(one) = above {
            if self.added.contains_key(&one) {
                return;
            }
            above = D::above(&one);
        }
        let parent = draft.parent(&area);
        self.replace::<D>(area);
        // One comparison of an object costs less than one for each of many members.
        if let Some(parent) = parent
            && self.within::<D>(&parent).nth(MAX_SIBLINGS).is_some()
        {
            self.replace::<D>(parent);
        }
    }

    /// The areas in order.
    pub(super) fn into_list(self) -> Vec<A> {
        let mut areas: Vec<(A, usize)> = self.added.into_iter().collect();
        areas.sort_by_key(|(_, number)| *number);
        areas.into_iter().map(|(area, _)| area).collect()
    }

    /// The number of areas.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.added.len()
    }

    /// Adds an area instead of those within it.
    fn replace<D: Draft<Area = A>>(&mut self, area: A) {
        let within: Vec<A> = self.within::<D>(&area).cloned().collect();
        for known in within {
            self.added.remove(&known);
        }
        self.added.insert(area, self.next);
        self.next += 1;
    }

    fn within<D: Draft<Area = A>>(&self, area: &A) -> impl Iterator<Item = &A> {
        let from = self.added.range(area..).map(|(known, _)| known);
        from.take_while(move |known| D::covers(area, known))
    }
}
