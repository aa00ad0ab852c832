//! The daemon as a whole: parses the configuration, builds the adapters, binds the socket, and
//! serves until a signal arrives. Opens nothing before the configuration has been validated.

mod collecting;
mod handler;
mod leaving;
mod ledgers;
mod listening;
mod policies;
mod policy_status;
mod removal;
mod scrape;
mod signals;
mod surroundings;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libcni::Root;
use policy_engine::{Observer, PolicyHost};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::adapters::delegates::orphans::{self, Tenure};
use crate::adapters::delegates::{Executor, Load};
use crate::adapters::device_info::{self, Describing};
use crate::adapters::kubelet::{self, Kubelet};
use crate::adapters::ledger::{Boot, Files, Indexed, Summaries};
use crate::adapters::manifests::Manifests;
use crate::adapters::metrics::{Metered, Metrics};
use crate::adapters::node_files::ConfFiles;
use crate::adapters::pod_counters::PodCounters;
use crate::adapters::pod_network::Netlink;
use crate::idle;
use crate::multus_conf::{self, Provided};
use crate::server::{self, Handler, Serving, Socket};
use crate::trace::Traces;
use ::policies::{Engine, Lookup};
use cnidaria_core::domain::shim::Shims;
use cnidaria_core::pipeline::{Collector, Pipeline, Ports};
use cnidaria_core::ports::{Cluster, Directory, Meter};
use cnidaria_core::supervision;
use cnidaria_kube::Kube;
use config::daemon::DaemonConfig;
use config::own::OwnConfig;
use config::places;
use listening::{Listening, Tenures, Unbound};
use policy_status::Noticing;
use removal::Removal;
use signals::Signals;
use surroundings::{cgroup, cgroup_dir, directory, helper, plugin_path};

