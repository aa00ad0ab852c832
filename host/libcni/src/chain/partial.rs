//! DEL after an ADD without a result: undoes each plugin of the chain independently.

use cni_types::args::Command;
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;

use super::call::Call;
use super::{Cni, Error};
use crate::request::RuntimeConf;

impl Cni {
    /// Detaches a container whose ADD failed half-way. Executes every plugin in reverse order, even
    /// after failures: a plugin that rejects its configuration rejects it on DEL too, and the
    /// plugins before it still have something to remove. If a plugin fails, calls its IPAM plugin
    /// directly, which ignores what it never allocated, and calls the plugin again with a conf
    /// without IPAM: `host-device` does not move its device back while its IPAM plugin fails. Does
    /// not retry a plugin that was interrupted. An interruption of the IPAM plugin is the plugin's
    /// error.
    ///
    /// `so_far` is the result of the plugins that succeeded, see [`Error::so_far`]; some plugins,
    /// such as `firewall`, need it to find what they created. Plugins of 0.3.1 and older do not get
    /// it.
    ///
    /// # Errors
    /// One error per failed plugin, last plugin of the list first. The call can be repeated.
    pub async fn del_each(
        &self,
        list: &NetworkConfList,
        runtime: &RuntimeConf,
        so_far: Option<&CniResult>,
    ) -> Result<(), Vec<Error>> {
        let version = list.cni_version().effective();
        let so_far = so_far.filter(|_| version.del_has_prev_result());
        let mut call = Call::new(self, Command::Del, list.name().as_str());
        let mut errors = Vec::new();
        for (position, plugin) in list.plugins().iter().enumerate().rev() {
            call.position = Some(position);
            let Err(mut error) = call.attachment(list, plugin, runtime, so_far).await else {
                continue;
            };
            // After an interruption either call may time out again: the IPAM plugin may be what
            // hangs.
            if plugin.ipam_type().is_some() && !error.is_interruption() {
                let addresses = call.ipam(list, plugin, runtime, so_far).await;
                let link = call.without_ipam(list, plugin, runtime, so_far).await;
                let failures = [addresses.err(), link.err()].into_iter().flatten();
                for failed in failures {
                    tracing::debug!(
                        network = call.network,
                        plugin = %plugin.plugin_type(),
                        error = &failed as &dyn std::error::Error,
                        "DEL of the IPAM plugin alone, or of the plugin without it, failed as well"
                    );
                    // A plugin whose IPAM plugin was killed exits by itself, with an error.
                    if failed.is_interruption() && !error.is_interruption() {
                        error = failed;
                    }
                }
            }
            errors.push(error);
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}
