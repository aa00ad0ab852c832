//! Executes an ADD from its first delegate on: tracks what was begun, collects the results, and
//! determines what to undo.
//!
//! The default network is attached first and alone; the others concurrently, up to the configured
//! limit. Policies, Events, default routes and the choice of the first failure still follow plan
//! order, whichever delegate finishes first.

use std::path::Path;
use std::pin::Pin;

use cni_types::result::CniResult;
use futures_util::future::select_all;

use super::events;
use super::limits::{self, Limits, is_given_up};
use super::{Error, Pipeline, retries};
use crate::domain::attachment::Plan;
use crate::domain::default_route::{self, Claims};
use crate::domain::entry::Entry;
use crate::domain::network_status::{self, NetworkStatus};
use crate::domain::pod::PodRef;
use crate::ports::{GiveUp, PolicyResult, PolicySession, Wanted};
use crate::spans::{self, stage};
use crate::stages::request::PodRequest;

/// The state of an ADD: what it answers, and what to undo if it fails.
pub(super) struct Execution<'a> {
    pipeline: &'a Pipeline,
    request: &'a PodRequest,
    claims: Claims,
    /// The entries as recorded, with the delegates' results.
    entries: Vec<Entry>,
    /// The results after the policies, of the attachments accepted so far: answered and shown.
    answers: Vec<PolicyResult>,
    /// Which attachments may have left something behind.
    begun: Vec<bool>,
}

/// The outcome of one attachment.
struct AttachmentOutcome {
    position: usize,
    entry: Entry,
    failed: Option<Error>,
}

impl<'a> Execution<'a> {
    pub(super) fn new(
        pipeline: &'a Pipeline,
        request: &'a PodRequest,
        plan: &Plan,
    ) -> Result<Self, Error> {
        let claims = Claims::of(&plan.attachments).map_err(|source| Error::DefaultRoute {
            pod: plan.sandbox.pod.clone(),
            source,
        })?;
        let added_at = Some(retries::seconds());
        let entries = plan.attachments.iter().map(|attachment| {
            Ok::<_, Error>(Entry {
                added_at,
                ..Entry::new(attachment, &plan.sandbox)?
            })
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            pipeline,
            request,
            claims,
            begun: vec![false; entries.len()],
            entries,
            answers: Vec::new(),
        })
    }

