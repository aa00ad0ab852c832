//! Policies of a node that has none: every request passes unchanged.

use async_trait::async_trait;
use cni_types::result::CniResult;

use super::untouched;
use cnidaria_core::domain::attachment::Attachment;
use cnidaria_core::domain::entry::Entry;
use cnidaria_core::domain::networks::Networks;
use cnidaria_core::ports::{AddFailure, Denial, Finale, PolicyResult, PolicySession};

/// No policies. Nothing is converted.
pub(super) struct NoPolicies;

#[async_trait]
impl PolicySession for NoPolicies {
    async fn select(&mut self, networks: Networks) -> Result<Networks, Denial> {
        Ok(networks)
    }

    fn plan(&mut self, _attachments: &[Attachment]) -> Result<(), Denial> {
        Ok(())
    }

    async fn before_add(&mut self, attachment: Attachment) -> Result<Option<Attachment>, Denial> {
        Ok(Some(attachment))
    }

    async fn settle(&mut self, _plan: &[Attachment]) -> Result<(), Denial> {
        Ok(())
    }

    async fn after_add(
        &mut self,
        _attachment: &Attachment,
        result: CniResult,
    ) -> Result<PolicyResult, Denial> {
        Ok(untouched(result))
    }

    async fn validate_plugged(
        &mut self,
        _attachment: &Attachment,
        _outcome: &PolicyResult,
    ) -> Result<(), Denial> {
        Ok(())
    }

    async fn finalize(
        &mut self,
        _plan: &[Attachment],
        result: CniResult,
        shown: Vec<CniResult>,
    ) -> Result<Finale, Denial> {
        Ok(Finale {
            outcome: untouched(result),
            shown: shown.into_iter().map(untouched).collect(),
        })
    }

    async fn check(&mut self, _entry: &Entry) -> Result<(), Denial> {
        Ok(())
    }

    async fn del(&mut self, _entry: &Entry) {}

    async fn add_failed(&mut self, _plan: &[Attachment], _why: AddFailure) {}

    fn succeed(&mut self) {}
}
