//! STATUS: would an ADD succeed now? Fails with 50, or a delegate's own code, and the reason.

use std::time::Duration;

use super::limits::after;
use super::{Error, Pipeline};
use crate::conf::net_conf::NetConf;
use crate::spans::stage;
use crate::stages::{readiness, resolve};

/// Queries the cluster, the policies and the delegates of the default network.
pub(super) async fn status(pipeline: &Pipeline, conf: &NetConf) -> Result<(), Error> {
    let patience = pipeline.timeouts.stop();
    let asked = tokio::time::timeout_at(after(patience), ask(pipeline, conf)).await;
    asked.unwrap_or(Err(Error::Deadline(patience)))
}

async fn ask(pipeline: &Pipeline, conf: &NetConf) -> Result<(), Error> {
    let files = &*pipeline.ports.node_files;
    let indicator = readiness::await_indicator(conf, files, Duration::ZERO);
    stage("readiness", indicator)
        .await
        .map_err(Error::NetworkNotReady)?;
    pipeline.ports.cluster.ready().map_err(Error::NotReady)?;
    stage("policies", pipeline.ports.policies.status())
        .await
        .map_err(Error::PoliciesNotReady)?;
    let network = resolve::known_cluster_network(conf, pipeline.lookups());
    let network = stage("resolve", network)
        .await
        .map_err(Error::NoDefaultNetwork)?;
    let delegates = pipeline
        .ports
        .delegates
        .status(&conf.bin_dirs, &network.conf);
    stage("delegates", delegates).await?;
    Ok(())
}
