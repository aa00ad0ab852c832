//! One request's way through the policies: at most one store a policy, dropped with the session.

use std::collections::BTreeMap;

use crate::report::{Denied, Report};
use crate::request::{Attachment, Chosen, RequestFacts, Selection};
use cni_types::result::CniResult;

/// What the select hook leaves.
#[derive(Debug, Clone)]
pub struct Selected {
    /// The selections, in order.
    pub selections: Vec<Chosen>,
    /// What happened.
    pub report: Report,
}

/// What the after-add or the finalize hook leaves.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The result, rewritten or not.
    pub result: CniResult,
    /// Tags for network-status, by key.
    pub tags: BTreeMap<String, String>,
}

/// The policies of one request. Hooks are called in the order of the request's way.
#[derive(Debug)]
pub struct Session {
    facts: RequestFacts,
}

impl Session {
    pub(crate) fn new(facts: RequestFacts) -> Self {
        Self { facts }
    }

    /// The facts that the session began with.
    pub fn facts(&self) -> &RequestFacts {
        &self.facts
    }

    /// Offers the pod's selections, the default network not among them. Called once, on ADD.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure.
    pub async fn select(&mut self, selections: Vec<Selection>) -> Result<Selected, Denied> {
        let selections = selections
            .into_iter()
            .enumerate()
            .map(|(index, selection)| Chosen {
                origin: Some(index),
                selection,
            })
            .collect();
        Ok(Selected {
            selections,
            report: Report::default(),
        })
    }

    /// Offers one attachment before its delegate runs. Called on ADD for each attachment, in order.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure.
    pub async fn before_add(
        &mut self,
        attachment: Attachment,
    ) -> Result<(Attachment, Report), Denied> {
        Ok((attachment, Report::default()))
    }

    /// Offers what the delegate of `attachment` answered. Called on ADD after each delegate.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure: the ADD is rolled back.
    pub async fn after_add(
        &mut self,
        attachment: &Attachment,
        result: CniResult,
    ) -> Result<(Outcome, Report), Denied> {
        let _ = attachment;
        Ok((
            Outcome {
                result,
                tags: BTreeMap::new(),
            },
            Report::default(),
        ))
    }

    /// Offers the whole plan and the result of the request. Called on ADD, last.
    ///
    /// # Errors
    /// [`Denied`] when a policy denies, or fails and is closed on failure: the ADD is rolled back.
    pub async fn finalize(
        &mut self,
        plan: &[Attachment],
        result: CniResult,
    ) -> Result<(Outcome, Report), Denied> {
        let _ = plan;
        Ok((
            Outcome {
                result,
                tags: BTreeMap::new(),
            },
            Report::default(),
        ))
    }

    /// Shows one stored attachment and its stored result. Called on CHECK for each attachment.
    ///
    /// # Errors
    /// [`Denied`] when a policy finds fault, or fails and is closed on failure.
    pub async fn check(
        &mut self,
        attachment: &Attachment,
        result: &CniResult,
    ) -> Result<Report, Denied> {
        let _ = (attachment, result);
        Ok(Report::default())
    }

    /// Tells the policies of a stored attachment that goes away. Called on DEL; cannot refuse.
    pub async fn del(&mut self, attachment: &Attachment) -> Report {
        let _ = attachment;
        Report::default()
    }
}
