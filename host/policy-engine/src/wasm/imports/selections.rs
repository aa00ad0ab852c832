//! The selections, in the select hook and in the one that validates them.

use wasmtime::component::Resource;

use super::convert::{self, About, Refusal};
use super::handle::SelectionsHandle;
use crate::transaction::{self, SelectionsChange, SelectionsDraft, View};
use crate::wasm::bindings::{v0_2, v0_3};
use crate::wasm::stage::Stage;
use crate::wasm::store::{GuestState, index};

impl GuestState {
    fn selections(&self) -> wasmtime::Result<&SelectionsDraft> {
        match &self.stage {
            Stage::Select(transaction) => Ok(transaction.draft()),
            Stage::ValidateSelections(draft) => Ok(draft),
            _ => Err(self.stale("selections")()),
        }
    }

    fn edit_selections<E: Refusal>(
        &mut self,
        bytes: usize,
        change: impl FnOnce(&SelectionsDraft) -> Result<SelectionsChange, transaction::EditError>,
    ) -> wasmtime::Result<Result<(), E>> {
        let stale = self.stale("selections");
        let edited = match &mut self.stage {
            Stage::Select(transaction) => transaction.edit(bytes, change),
            Stage::ValidateSelections(_) => Err(transaction::EditError::Immutable(
                "what a hook validates".to_owned(),
            )),
            _ => return Err(stale()),
        };
        Ok(edited.map_err(|error| E::refuse(error, About::default)))
    }
}

/// Implements the selections of one version for what its modules see; `$more` are the methods that
/// other versions lack.
macro_rules! selections {
    ($types:path, $convert:path, $view:expr, { $($more:tt)* }) => {
        use $convert as convert;
        use $types::{EditError, HostSelections, Selection};

        use super::*;

        type Edited = wasmtime::Result<Result<(), EditError>>;

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
                let length = self.selections()?.iter($view).count();
                Ok(u32::try_from(length).unwrap_or(u32::MAX))
            }

            fn at(
                &mut self,
                _: Resource<SelectionsHandle>,
                at: u32,
            ) -> wasmtime::Result<Option<Selection>> {
                let draft = self.selections()?;
                Ok(draft
                    .get(draft.index($view, index(at)))
                    .map(Selection::from))
            }

            fn all(&mut self, _: Resource<SelectionsHandle>) -> wasmtime::Result<Vec<Selection>> {
                Ok(self
                    .selections()?
                    .iter($view)
                    .map(Selection::from)
                    .collect())
            }

            fn insert(
                &mut self,
                _: Resource<SelectionsHandle>,
                at: u32,
                selection: Selection,
            ) -> Edited {
                self.edit_selections(bytes(&selection), |draft| {
                    draft.insert(
                        draft.index($view, index(at)),
                        &convert::selection(selection)?,
                    )
                })
            }

            fn replace(
                &mut self,
                _: Resource<SelectionsHandle>,
                at: u32,
                selection: Selection,
            ) -> Edited {
                self.edit_selections(bytes(&selection), |draft| {
                    draft.replace(
                        draft.index($view, index(at)),
                        &convert::selection(selection)?,
                    )
                })
            }

            fn remove(&mut self, _: Resource<SelectionsHandle>, at: u32) -> Edited {
                self.edit_selections(0, |draft| draft.remove(draft.index($view, index(at))))
            }

            fn move_(
                &mut self,
                _: Resource<SelectionsHandle>,
                source: u32,
                target: u32,
            ) -> Edited {
                self.edit_selections(0, |draft| {
                    draft.shift(
                        draft.index($view, index(source)),
                        draft.index($view, index(target)),
                    )
                })
            }

            $($more)*

            fn drop(&mut self, _: Resource<SelectionsHandle>) -> wasmtime::Result<()> {
                Ok(())
            }
        }
    };
}

mod of_v0_2 {
    selections!(
        v0_2::cnidaria::policy::types,
        super::convert::v0_2,
        View::NotOfNode,
        {}
    );
}

mod of_v0_3 {
    use v0_3::cnidaria::policy::types::Origin;

    selections!(
        v0_3::cnidaria::policy::types,
        super::convert::v0_3,
        View::All,
        {
            fn origin(
                &mut self,
                _: Resource<SelectionsHandle>,
                at: u32,
            ) -> wasmtime::Result<Option<Origin>> {
                Ok(self.selections()?.origin(index(at)).map(Origin::from))
            }

            fn default(
                &mut self,
                _: Resource<SelectionsHandle>,
            ) -> wasmtime::Result<Option<Selection>> {
                Ok(self.selections()?.default().map(Selection::from))
            }

            fn set_default(
                &mut self,
                _: Resource<SelectionsHandle>,
                selection: Option<Selection>,
            ) -> Edited {
                let cost = selection.as_ref().map_or(0, bytes);
                self.edit_selections(cost, |draft| {
                    let selection = selection.map(convert::selection).transpose()?;
                    draft.set_default(selection.as_ref())
                })
            }
        }
    );
}
