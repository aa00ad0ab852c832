//! DEL after an ADD that gave no result: each plugin of the chain on its own.

use cni_types::args::Command;
use cni_types::conf::NetworkConfList;
use cni_types::result::CniResult;

use super::call::Call;
use super::{Cni, Error};
use crate::request::RuntimeConf;

impl Cni {
    /// Detaches a container whose ADD failed half-way. Every plugin is executed, in reverse order,
    /// whichever fails: a plugin that refuses its configuration refuses it on DEL as well, and the
    /// plugins before it have something to remove. Where a plugin fails, its IPAM plugin is called
    /// directly, which ignores what it never handed out, and the plugin once more as if its conf named
    /// none: what `host-device` has moved it does not move back while its IPAM plugin refuses. A plugin that
    /// was interrupted is executed once.
    ///
    /// `so_far` is the result of the plugins that succeeded, see [`Error::so_far`]: without it some
    /// plugins, such as `firewall`, do not find what they made. Plugins of 0.3.1 and older are not given it.
    ///
    /// # Errors
    /// Every plugin that failed, the last one of the list first. The call can be repeated.
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
            let Err(error) = call.attachment(list, plugin, runtime, so_far).await else {
                continue;
            };
            // After an interruption either would take its time once more: it may be the IPAM plugin
            // that hangs.
            if plugin.ipam_type().is_some() && !error.is_interruption() {
                let addresses = call.ipam(list, plugin, runtime, so_far).await;
                let link = call.without_ipam(list, plugin, runtime, so_far).await;
                for failed in [addresses.err(), link.err()].into_iter().flatten() {
                    tracing::debug!(
                        network = call.network,
                        plugin = %plugin.plugin_type(),
                        error = &failed as &dyn std::error::Error,
                        "DEL of the IPAM plugin alone, or of the plugin without it, failed as well"
                    );
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