    /// The plan as recorded before anything runs.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) async fn run(
        &mut self,
        plan: &Plan,
        policies: &mut dyn PolicySession,
        limits: &mut Limits,
    ) -> Result<CniResult, Error> {
        self.attach(plan, policies, limits).await?;
        limits
            .apply(async {
                let result = stage("finalize", self.finalize(plan, policies)).await?;
                stage("results", self.record_results()).await?;
                stage("network-status", self.publish(&plan.sandbox.pod)).await?;
                Ok(result)
            })
            .await
    }

    /// Runs all delegates. After a failure no further one starts, but running ones are awaited: one
    /// earlier in the plan may fail too, and undoing needs to know what each did. If the ADD is
    /// cancelled they get a grace period.
    async fn attach(
        &mut self,
        plan: &Plan,
        policies: &mut dyn PolicySession,
        limits: &mut Limits,
    ) -> Result<(), Error> {
        let (give_up, wanted) = Wanted::channel();
        let mut running = Vec::new();
        let mut waiting = self.entries.clone().into_iter().enumerate();
        let mut first_failure: Option<(usize, Error)> = None;
        loop {
            while first_failure.is_none() && running.len() < self.at_once() {
                let Some((position, entry)) = waiting.next() else {
                    break;
                };
                self.set_begun(position, true);
                let wanted = wanted.clone();
                running.push(Box::pin(attach_one(
                    self.pipeline,
                    self.request,
                    position,
                    entry,
                    wanted,
                )));
            }
            if running.is_empty() {
                break;
            }
            let attached = match limits.apply(async { Ok(next(&mut running).await) }).await {
                Ok(attached) => attached,
                Err(cause) => {
                    self.let_end(&give_up, running).await;
                    return Err(cause);
                }
            };
            if let Some(failure) = self.note(attached) {
                keep_first(&mut first_failure, failure);
            }
            while let Some((position, result)) = self.next_answer(first_failure.as_ref()) {
                let accepted = self.accept(plan, position, result, policies);
                if let Err(error) = limits.apply(accepted).await {
                    if is_given_up(&error) {
                        self.let_end(&give_up, running).await;
                        return Err(error);
                    }
                    keep_first(&mut first_failure, (position, error));
                }
            }
        }
        first_failure.map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Lets running delegates of a cancelled ADD finish, and notes their outcomes.
    async fn let_end(
        &mut self,
        give_up: &GiveUp,
        mut running: Vec<Pin<Box<impl Future<Output = AttachmentOutcome>>>>,
    ) {
        let container = &self.request.container_id;
        let ending = async {
            while !running.is_empty() {
                self.note(next(&mut running).await);
            }
        };
        limits::let_end(give_up, container, ending).await;
    }

    /// How many delegates may run now. One at a time while default routes are moved, because each
    /// must see the routes the previous one left.
    fn at_once(&self) -> usize {
        match self.answers.is_empty() || !self.claims.is_empty() {
            true => 1,
            false => self.pipeline.attachments_at_once,
        }
    }

    fn set_begun(&mut self, position: usize, is_begun: bool) {
        if let Some(begun) = self.begun.get_mut(position) {
            *begun = is_begun;
        }
    }

    /// Notes an attachment's outcome and returns its failure.
    fn note(&mut self, attached: AttachmentOutcome) -> Option<(usize, Error)> {
        let AttachmentOutcome {
            position,
            entry,
            failed,
        } = attached;
        let mut entry = entry;
        if let Some(Error::Delegate(error)) = &failed {
            self.set_begun(position, error.executed);
            entry.failed_add = error.failed_at.clone();
        }
        if let Some(place) = self.entries.get_mut(position) {
            *place = entry;
        }
        failed.map(|error| (position, error))
    }

    /// The next result in plan order, if it has arrived and no earlier attachment has failed.
    fn next_answer(&self, first_failure: Option<&(usize, Error)>) -> Option<(usize, CniResult)> {
        let position = self.answers.len();
        if first_failure.is_some_and(|(failed, _)| *failed <= position) {
            return None;
        }
        let result = self.entries.get(position)?.result.clone()?;
        Some((position, result))
    }

    /// Processes a delegate's result, once all earlier ones have been accepted.
    async fn accept(
        &mut self,
        plan: &Plan,
        position: usize,
        result: CniResult,
        policies: &mut dyn PolicySession,
    ) -> Result<(), Error> {
        let (Some(entry), Some(attachment)) =
            (self.entries.get(position), plan.attachments.get(position))
        else {
            return Ok(());
        };
        events::interface_added(self.pipeline, entry);
        let subject = (entry.network.as_str(), entry.if_name.as_str());
        let answer = policies.after_add(attachment, result);
        let answer = spans::attachment("after-add", subject, answer).await?;
        if let Some(entry) = self.entries.get_mut(position) {
            entry.tags.clone_from(&answer.tags);
        }
        self.answers.push(answer);
        self.set_default_routes(position).await
    }

    async fn set_default_routes(&mut self, position: usize) -> Result<(), Error> {
        let Some(result) = self
            .entries
            .get(position)
            .and_then(|entry| entry.result.as_ref())
        else {
            return Ok(());
        };
        for change in self.claims.after(position, result) {
            let (Some(netns), Some(entry)) = (
                self.request.netns.as_deref(),
                self.entries.get(change.position),
            ) else {
                continue;
            };
            let pod_network = &self.pipeline.ports.pod_network;
            pod_network
                .set_default_route(Path::new(netns), &entry.if_name, change.gateway)
                .await?;
            let recorded = self.entries.iter_mut().map(|entry| entry.result.as_mut());
            let recorded = recorded
                .enumerate()
                .filter_map(|(i, result)| Some((i, result?)));
            default_route::apply(change, recorded);
            let answers = self.answers.iter_mut().map(|answer| &mut answer.result);
            default_route::apply(change, answers.enumerate());
        }
        Ok(())
    }

    async fn finalize(
        &mut self,
        plan: &Plan,
        policies: &mut dyn PolicySession,
    ) -> Result<CniResult, Error> {
        let Some(first) = self.answers.first() else {
            return Err(Error::NotAttached(self.request.container_id.clone()));
        };
        let result = first.result.clone();
        let shown = self
            .answers
            .iter()
            .map(|answer| answer.result.clone())
            .collect();
        let finale = policies.finalize(&plan.attachments, result, shown).await?;
        for (answer, shown) in self.answers.iter_mut().zip(finale.shown) {
            answer.result = shown.result;
            answer.tags.extend(shown.tags);
        }
        if let Some(first) = self.answers.first_mut() {
            first.tags.extend(finale.outcome.tags);
        }
        Ok(finale.outcome.result)
    }

    /// Records results again if default routes were moved after they were written, or if policies
    /// have tagged them.
    async fn record_results(&mut self) -> Result<(), Error> {
        for (entry, answer) in self.entries.iter_mut().zip(&self.answers) {
            entry.tags.clone_from(&answer.tags);
        }
        let is_moved = !self.claims.is_empty();
        let changed = self.entries.iter();
        for entry in changed.filter(|entry| is_moved || !entry.tags.is_empty()) {
            self.pipeline
                .ports
                .ledger
                .record_result(&self.request.conf.cni_dir, entry)
                .await?;
        }
        Ok(())
    }

    async fn publish(&self, pod: &PodRef) -> Result<(), Error> {
        if self.request.conf.system_namespaces.contains(&pod.namespace) {
            return Ok(());
        }
        let mut statuses: Vec<NetworkStatus> = Vec::new();
        for (entry, answer) in self.entries.iter().zip(&self.answers) {
            let shown = network_status::of_attachment(entry, &answer.result, &answer.tags);
            let device_info = self.pipeline.device_info(entry).await;
            let bytes = device_info.as_ref().map_or(0, |info| info.get().len());
            let repeated = network_status::repeats(bytes);
            statuses.extend(
                shown
                    .into_iter()
                    .enumerate()
                    .map(|(number, status)| NetworkStatus {
                        device_info: device_info.clone().filter(|_| number < repeated),
                        ..status
                    }),
            );
            // A delegate may list thousands of interfaces; other requests go on between two.
            tokio::task::yield_now().await;
        }
        let status = serde_json::to_string(&statuses).expect("strings and numbers are JSON");
        self.pipeline
            .ports
            .cluster
            .set_network_status(pod, &status)
            .await?;
        Ok(())
    }

    /// The attachments to undo: those that may have left something behind.
    pub(super) fn into_begun(self) -> Vec<Entry> {
        let begun = self.entries.into_iter().zip(self.begun);
        begun
            .filter_map(|(entry, begun)| begun.then_some(entry))
            .collect()
    }
}

