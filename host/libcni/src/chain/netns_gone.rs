//! DEL when the network namespace is gone. Most plugins then succeed, as the specification
//! requires. Some fail, or fail for one of the forms in which a runtime expresses it, and a single
//! one would block the rest of the chain, and leak the address, forever.

use cni_types::args::Command;
use cni_types::conf::{NetworkConfList, PluginConf};
use cni_types::result::CniResult;

use super::call::Call;
use super::{Cni, Error};
use crate::netns::StandIn;
use crate::request::RuntimeConf;

/// What was already tried before [`Cni::del_without_netns`].
#[derive(Debug)]
pub enum Tried {
    /// No plugin was executed.
    Nothing,
    /// [`Cni::del`] stopped at this failure.
    Until(Error),
    /// [`Cni::del_each`] executed every plugin, with these failures.
    Each(Vec<Error>),
}

impl Tried {
    /// The failures, in order of occurrence.
    pub fn into_errors(self) -> Vec<Error> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Until(error) => vec![error],
            Self::Each(errors) => errors,
        }
    }

    /// Outcome of the plugin at `position`; `None` if it was not executed.
    fn of(&mut self, position: usize) -> Option<Result<(), Error>> {
        let errors = match self {
            Self::Nothing => return None,
            Self::Until(error) if error.position.is_none_or(|at| position < at) => return None,
            // The error is taken once; the plugins after it in the list had succeeded.
            Self::Until(error) if error.position != Some(position) => return Some(Ok(())),
            Self::Until(_) => match std::mem::replace(self, Self::Nothing) {
                Self::Until(error) => return Some(Err(error)),
                _ => return None,
            },
            Self::Each(errors) => errors,
        };
        let failed = errors
            .iter()
            .position(|error| error.position == Some(position));
        Some(failed.map_or(Ok(()), |place| Err(errors.swap_remove(place))))
    }
}

impl Cni {
    /// Detaches a container whose network namespace is gone: `CNI_NETNS` does not exist or is not a
    /// namespace. Can follow a failed [`del`](Self::del) or [`del_each`](Self::del_each); skips the
    /// work in `tried`.
    ///
    /// Executes every plugin in reverse order, even after failures. For a plugin that fails, first
    /// calls its IPAM plugin directly to release addresses, then executes the plugin again with an
    /// empty `CNI_NETNS`, and then with a stand-in namespace that contains only the interface:
    /// everything else is gone with the container's namespace. A plugin interrupted by its deadline
    /// or a signal is not executed again in this call.
    ///
    /// # Errors
    /// The plugins that failed in every variant: something may be left outside the namespace. The
    /// call can be repeated.
    pub async fn del_without_netns(
        &self,
        list: &NetworkConfList,
        runtime: &RuntimeConf,
        prev_result: Option<&CniResult>,
        mut tried: Tried,
    ) -> Result<(), Vec<Error>> {
        let version = list.cni_version().effective();
        let mut detaching = Detaching {
            call: Call::new(self, Command::Del, list.name().as_str()),
            list,
            prev_result: prev_result.filter(|_| version.del_has_prev_result()),
            stand_in: None,
        };
        let mut errors = Vec::new();
        for (position, plugin) in list.plugins().iter().enumerate().rev() {
            detaching.call.position = Some(position);
            let ended = match tried.of(position) {
                Some(ended) => ended,
                None => detaching.attempt(plugin, runtime).await,
            };
            let deleted = match ended {
                Err(error) if error.is_refusal() => detaching.help(plugin, runtime, error).await,
                ended => ended,
            };
            errors.extend(deleted.err());
        }
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

struct Detaching<'a> {
    call: Call<'a>,
    list: &'a NetworkConfList,
    prev_result: Option<&'a CniResult>,
    /// Created for the first plugin that needs it.
    stand_in: Option<StandIn>,
}

impl Detaching<'_> {
    /// Undoes what is outside the namespace for a plugin that returned an error.
    async fn help(
        &mut self,
        plugin: &PluginConf,
        runtime: &RuntimeConf,
        first: Error,
    ) -> Result<(), Error> {
        tracing::warn!(
            network = self.call.network,
            plugin = %plugin.plugin_type(),
            error = &first as &dyn std::error::Error,
            "DEL failed and the network namespace is gone: undoing what is outside of it"
        );
        // First, because a later success may only mean that the plugin did nothing.
        self.call
            .ipam(self.list, plugin, runtime, self.prev_result)
            .await?;
        let mut runtime = runtime.clone();
        if !runtime.netns.is_empty() {
            runtime.netns.clear();
            match self.attempt(plugin, &runtime).await {
                Err(error) if error.is_refusal() => {}
                ended => return ended,
            }
        }
        let stand_in = match &self.stand_in {
            Some(stand_in) => stand_in,
            None => match StandIn::with(&runtime.if_name) {
                Ok(stand_in) => self.stand_in.insert(stand_in),
                Err(error) => {
                    tracing::warn!(
                        network = self.call.network,
                        plugin = %plugin.plugin_type(),
                        interface = %runtime.if_name,
                        %error,
                        "cannot create a stand-in for the network namespace; the DEL stays failed"
                    );
                    return Err(first);
                }
            },
        };
        runtime.netns = stand_in.path();
        self.attempt(plugin, &runtime).await
    }

    async fn attempt(&mut self, plugin: &PluginConf, runtime: &RuntimeConf) -> Result<(), Error> {
        let deleted = self
            .call
            .attachment(self.list, plugin, runtime, self.prev_result);
        deleted.await.map(drop)
    }
}
