//! The networks that a pod requests.

use std::cell::RefCell;

use crate::{EditError, EditErrorKind, Origin, Selection};

/// Ordered selections for tests.
#[derive(Debug, Clone)]
pub struct Selections {
    selections: RefCell<Vec<Selection>>,
    default: RefCell<Option<Selection>>,
}

impl Selections {
    /// Creates the list.
    pub fn new(selections: Vec<Selection>) -> Self {
        Self {
            selections: RefCell::new(selections),
            default: RefCell::default(),
        }
    }

    /// Puts the networks that the node gives to every pod before the others.
    #[must_use]
    pub fn with_node_networks(self, names: &[&str]) -> Self {
        let networks = names.iter().map(|name| Selection::new("", name));
        self.selections.borrow_mut().splice(0..0, networks);
        self
    }

    /// Sets what replaces the cluster's default network.
    #[must_use]
    pub fn with_default(self, selection: Selection) -> Self {
        self.default.replace(Some(selection));
        self
    }

    /// Number of selections.
    pub fn length(&self) -> u32 {
        u32::try_from(self.selections.borrow().len()).unwrap_or(u32::MAX)
    }

    /// The selection at `index`.
    pub fn at(&self, index: u32) -> Option<Selection> {
        self.selections.borrow().get(index as usize).cloned()
    }

    /// All selections.
    pub fn all(&self) -> Vec<Selection> {
        self.selections.borrow().clone()
    }

    /// Who asks for the selection at `index`; those of the node have no namespace.
    pub fn origin(&self, index: u32) -> Option<Origin> {
        self.at(index)
            .map(|selection| match selection.namespace.as_str() {
                "" => Origin::Node,
                _ => Origin::Pod,
            })
    }

    /// What replaces the cluster's default network.
    pub fn default(&self) -> Option<Selection> {
        self.default.borrow().clone()
    }

    /// Sets what replaces the cluster's default network.
    ///
    /// # Errors
    /// Never; the host checks names and addresses.
    pub fn set_default(&self, selection: Option<&Selection>) -> Result<(), EditError> {
        self.default.replace(selection.cloned());
        Ok(())
    }

    /// Inserts a selection before `index`, or at the end.
    ///
    /// # Errors
    /// When `index` is past the end.
    pub fn insert(&self, index: u32, selection: &Selection) -> Result<(), EditError> {
        let mut selections = self.selections.borrow_mut();
        if index as usize > selections.len() {
            return Err(past_the_end(index));
        }
        selections.insert(index as usize, selection.clone());
        Ok(())
    }

    /// Replaces the selection at `index`.
    ///
    /// # Errors
    /// When `index` is out of bounds.
    pub fn replace(&self, index: u32, selection: &Selection) -> Result<(), EditError> {
        let mut selections = self.selections.borrow_mut();
        let old = selections
            .get_mut(index as usize)
            .ok_or_else(|| past_the_end(index))?;
        *old = selection.clone();
        Ok(())
    }

    /// Removes the selection at `index`.
    ///
    /// # Errors
    /// When `index` is out of bounds.
    pub fn remove(&self, index: u32) -> Result<(), EditError> {
        let mut selections = self.selections.borrow_mut();
        if index as usize >= selections.len() {
            return Err(past_the_end(index));
        }
        selections.remove(index as usize);
        Ok(())
    }

    /// Moves the selection at `source` to `target`.
    ///
    /// # Errors
    /// When either index is out of bounds.
    pub fn move_(&self, source: u32, target: u32) -> Result<(), EditError> {
        let mut selections = self.selections.borrow_mut();
        for index in [source, target] {
            if index as usize >= selections.len() {
                return Err(past_the_end(index));
            }
        }
        let selection = selections.remove(source as usize);
        selections.insert(target as usize, selection);
        Ok(())
    }
}

fn past_the_end(index: u32) -> EditError {
    EditError::new(EditErrorKind::Invalid, format!("no selection at {index}"))
}