/// Waits for the first of the running futures to finish; there must be at least one. With so few,
/// polling them all is cheaper than a `FuturesUnordered`, which would also wake another thread.
async fn next<T>(running: &mut Vec<Pin<Box<impl Future<Output = T>>>>) -> T {
    let (ended, position, _) = select_all(running.iter_mut()).await;
    drop(running.swap_remove(position));
    ended
}

/// Runs the delegates of one attachment and records their result.
async fn attach_one(
    pipeline: &Pipeline,
    request: &PodRequest,
    position: usize,
    mut entry: Entry,
    wanted: Wanted,
) -> AttachmentOutcome {
    let conf = &request.conf;
    let span = spans::of_attachment("attach", &entry.network, entry.if_name.as_str());
    let attached = async {
        pipeline.collections.wait(&entry).await;
        // CHECK and DEL need the delegate's own result, not the policies' version.
        let added = pipeline.ports.delegates.add(&conf.bin_dirs, &entry, wanted);
        entry.result = Some(added.await?);
        pipeline
            .ports
            .ledger
            .record_result(&conf.cni_dir, &entry)
            .await?;
        Ok(())
    };
    let failed = spans::noting(span, attached).await.err();
    AttachmentOutcome {
        position,
        entry,
        failed,
    }
}

/// Keeps the failure that comes first in the plan.
fn keep_first(first: &mut Option<(usize, Error)>, failure: (usize, Error)) {
    if first
        .as_ref()
        .is_none_or(|(position, _)| failure.0 < *position)
    {
        *first = Some(failure);
    }
}
