//! DEL when the network namespace is gone. Most plugins succeed then, as the specification asks of
//! them. Some do not, or not for every form in which a runtime can say it, and one of them in a chain
//! would keep the others, and the address, for ever.

use cni_types::args::Command;
use cni_types::conf::{NetworkConfList, PluginConf};
use cni_types::result::CniResult;

use super::call::Call;
use super::{Cause, Cni, Error};
use crate::exec;
use crate::netns::StandIn;
use crate::request::RuntimeConf;

/// What a call has tried before [`Cni::del_without_netns`].
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
    /// The failures, in the order in which they came.
    pub fn into_errors(self) -> Vec<Error> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Until(error) => vec![error],
            Self::Each(errors) => errors,
        }
    }

    /// How the plugin at this place ended; `None` where it was not executed.
    fn of(&mut self, position: usize) -> Option<Result<(), Error>> {
        let errors = match self {
            Self::Nothing => return None,
            Self::Until(error) if error.position.is_none_or(|at| position < at) => return None,
            // Its error is taken out once; the plugins after it had succeeded before.
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
    /// Detaches a container whose network namespace is gone. To be called when nothing is at
    /// `CNI_NETNS`, or no namespace, also where [`del`](Self::del) or [`del_each`](Self::del_each) have
    /// failed: what they have `tried` is not tried again.
    ///
    /// Every plugin is executed, in reverse order, whichever fails. One that fails is helped: what it
    /// got from an IPAM plugin is given back to that directly, and it is executed again, with an empty
    /// `CNI_NETNS` and then with a namespace in which there is the interface and nothing else: what
    /// there was is gone with the container's own. A plugin that was interrupted, at its deadline or by
    /// a signal, is not executed again in this call.
    ///
    /// # Errors
    /// Every plugin that failed whatever it was given: something may be left outside of the namespace.
    /// The call can be repeated.
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
                Err(error) if is_answer(&error) => detaching.help(plugin, runtime, error).await,
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
    /// Made for the first plugin that needs it.
    stand_in: Option<StandIn>,
}

impl Detaching<'_> {
    /// Undoes what is outside of the namespace, for a plugin that answered with an error.
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
        // Before a success that may only mean that the plugin looked at nothing.
        self.call
            .ipam(self.list, plugin, runtime, self.prev_result)
            .await?;
        let mut runtime = runtime.clone();
        if !runtime.netns.is_empty() {
            runtime.netns.clear();
            match self.attempt(plugin, &runtime).await {
                Err(error) if is_answer(&error) => {}
                ended => return ended,
            }
        }
        let stand_in = match &self.stand_in {
            Some(stand_in) => stand_in,
            None => match StandIn::with(&runtime.if_name) {
                Ok(stand_in) => self.stand_in.insert(stand_in),
                Err(error) => {
                    tracing::warn!(%error, "no stand-in for the network namespace");
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

/// Whether a plugin ran to its end and said no.
fn is_answer(error: &Error) -> bool {
    let ran = matches!(
        *error.source,
        Cause::Exec(exec::Error::Answered { .. } | exec::Error::Unexplained { .. })
    );
    ran && !error.is_interruption()
}
