//! The way of a request, a file a verb, because their rules for failure differ:
//!
//! | verb | on failure |
//! | --- | --- |
//! | ADD | stop, undo in reverse order what was added, answer the first cause |
//! | DEL | go on, return all errors while the namespace is there; what could not be undone stays in the ledger |
//! | CHECK | the first error |
//! | GC | go on, return the errors of networks that are in use; sandboxes are retried |
//! | STATUS | the first reason |

mod add;
mod addition;
mod check;
mod clearing;
mod collections;
mod deferred;
mod del;
mod dirs;
mod error;
mod forget;
mod gc;
mod hotplug;
mod lanes;
mod limits;
mod place;
mod promise;
mod reboot;
mod remarks;
mod retries;
mod retrying;
mod rollback;
mod status;
mod turns;
mod undo;
mod undone;

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cni_types::args::{Command, ContainerId, IfName};
use cni_types::json::RawObject;
use cni_types::result::CniResult;
use libcni::load::Files;
use serde_json::value::RawValue;

pub use error::Error;

use crate::config::overlay::Overlay;
use crate::config::own::Timeouts;
use crate::domain::entry::Entry;
use crate::domain::limits::Limits as TenantLimits;
use crate::ports::{
    Answered, Cluster, Delegates, DeviceInfo, Devices, Ledger, LedgerError, Listing, Meter,
    PodNetwork, Policies, Undo,
};
use crate::stages::{
    self,
    pod_args::Naming,
    request::{self, Request},
    resolve::Lookups,
};
use collections::Collections;
use dirs::Dirs;
use reboot::Earlier;
use retries::Retries;
use turns::Turns;
use undone::Undone;

/// What the pipeline knows of the world.
pub struct Ports {
    /// Pods and networks.
    pub cluster: Arc<dyn Cluster>,
    /// Executes delegates.
    pub delegates: Arc<dyn Delegates>,
    /// Plans on disk.
    pub ledger: Arc<dyn Ledger>,
    /// The policies.
    pub policies: Arc<dyn Policies>,
    /// The insides of pods' network namespaces.
    pub pod_network: Arc<dyn PodNetwork>,
    /// What was allocated to pods.
    pub devices: Arc<dyn Devices>,
    /// What is said of their devices.
    pub device_info: Arc<dyn DeviceInfo>,
}

/// Everything that requests need. One of it serves all of them.
pub struct Pipeline {
    ports: Ports,
    timeouts: Timeouts,
    overlay: Overlay,
    /// How many attachments of one pod are made at once.
    attachments_at_once: usize,
    /// How large the wishes of tenants may be.
    limits: TenantLimits,
    /// Confs of networks that were loaded before.
    files: Files,
    turns: Turns,
    collections: Collections,
    retries: Retries,
    undone: Undone,
    earlier: Earlier,
    draining: AtomicBool,
    meter: Option<Arc<dyn Meter>>,
}

/// A container whose requests wait.
pub struct Hold {
    _turn: turns::Turn,
}

impl Deref for Pipeline {
    type Target = Ports;

    fn deref(&self) -> &Ports {
        &self.ports
    }
}

impl Pipeline {
    /// `overrides` are the keys of the daemon's file that win over those of each conf.
    pub fn new(ports: Ports, timeouts: Timeouts, overrides: RawObject) -> Self {
        Self {
            ports,
            timeouts,
            overlay: Overlay::new(overrides),
            attachments_at_once: 1,
            limits: TenantLimits::default(),
            files: Files::default(),
            turns: Turns::default(),
            collections: Collections::default(),
            retries: Retries::default(),
            undone: Undone::default(),
            earlier: Earlier::default(),
            draining: AtomicBool::new(false),
            meter: None,
        }
    }

    /// The same with requests counted.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The same with as many attachments of a pod made at once, after its default network. Otherwise
    /// one after the other.
    #[must_use]
    pub fn attaching_at_once(mut self, count: usize) -> Self {
        self.attachments_at_once = count.max(1);
        self
    }

    /// The same with other limits of what tenants ask for.
    #[must_use]
    pub fn limiting(mut self, limits: TenantLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Answers the body of `POST /cni`: the result of an ADD, nothing for the other verbs.
    ///
    /// # Errors
    /// [`Error`]; only `response` makes a CNI code of it.
    pub async fn handle(self: &Arc<Self>, body: &[u8]) -> Result<Option<CniResult>, Error> {
        if self.is_draining() {
            return Err(Error::Draining);
        }
        let begun = Instant::now();
        let request = request::parse(body, &self.overlay, self.naming())?;
        let verb = request.command();
        let answer = self.answer(request).await;
        self.count(verb, begun, &answer);
        answer
    }

    /// What requests have to say of their pods.
    fn naming(&self) -> Naming {
        match self.cluster.containers() {
            Some(_) => Naming::Partial,
            None => Naming::Complete,
        }
    }

    /// What a plan is made of.
    fn lookups(&self) -> Lookups<'_> {
        Lookups {
            cluster: &*self.cluster,
            devices: &*self.devices,
            device_info: &*self.device_info,
            files: &self.files,
            limits: &self.limits,
        }
    }