/// Why the daemon cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither an API server nor a directory of manifests is configured.
    #[error(
        "no cluster: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, and neither kubeconfig nor cnidaria.manifests is configured"
    )]
    NoCluster,
    /// The directory of manifests cannot be used.
    #[error("cnidaria.manifests: cannot read {dir}")]
    Manifests {
        /// Path of the directory.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The runtime's conf cannot be provided.
    #[error(transparent)]
    Conf(#[from] multus_conf::Error),
    /// `cniDir` cannot be a directory.
    #[error("cniDir: {dir} cannot hold the ledger, because {found} is not a directory")]
    CniDir {
        /// `cniDir`.
        dir: PathBuf,
        /// `cniDir` itself or a directory above it.
        found: PathBuf,
    },
    /// The delegates' root directory cannot be opened.
    #[error("chrootDir: {dir} cannot be the root of delegates")]
    Root {
        /// Path of the directory.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The delegates' cgroup cannot be opened.
    #[error("delegateCgroup: {dir} cannot be the control group of delegates")]
    Cgroup {
        /// Path of the directory.
        dir: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The socket cannot be created.
    #[error(transparent)]
    Socket(#[from] server::Error),
    /// The previous daemon is still running, or its delegates cannot be determined.
    #[error(transparent)]
    Tenure(#[from] orphans::Error),
    /// Signal handlers cannot be installed.
    #[error("cannot handle signals")]
    Signal(#[source] std::io::Error),
}

/// What the process is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves until a signal arrives.
    Serve,
    /// As [`Self::Serve`], but removes the runtime's conf in place of writing it: `cnidaria
    /// uninstall` runs such a daemon to finish what is recorded.
    Leave,
}

/// Retry interval when inotify watches are exhausted.
const WATCH_AGAIN: Duration = Duration::from_secs(60);

/// Runs the daemon until SIGTERM, SIGINT or SIGHUP. Answers questions about `traces`, if requests are
/// traced. Calls `tidy` in idle periods, to free what bursts leave behind.
///
/// # Errors
/// [`Error`] if the daemon cannot start. Afterwards only a signal stops it.
pub async fn run(
    config: DaemonConfig,
    role: Role,
    traces: Option<Traces>,
    tidy: fn(),
) -> Result<(), Error> {
    if let Some(found) = places::in_the_way(&config.cni_dir) {
        return Err(Error::CniDir {
            dir: config.cni_dir.clone(),
            found: found.to_owned(),
        });
    }
    let (stop, stopping) = watch::channel(false);
    let mut signals = Signals::catch().map_err(Error::Signal)?;
    let conf = multus_conf::Provider::open(config.conf_file.clone())?;
    let provided = conf.as_ref().map(multus_conf::Provider::provided);
    let app = Arc::new(App::build(&config, provided, traces).await?);
    if role == Role::Leave {
        app.begin_leaving()?;
    }
    let (socket, listener) = Socket::bind(&config.socket_dir)?;
    let patience = config.own.timeouts.shutdown;
    // New connections wait until the previous daemon has exited.
    let tenure = Tenure::begin(&config.socket_dir, 2 * patience).await?;
    app.pipeline.begin(&app.cni_dir).await;
    app.leave_word(&config.socket_dir).await;
    app.clean_up();
    let tenure = settle(&app, tenure, patience).await;
    tracing::info!(socket_dir = %config.socket_dir.display(), "serving requests");
    let handler: Arc<dyn Handler> = Arc::clone(&app) as Arc<dyn Handler>;
    let (replace, replacements) = mpsc::channel(1);
    let tenures = Arc::new(Tenures::of(tenure));
    let listening = Listening {
        dir: config.socket_dir.clone(),
        socket,
        tenures: Arc::clone(&tenures),
        replace,
        unbound: Arc::clone(&app.unbound),
    };
    let listening = supervision::spawn("socket", listening, |one| Box::pin(one.keep()));
    let serving = Serving {
        listener: Some(listener),
        replacements,
        handler,
        connection_limit: config.connection_limit,
        stop: stopping,
        patience,
    };
    let serving = supervision::spawn("server", serving, |serving| Box::pin(server::run(serving)));
    let mut background = in_background(&app, &config, role);
    background.push(supervision::spawn(
        "idle periods",
        app.answers.subscribe(),
        move |answers| Box::pin(idle::on_idle(answers, tidy)),
    ));
    if let Some(port) = config.metrics_port {
        background.extend(serve_metrics(port, &app).await);
    }
    background.extend(
        conf.map(|conf| {
            supervision::spawn("conf of the runtime", conf, |conf| Box::pin(conf.run()))
        }),
    );
    let removal = supervision::spawn("DaemonSet", Arc::clone(&app), |app| {
        Box::pin(app.watch_daemon_set())
    });
    signals.recv().await;
    removal.abort();
    app.leave_if_uninstalled().await;
    tracing::info!("shutting down");
    for task in background {
        task.abort();
    }
    listening.abort();
    // Its end removes the socket: new connections are refused, and only then requests are, so that
    // clients that have not sent one wait for the next daemon.
    let _ = listening.await;
    app.pipeline.drain();
    stop.send_replace(true);
    if let Err(error) = serving.await {
        tracing::error!(%error, "the server task panicked");
    }
    if let Some(recorder) = app.policies.recorder() {
        recorder.flush();
    }
    drop(tenures);
    Ok(())
}

/// Starts the work that no request waits for.
fn in_background(app: &Arc<App>, config: &DaemonConfig, role: Role) -> Vec<JoinHandle<()>> {
    let may_defer = config.own.defer_dels && role == Role::Serve;
    let mut tasks = vec![
        supervision::spawn("retries of undos", Arc::clone(app), |app| {
            Box::pin(app.pipeline.finish_undos(&app.cni_dir))
        }),
        supervision::spawn("recorded DELs", Arc::clone(app), move |app| {
            Box::pin(app.finish_deferred(may_defer))
        }),
        supervision::spawn("collection", Arc::clone(app), |app| Box::pin(app.collect())),
        supervision::spawn("policies", Arc::clone(&app.policies), |policies| {
            Box::pin(reload_policies(policies))
        }),
    ];
    if role == Role::Serve {
        tasks.push(supervision::spawn(
            "status of policies",
            Arc::clone(app),
            |app| Box::pin(async move { app.show_policies().await }),
        ));
    }
    tasks
}

/// Reloads policies whenever their directories change, forever.
async fn reload_policies(policies: &Arc<PolicyHost>) {
    loop {
        let Err(error) = policies.watch().await;
        tracing::error!(
            %error,
            again_in_seconds = WATCH_AGAIN.as_secs(),
            "cannot watch the directories of policies; their changes take effect once it succeeds"
        );
        let _ = tokio::time::timeout(WATCH_AGAIN, policies.take_compiled()).await;
    }
}

/// Serves metrics. If the port is in use, the daemon runs without them.
async fn serve_metrics(port: u16, app: &Arc<App>) -> Option<JoinHandle<()>> {
    let listener = match server::metrics::bind(port).await {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(port, %error, "cannot serve metricsPort; continuing without metrics");
            return None;
        }
    };
    let app = Arc::clone(app);
    let text: server::metrics::Text = Arc::new(move || {
        let app = Arc::clone(&app);
        Box::pin(async move { app.metrics_text().await })
    });
    let serving = supervision::spawn("metrics", (listener, text), |(listener, text)| {
        Box::pin(server::metrics::run(listener, text))
    });
    Some(serving)
}

/// Delays requests for containers that still have delegates of an earlier daemon running.
async fn settle(app: &Arc<App>, tenure: Tenure, patience: Duration) -> Arc<Tenure> {
    let tenure = Arc::new(tenure);
    let mut held = BTreeMap::new();
    let orphaned = tenure.orphaned().await;
    for container in &orphaned {
        tracing::warn!(%container, "delegates of an earlier daemon are running; the container's requests wait for them");
        let hold = app.pipeline.hold(container).await;
        held.insert(container.clone(), hold);
    }
    let settling = Arc::clone(&tenure);
    let settling = async move {
        let settled = settling.settle(orphaned, patience, |container| {
            held.remove(container);
        });
        settled.await;
    };
    tokio::spawn(supervision::once(
        "delegates of an earlier daemon",
        settling,
    ));
    tenure
}

/// Handles requests.
struct App {
    metrics: Arc<Metrics>,
    pipeline: Arc<Pipeline>,
    ledger: Files,
    policies: Arc<PolicyHost>,
    kube: Option<Arc<Kube>>,
    /// The delegates that run and wait.
    load: Load,
    shows_pod_networks: bool,
    /// What scrapes show of the ledger.
    summaries: Summaries,
    /// Reads the traffic of pods' interfaces, if configured.
    pod_counters: Option<PodCounters>,
    /// Notices changes of the policies, if the cluster is to show them.
    noticing: Option<Arc<Noticing>>,
    node_name: String,
    /// Collects what containers without a sandbox have left, if configured.
    collector: Option<Collector>,
    /// The runtime's conf, if this daemon provides one.
    provided: Option<Provided>,
    /// The DaemonSet that decides whether this daemon is uninstalled.
    removal: Option<Removal>,
    /// Whether the daemon prepares to be uninstalled.
    leaving: watch::Sender<bool>,
    /// The last requests, if they are traced.
    traces: Option<Traces>,
    /// Number of responses sent.
    answers: watch::Sender<u64>,
    /// Why the removed socket could not be bound again.
    unbound: Arc<Unbound>,
    cni_dir: PathBuf,
    /// The same with the search path for delegates.
    directory: Directory,
}

impl App {
    async fn build(
        config: &DaemonConfig,
        provided: Option<Provided>,
        traces: Option<Traces>,
    ) -> Result<Self, Error> {
        let own = &config.own;
        let (cluster, kube) = cluster(config)?;
        let removal = kube.clone().zip(own.daemon_set.as_ref());
        let metrics = Arc::new(Metrics::default());
        let index = Indexed::default();
        let shown = kube.as_ref().zip(own.policies.as_ref());
        let shown = shown.filter(|(_, policies)| policies.node_status);
        let noticing = shown.map(|_| Noticing::of(metrics.policies().clone()));
        let policies = match &own.policies {
            Some(policies) => {
                let mut engine = policies::engine(policies, &own.timeouts);
                let cgroup = policies.compile_cgroup.clone();
                engine.compile_cgroup = cgroup.or_else(|| cgroup_dir(config));
                let lookup = Lookup::new(Arc::clone(&cluster), node_name(own));
                let lookup = lookup.with_standing(Arc::new(index.clone()));
                engine.cluster = Some(Arc::new(lookup));
                engine.observer = Some(match &noticing {
                    Some(noticing) => Arc::clone(noticing) as Arc<dyn Observer>,
                    None => metrics.policies().clone(),
                });
                PolicyHost::start(engine).await
            }
            None => Arc::new(PolicyHost::empty()),
        };
        let engine = Engine::new(Arc::clone(&policies), Arc::clone(&cluster), node_name(own));
        let root = match &config.chroot_dir {
            Some(dir) => Some(Root::enter(dir).map_err(|source| Error::Root {
                dir: dir.clone(),
                source,
            })?),
            None => None,
        };
        let mut ledger = Files::new(own.durability)
            .with_limit(own.ledger_limit)
            .with_boot(Boot::find(config.chroot_dir.as_deref()))
            .with_deferrable(own.defer_dels_of.clone())
            .with_index(&index)
            .remembering_in(&config.cni_dir);
        let directory = directory(config);
        ledger.succeed(&config.socket_dir, &directory).await;
        index.read_from(ledger.clone(), config.cni_dir.clone());
        let delegates = Executor::new(own.timeouts.delegate, own.delegates_at_once)
            .inside(root.clone())
            .grouped(cgroup(config)?)
            .helped(helper())
            .without(Shims::default().and_type_of(&config.overrides));
        let load = delegates.load();
        let delegates = Arc::new(Metered::new(Arc::new(delegates), Arc::clone(&metrics)));
        let files = device_info::Files::new(own.device_info_dir.clone(), root.clone());
        let collect = own.collect.as_ref();
        let collector = collect.map(|one| collecting::collector(one, root.clone()));
        let ports = Ports {
            cluster,
            delegates: Arc::new(Describing::new(delegates, files.clone())),
            devices: Arc::new(Kubelet::new(kubelet_settings(own, root.clone()))),
            device_info: Arc::new(files),
            ledger: Arc::new(ledger.clone()),
            node_files: Arc::new(ConfFiles::default()),
            policies: Arc::new(engine),
            pod_network: Arc::new(Netlink::below(root)),
        };
        let pipeline = Pipeline::new(ports, own.timeouts.clone(), config.overrides.clone())
            .limiting(own.limits)
            .searching(plugin_path())
            .attaching_at_once(own.attachments_at_once.get());
        let meter: Arc<dyn Meter> = Arc::clone(&metrics) as Arc<dyn Meter>;
        Ok(Self {
            metrics,
            pipeline: Arc::new(pipeline.with_meter(meter)),
            ledger,
            policies,
            kube,
            load,
            shows_pod_networks: own.pod_network_metrics,
            summaries: Summaries::default(),
            pod_counters: pod_counters(config)?,
            noticing,
            node_name: node_name(own),
            collector,
            provided,
            removal: removal.map(|(kube, daemon_set)| Removal::of(kube.client(), daemon_set)),
            leaving: watch::Sender::new(false),
            traces,
            answers: watch::Sender::new(0),
            unbound: Arc::default(),
            cni_dir: config.cni_dir.clone(),
            directory,
        })
    }
}

type AnyCluster = (Arc<dyn Cluster>, Option<Arc<Kube>>);

/// The directory of manifests if configured, else the API server.
fn cluster(config: &DaemonConfig) -> Result<AnyCluster, Error> {
    let own = &config.own;
    if let Some(dir) = &own.manifests {
        let manifests = Manifests::open(dir, own.status_dir.as_deref());
        let manifests = manifests.map_err(|source| Error::Manifests {
            dir: dir.clone(),
            source,
        })?;
        return Ok((Arc::new(manifests), None));
    }
    let node = node_name(own);
    let variable = |name: &str| std::env::var(name).ok();
    let access = config.api_server.access(&node, variable);
    let settings = cnidaria_kube::Settings {
        access: access.ok_or(Error::NoCluster)?,
        node_name: Some(node),
        write_patience: own.timeouts.status,
        outage_patience: own.timeouts.outage,
    };
    let kube = Arc::new(Kube::start(settings));
    Ok((Arc::clone(&kube) as Arc<dyn Cluster>, Some(kube)))
}

/// What reads the traffic of pods' interfaces, if configured.
fn pod_counters(config: &DaemonConfig) -> Result<Option<PodCounters>, Error> {
    if !config.own.pod_interface_metrics {
        return Ok(None);
    }
    let root = config.chroot_dir.as_deref();
    let counters = PodCounters::below(root).map_err(|source| Error::Root {
        dir: root.unwrap_or_else(|| Path::new("/")).to_owned(),
        source,
    })?;
    Ok(Some(counters))
}

fn kubelet_settings(own: &OwnConfig, root: Option<Root>) -> kubelet::Settings {
    kubelet::Settings {
        socket: own.kubelet.pod_resources_socket.clone(),
        checkpoint: own.kubelet.device_checkpoint.clone(),
        patience: own.timeouts.kubelet,
        root,
    }
}

/// The node's name: as configured, else `MULTUS_NODE_NAME` (set by the DaemonSet), else the host
/// name.
pub fn node_name(own: &OwnConfig) -> String {
    own.node_name
        .clone()
        .or_else(|| {
            std::env::var("MULTUS_NODE_NAME")
                .ok()
                .filter(|name| !name.is_empty())
        })
        .unwrap_or_else(|| {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        })
}
