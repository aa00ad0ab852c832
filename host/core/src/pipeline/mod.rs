//! Handles requests, one file per verb, because the verbs differ in how they fail:
//!
//! | verb | on failure |
//! | --- | --- |
//! | ADD | stop, undo what was added in reverse order, return the first cause |
//! | DEL | continue, return all errors while the namespace exists; leftovers stay in the ledger |
//! | CHECK | return the first error |
//! | GC | continue, return the errors of networks in use; sandboxes are retried |
//! | STATUS | return the first reason |

mod abandoned;
mod add;
mod adoption;
mod check;
mod clearing;
mod cluster_entries;
mod collections;
mod deferred;
mod del;
mod deletion;
mod directories;
mod dirs;
mod early_success;
mod error;
mod events;
mod execution;
mod explain;
mod forget;
mod gc;
mod gc_networks;
mod gc_scope;
mod giving_up;
mod hotplug;
mod lanes;
mod leave;
mod limits;
mod operators;
mod pod_netns;
mod reboot;
mod retries;
mod retrying;
mod rollback;
mod salvage;
mod status;
mod subject;
mod traces;
mod turns;
mod undo;
mod undone;
mod warnings;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use cni_types::args::{Command, ContainerId};
use cni_types::json::RawObject;
use cni_types::result::CniResult;
use futures_util::future::join_all;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::watch;

pub use abandoned::{Collected, Collector, Leftover, Schedule};
pub use error::Error;
pub use explain::{ExplainedNetwork, Explanation, Origin};
pub use warnings::ignored_members;

use crate::conf::net_conf::NetConf;
use crate::conf::overlay::Overlay;
use crate::conf::timeouts::Timeouts;
use crate::domain::entry::Entry;
use crate::domain::limits::Limits as TenantLimits;
use crate::domain::pod::Pod;
use crate::ports::{
    Answered, Cluster, Delegates, DeviceInfo, Devices, Ledger, Meter, NodeFiles, PodNetwork,
    Policies,
};
use crate::spans::Trace;
use crate::stages::hotplug::Hotplug;
use crate::stages::{
    self,
    lookups::Lookups,
    pod_args::Naming,
    request::{self, CheckedRequest},
};
use collections::Collections;
use directories::Directories;
use dirs::Dirs;
use retries::Retries;
use subject::Subject;
use traces::Traces;
use turns::{Turns, Work};
use undone::Undone;

/// The ports that requests use.
pub struct Ports {
    /// Pods and NADs.
    pub cluster: Arc<dyn Cluster>,
    /// Executes delegates.
    pub delegates: Arc<dyn Delegates>,
    /// Plans on disk.
    pub ledger: Arc<dyn Ledger>,
    /// Runs the policies.
    pub policies: Arc<dyn Policies>,
    /// Works inside pods' network namespaces.
    pub pod_network: Arc<dyn PodNetwork>,
    /// Finds the devices allocated to pods.
    pub devices: Arc<dyn Devices>,
    /// Reads and locates device-info files.
    pub device_info: Arc<dyn DeviceInfo>,
    /// Reads the node's conf files.
    pub node_files: Arc<dyn NodeFiles>,
}

/// Handles all requests; one instance serves them all.
pub struct Pipeline {
    ports: Ports,
    timeouts: Timeouts,
    overlay: Overlay,
    /// How many attachments of one pod are added concurrently.
    attachments_at_once: usize,
    /// Limits on what tenants may request.
    limits: TenantLimits,
    turns: Turns,
    collections: Collections,
    directories: Directories,
    retries: Retries,
    undone: Undone,
    traces: Traces,
    draining: AtomicBool,
    meter: Option<Arc<dyn Meter>>,
    /// The conf of the last request, for work without a request.
    last_conf: Mutex<Option<Arc<NetConf>>>,
}

/// Blocks a container's requests until it is dropped.
pub struct Hold {
    _turn: turns::Turn,
}

