//! The selections, in the select hook.

use wasmtime::component::Resource;

use super::convert;
use super::handle::SelectionsHandle;
use crate::transaction::{self, SelectionsChange, SelectionsDraft, Transaction};
use crate::wasm::bindings::cnidaria::policy::types::{EditError, HostSelections, Selection};
use crate::wasm::store::{GuestState, Stage, index};

type Edited = wasmtime::Result<Result<(), EditError>>;

impl GuestState {
    fn selections(&mut self) -> wasmtime::Result<&mut Transaction<SelectionsDraft>> {
        let stale = self.stale("selections");
        match &mut self.stage {
            Stage::Select(transaction) => Ok(transaction),
            _ => Err(stale()),
        }
    }

    fn edit_selections(
        &mut self,
        bytes: usize,
        change: impl FnOnce(&SelectionsDraft) -> Result<SelectionsChange, transaction::EditError>,
    ) -> Edited {
        Ok(self
            .selections()?
            .edit(bytes, change)
            .map_err(EditError::from))
    }
}

/// Bytes that a selection costs as an edit.
fn bytes(selection: &Selection) -> usize {
    let strings = |list: &[String]| list.iter().map(String::len).sum::<usize>();
    selection.namespace.len()
        + selection.name.len()
        + strings(&selection.ips)
        + strings(&selection.default_route)
        + selection.cni_args.as_ref().map_or(0, String::len)
        + 64
}

impl HostSelections for GuestState {
    fn length(&mut self, _: Resource<SelectionsHandle>) -> wasmtime::Result<u32> {
        let length = self.selections()?.draft().len();
        Ok(u32::try_from(length).unwrap_or(u32::MAX))
    }

    fn at(
        &mut self,
        _: Resource<SelectionsHandle>,
        at: u32,
    ) -> wasmtime::Result<Option<Selection>> {
        Ok(self
            .selections()?
            .draft()
            .get(index(at))
            .map(Selection::from))
    }

    fn all(&mut self, _: Resource<SelectionsHandle>) -> wasmtime::Result<Vec<Selection>> {
        Ok(self
            .selections()?
            .draft()
            .iter()
            .map(Selection::from)
            .collect())
    }

    fn insert(&mut self, _: Resource<SelectionsHandle>, at: u32, selection: Selection) -> Edited {
        self.edit_selections(bytes(&selection), |draft| {
            draft.insert(index(at), &convert::selection(selection)?)
        })
    }

    fn replace(&mut self, _: Resource<SelectionsHandle>, at: u32, selection: Selection) -> Edited {
        self.edit_selections(bytes(&selection), |draft| {
            draft.replace(index(at), &convert::selection(selection)?)
        })
    }

    fn remove(&mut self, _: Resource<SelectionsHandle>, at: u32) -> Edited {
        self.edit_selections(0, |draft| draft.remove(index(at)))
    }

    fn move_(&mut self, _: Resource<SelectionsHandle>, source: u32, target: u32) -> Edited {
        self.edit_selections(0, |draft| draft.shift(index(source), index(target)))
    }

    fn drop(&mut self, _: Resource<SelectionsHandle>) -> wasmtime::Result<()> {
        Ok(())
    }
}