    async fn answer(self: &Arc<Self>, request: Request) -> Result<Option<CniResult>, Error> {
        match request {
            Request::Pod(request) => match request.command {
                Command::Add => add::add(self, request).await.map(Some),
                Command::Check => check::check(self, request).await.map(|()| None),
                _ => del::del(self, request).await.map(|()| None),
            },
            Request::Status { conf } => status::status(self, &conf).await.map(|()| None),
            Request::Gc { conf, valid } => gc::gc(self, conf, valid).await.map(|()| None),
        }
    }

    /// What is said of the device of an attachment that was made.
    async fn device_info(&self, entry: &Entry) -> Option<Box<RawValue>> {
        let path = entry.device_info_file()?;
        self.ports.device_info.read(&path).await
    }

    /// Answers the body of `POST /delegate`: one attachment of a pod that runs already.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn hotplug(self: &Arc<Self>, body: &[u8]) -> Result<Option<CniResult>, Error> {
        if self.is_draining() {
            return Err(Error::Draining);
        }
        let begun = Instant::now();
        let request = stages::hotplug::parse(body, &self.overlay, self.naming(), &self.limits)?;
        let verb = request.command();
        let answer = hotplug::hotplug(self, request).await;
        self.count(verb, begun, &answer);
        answer
    }

    fn count<T>(&self, verb: Command, begun: Instant, answer: &Result<T, Error>) {
        let answered = match answer {
            Ok(_) => Answered::Success,
            Err(Error::Denied(_)) => Answered::Denied,
            Err(Error::NotUndone { cause, .. }) if matches!(**cause, Error::Denied(_)) => {
                Answered::Denied
            }
            Err(_) => Answered::Failure,
        };
        if let Some(meter) = &self.meter {
            meter.answered(verb.as_str(), answered, begun.elapsed());
        }
    }

    /// Schedules again what an earlier daemon on `cni_dir` could not undo. Called before the first
    /// request, which may be the DEL that cancels it.
    pub async fn resume_undos(&self, cni_dir: &Path) {
        retrying::resume(self, cni_dir).await;
    }

    /// Tries again what could not be undone, also before the node was started again. Runs as long as
    /// the daemon; sleeps while there is nothing.
    pub async fn finish_undos(self: &Arc<Self>, cni_dir: &Path) {
        let own = self.overlay.own();
        let bin_dirs = own.map_or_else(|_| Vec::new(), |conf| conf.bin_dirs);
        let dirs = Dirs::new(cni_dir, &bin_dirs);
        tokio::join!(retrying::run(self), reboot::undo(self, &dirs));
    }

    /// Carries out the DELs that came while no daemon was there. Where more may come (a shim may have
    /// looked for this daemon a moment before it was there), runs as long as the daemon; sleeps while
    /// there are none.
    pub async fn finish_deferred(self: &Arc<Self>, cni_dir: &Path, may_come: bool) {
        deferred::run(self, cni_dir, may_come).await;
    }

    /// Lets requests for a container wait, until the hold is dropped.
    pub async fn hold(&self, container: &ContainerId) -> Hold {
        Hold {
            _turn: self.turns.take(container).await,
        }
    }

    /// The sandboxes with attachments that could not be undone yet.
    pub fn undos(&self, cni_dir: &Path) -> Vec<Undo> {
        self.retries.list(cni_dir)
    }

    /// Forgets what is recorded of a container, or of one interface of it, without undoing anything:
    /// the operator's way out. Gives what was forgotten.
    ///
    /// # Errors
    /// [`Error::NotAttached`] where nothing is recorded; [`Error::Ledger`].
    pub async fn forget(
        self: &Arc<Self>,
        cni_dir: &Path,
        container: &ContainerId,
        if_name: Option<&IfName>,
    ) -> Result<Vec<Entry>, Error> {
        forget::forget(self, &Dirs::new(cni_dir, &[]), container, if_name).await
    }

    /// Refuses requests from now on: the daemon is about to end.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// What is recorded in a directory, for people.
    ///
    /// # Errors
    /// [`LedgerError`] when the directory cannot be read.
    pub async fn entries(&self, cni_dir: &Path) -> Result<Listing, LedgerError> {
        self.ledger.list(cni_dir).await
    }
}