impl Pipeline {
    /// `overrides` are the keys of the daemon's configuration that override each conf.
    pub fn new(ports: Ports, timeouts: Timeouts, overrides: RawObject) -> Self {
        Self {
            ports,
            timeouts,
            overlay: Overlay::new(overrides),
            attachments_at_once: 1,
            limits: TenantLimits::default(),
            turns: Turns::default(),
            collections: Collections::default(),
            directories: Directories::default(),
            retries: Retries::default(),
            undone: Undone::default(),
            traces: Traces::default(),
            draining: AtomicBool::new(false),
            meter: None,
            last_conf: Mutex::default(),
        }
    }

    /// Reports requests to `meter`.
    #[must_use]
    pub fn with_meter(mut self, meter: Arc<dyn Meter>) -> Self {
        self.meter = Some(meter);
        self
    }

    /// Adds up to `count` attachments of a pod concurrently, after its default network. The default
    /// is one at a time.
    #[must_use]
    pub fn attaching_at_once(mut self, count: usize) -> Self {
        self.attachments_at_once = count.max(1);
        self
    }

    /// Replaces the limits on what tenants may request.
    #[must_use]
    pub fn limiting(mut self, limits: TenantLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Searches these directories for delegates, too, after the conf's `binDir`.
    #[must_use]
    pub fn searching(mut self, plugin_path: Vec<PathBuf>) -> Self {
        self.overlay.search_also(plugin_path);
        self
    }

    /// Handles the body of `POST /cni`. Returns the result of an ADD, `None` for the other verbs.
    ///
    /// # Errors
    /// [`Error`]; only `response` maps it to a CNI code.
    pub async fn handle(self: &Arc<Self>, body: &[u8]) -> Result<Option<CniResult>, Error> {
        let begun = Instant::now();
        let (body, trace) = self.begin_trace(body)?;
        let request = trace.within(|| {
            let checked = request::check(&body, &self.overlay, self.naming());
            accepted(&trace, checked.map_err(Error::from))
        })?;
        let request = request.keeping(body);
        let subject = Subject::of(&request);
        subject.note(&trace);
        let answer = trace.of(self.answer(request)).await;
        self.finish(&subject, (&trace, begun), &answer);
        answer
    }

    /// Parses a body unless the daemon is about to exit, and begins the trace of its request; logs
    /// why it is rejected.
    fn begin_trace(&self, body: &[u8]) -> Result<(shim_api::Request, Trace), Error> {
        let parsed = match self.is_draining() {
            true => Err(Error::Draining),
            false => {
                shim_api::Request::parse(body).map_err(|error| request::Error::from(error).into())
            }
        };
        let body = parsed.inspect_err(|error| {
            let error = crate::report::chain(error);
            tracing::error!(error, "request failed before its pod was known");
        })?;
        let trace = Trace::begin(&body.env);
        Ok((body, trace))
    }

    /// How completely requests must identify their pods.
    fn naming(&self) -> Naming {
        match self.ports.cluster.containers() {
            Some(_) => Naming::Partial,
            None => Naming::Complete,
        }
    }

    /// The lookups that resolve a plan.
    fn lookups(&self) -> Lookups<'_> {
        Lookups {
            cluster: &*self.ports.cluster,
            devices: &*self.ports.devices,
            device_info: &*self.ports.device_info,
            files: &*self.ports.node_files,
            limits: &self.limits,
        }
    }

    async fn answer(self: &Arc<Self>, request: CheckedRequest) -> Result<Option<CniResult>, Error> {
        match request {
            CheckedRequest::Pod(mut request) => {
                self.adopt(&request.conf, request.command).await?;
                if request.command != Command::Add {
                    directories::locate(self, &mut request).await;
                }
                match request.command {
                    Command::Add => add::add(self, request).await.map(Some),
                    Command::Check => check::check(self, request).await.map(|()| None),
                    _ => del::del(self, request).await.map(|()| None),
                }
            }
            CheckedRequest::Status { conf } => status::status(self, &conf).await.map(|()| None),
            CheckedRequest::Gc { conf, valid } => {
                self.adopt(&conf, Command::Gc).await?;
                gc::gc(self, conf, valid).await.map(|()| None)
            }
        }
    }

    /// Remembers the conf and the directories of a request. Only an ADD needs the directories to be
    /// remembered.
    async fn adopt(self: &Arc<Self>, conf: &Arc<NetConf>, command: Command) -> Result<(), Error> {
        let is_add = command == Command::Add;
        self.remember_conf(conf);
        match adoption::adopt(self, &Dirs::of(conf), is_add).await {
            Err(error) if !is_add => {
                tracing::warn!(
                    dir = %conf.cni_dir.display(),
                    error = crate::report::chain(&error),
                    "cannot remember the request's cniDir; continuing, because only an ADD needs it"
                );
                Ok(())
            }
            adopted => Ok(adopted?),
        }
    }

    /// Reads the device info of a completed attachment.
    async fn device_info(&self, entry: &Entry) -> Option<Box<RawValue>> {
        let path = entry.device_info_file()?;
        self.ports.device_info.read(&path).await
    }

    /// Explains what the ADD in the body of a `POST /cni` would do. Changes nothing, and emits no
    /// Event. `pod` replaces the cluster's pod of that name.
    ///
    /// # Errors
    /// [`Error`] if the body is not an ADD. Why the ADD would fail is part of the explanation.
    pub async fn explain(
        self: &Arc<Self>,
        body: &[u8],
        pod: Option<Pod>,
    ) -> Result<Explanation, Error> {
        match request::parse(body, &self.overlay, self.naming())? {
            CheckedRequest::Pod(request) if request.command == Command::Add => {
                explain::explain(self, request, pod).await
            }
            other => Err(request::Error::Command(other.command()).into()),
        }
    }

    /// Handles the body of `POST /delegate`: one attachment of a running pod.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn hotplug(self: &Arc<Self>, body: &[u8]) -> Result<Option<CniResult>, Error> {
        let begun = Instant::now();
        let (body, trace) = self.begin_trace(body)?;
        let mut request = trace.within(|| {
            let (overlay, naming) = (&self.overlay, self.naming());
            let checked = stages::hotplug::check(body, overlay, naming, &self.limits);
            accepted(&trace, checked.map_err(Error::from))
        })?;
        let subject = Subject::of_hotplug(&request);
        subject.note(&trace);
        let answer = trace.of(async {
            if let Hotplug::Attachment { request, .. } = &mut request {
                directories::locate_pod(self, request).await;
            }
            hotplug::hotplug(self, request).await
        });
        let answer = answer.await;
        self.finish(&subject, (&trace, begun), &answer);
        answer
    }

    /// Logs and counts the outcome of a request.
    fn finish<T>(
        &self,
        subject: &Subject,
        (trace, begun): (&Trace, Instant),
        answer: &Result<T, Error>,
    ) {
        let took = begun.elapsed();
        let failed = answer
            .as_ref()
            .err()
            .map(|error| crate::report::chain(error));
        subject.log(trace, failed.as_deref(), took);
        let answered = match answer {
            Ok(_) => Answered::Success,
            Err(Error::Denied(_)) => Answered::Denied,
            Err(Error::NotUndone { cause, .. }) if matches!(**cause, Error::Denied(_)) => {
                Answered::Denied
            }
            Err(_) => Answered::Failure,
        };
        let outcome = match answered {
            Answered::Success => "success",
            Answered::Denied => "denied",
            Answered::Failure => "failure",
        };
        trace.end(outcome, failed.as_deref());
        if let Some(meter) = &self.meter {
            meter.answered(subject.verb.as_str(), answered, took);
        }
    }

    /// Begins with `cni_dir`, the daemon's own directory, and those that earlier daemons remembered:
    /// schedules the undos that are left there. Must be called before the first request, which may
    /// be the DEL that cancels one.
    pub async fn begin(&self, cni_dir: &Path) {
        adoption::begin(self, cni_dir).await;
    }

    /// The ledger directories in use, the daemon's own first.
    pub fn directories(&self) -> Vec<PathBuf> {
        let all = self.directories.all();
        all.iter().map(|dirs| dirs.cni.to_path_buf()).collect()
    }

    /// Notifies of each directory that is added to [`Self::directories`].
    pub fn more_directories(&self) -> watch::Receiver<()> {
        self.directories.subscribe()
    }

    /// Retries pending undos, including those from before a reboot in `cni_dir` and all directories
    /// known now. Runs until the daemon exits; sleeps while none are pending.
    pub async fn finish_undos(self: &Arc<Self>, cni_dir: &Path) {
        let dirs = self.dirs_of(cni_dir);
        let mut all = self.directories.besides(&dirs);
        all.insert(0, dirs);
        let undoing = all.iter().map(|dirs| reboot::undo(self, dirs));
        tokio::join!(retrying::run(self), join_all(undoing));
    }

    /// A directory with the search path for its delegates.
    fn dirs_of(&self, cni_dir: &Path) -> Dirs {
        let known = self.directories.of(cni_dir);
        known.unwrap_or_else(|| directories::own(self, cni_dir))
    }

    /// Carries out recorded DELs. If `may_come` (a shim may have tried to connect just before this
    /// daemon listened), keeps watching for more until the daemon exits; sleeps while there are
    /// none.
    pub async fn finish_deferred(self: &Arc<Self>, cni_dir: &Path, may_come: bool) {
        deferred::run(self, cni_dir, may_come).await;
    }

    /// Collects what containers without a sandbox have left, until the daemon exits.
    pub async fn collect(self: &Arc<Self>, collector: &Collector) {
        abandoned::run(self, collector).await;
    }

    /// Compares the ledger with the runtime's sandboxes once, as [`Self::collect`] does at its
    /// interval.
    pub async fn observe(self: &Arc<Self>, collector: &Collector) {
        abandoned::observe(self, collector).await;
    }

    fn count_collected(&self, kind: &'static str) {
        if let Some(meter) = &self.meter {
            meter.collected(kind);
        }
    }

    fn remember_conf(&self, conf: &Arc<NetConf>) {
        let mut last = self.last_conf.lock();
        *last = Some(Arc::clone(conf));
    }

    fn last_conf(&self) -> Option<Arc<NetConf>> {
        let last = self.last_conf.lock();
        last.clone()
    }

    /// Schedules the undo of all containers in `cni_dir` whose network namespace is gone: before an
    /// uninstallation, after which the runtime sends no DELs for them.
    ///
    /// # Errors
    /// [`Error::Ledger`] if the directory cannot be read.
    pub async fn undo_gone(self: &Arc<Self>, cni_dir: &Path) -> Result<(), Error> {
        leave::undo_gone(self, &self.dirs_of(cni_dir)).await
    }

    /// Blocks requests for a container until the hold is dropped.
    pub async fn hold(&self, container: &ContainerId) -> Hold {
        let held = self.turns.take(container, Work::Orphans).await;
        Hold {
            _turn: held.leaving_records(),
        }
    }

    /// Rejects requests from now on: the daemon is about to exit.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether requests are rejected.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}

/// Logs why a request is rejected before its pod is known.
fn accepted<T>(trace: &Trace, checked: Result<T, Error>) -> Result<T, Error> {
    checked.inspect_err(|error| {
        let (error, request) = (crate::report::chain(error), trace.id);
        tracing::error!(error, %request, "request failed before its pod was known");
        trace.end("failure", Some(&error));
    })
}
