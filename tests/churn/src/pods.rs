//! Pods as a runtime runs them: a namespace, an ADD through the installed shim, a DEL, and the end of
//! the namespace. Each answer is compared with the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use node::{Answer, Call, Node, Pod, Sandbox, inspect, run};
use serde_json::Value;

use crate::error::{Error, end_of};

/// How often a runtime repeats what a killed daemon did not finish.
const ATTEMPTS: usize = 10;
/// The interfaces of each pod.
const INTERFACES: [&str; 2] = ["eth0", "net1"];

/// What all threads of a run know.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    begun: AtomicUsize,
    names: AtomicUsize,
    pub(crate) attached: AtomicUsize,
    pub(crate) detached: AtomicUsize,
    pub(crate) repeated: AtomicUsize,
    /// Counted before and after the daemon is killed: odd meanwhile.
    pub(crate) kills: AtomicUsize,
    pub(crate) failed: AtomicBool,
    pub(crate) ended: AtomicBool,
    longest_add: Mutex<Duration>,
    /// The addresses of attached pods.
    addresses: Mutex<BTreeSet<String>>,
}

impl Progress {
    pub(crate) fn longest_add(&self) -> Duration {
        let longest = self.longest_add.lock();
        *longest.unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, add: &Answer) {
        let mut longest = self
            .longest_add
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *longest = add.took.max(*longest);
    }

    fn kills(&self) -> usize {
        self.kills.load(Ordering::SeqCst)
    }

    /// Whether a daemon was killed while a call ran that began after so many kills.
    fn was_killed(&self, kills: usize) -> bool {
        kills % 2 == 1 || self.kills() != kills
    }
}

/// What a runtime needs to know of the node.
#[derive(Debug, Clone)]
pub(crate) struct Site {
    shim: PathBuf,
    conf: String,
    plugins: String,
    manifests: PathBuf,
    log: PathBuf,
}

impl Site {
    pub(crate) fn of(node: &Node, shim: PathBuf) -> Self {
        Self {
            shim,
            conf: node.conf.to_string(),
            plugins: node.plugins(),
            manifests: node.path("manifests"),
            log: node.path("daemon.log"),
        }
    }

    /// Attaches pods that stay.
    pub(crate) fn attach(&self, count: usize, progress: &Progress) -> Result<Vec<Sandbox>, Error> {
        (0..count).map(|_| self.start(progress)).collect()
    }

    /// Detaches pods while a daemon runs.
    pub(crate) fn detach(&self, sandboxes: &[Sandbox]) -> Result<(), Error> {
        for sandbox in sandboxes {
            let answer = self.call("DEL", sandbox)?;
            if !answer.succeeded() {
                return Err(self.wrong("DEL", sandbox, &answer));
            }
            self.end(sandbox)?;
        }
        Ok(())
    }

    /// CHECKs pods that stay.
    pub(crate) fn check(&self, sandboxes: &[Sandbox]) -> Result<(), Error> {
        for sandbox in sandboxes {
            let answer = self.call("CHECK", sandbox)?;
            if !answer.succeeded() {
                return Err(self.wrong("CHECK", sandbox, &answer));
            }
        }
        Ok(())
    }

    /// One worker: starts and stops pods until all have been.
    pub(crate) fn churn(&self, pods: usize, progress: &Progress) -> Result<(), Error> {
        let is_next = || progress.begun.fetch_add(1, Ordering::Relaxed) < pods;
        while !progress.failed.load(Ordering::Relaxed) && is_next() {
            let life = self
                .start(progress)
                .and_then(|sandbox| self.stop(&sandbox, progress));
            if life.is_err() {
                progress.failed.store(true, Ordering::Relaxed);
            }
            life?;
        }
        Ok(())
    }

    /// Starts a pod. An ADD that a killed daemon did not finish is deleted, and made again in another
    /// sandbox, as the kubelet does.
    fn start(&self, progress: &Progress) -> Result<Sandbox, Error> {
        for _ in 0..ATTEMPTS {
            let sandbox = self.make(progress.names.fetch_add(1, Ordering::Relaxed))?;
            let kills = progress.kills();
            let answer = self.call("ADD", &sandbox)?;
            if answer.succeeded() {
                progress.took(&answer);
                self.look(&sandbox, &answer, progress)?;
                progress.attached.fetch_add(1, Ordering::Relaxed);
                return Ok(sandbox);
            }
            if !progress.was_killed(kills) {
                return Err(self.wrong("ADD", &sandbox, &answer));
            }
            progress.repeated.fetch_add(1, Ordering::Relaxed);
            self.delete(&sandbox, progress)?;
            self.end(&sandbox)?;
        }
        Err(self.error("an ADD was cut off again and again".to_owned()))
    }

    /// Stops a pod.
    fn stop(&self, sandbox: &Sandbox, progress: &Progress) -> Result<(), Error> {
        let links = inspect::links(Some(&sandbox.netns_name))?;
        let own = links.into_iter().flat_map(|link| link.addresses);
        {
            // Before the DEL: afterwards another pod may have them.
            let mut addresses = progress
                .addresses
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            for address in own {
                addresses.remove(&address);
            }
        }
        self.delete(sandbox, progress)?;
        progress.detached.fetch_add(1, Ordering::Relaxed);
        self.end(sandbox)
    }

    /// A DEL, repeated only if a daemon was killed meanwhile.
    fn delete(&self, sandbox: &Sandbox, progress: &Progress) -> Result<(), Error> {
        for _ in 0..ATTEMPTS {
            let kills = progress.kills();
            let answer = self.call("DEL", sandbox)?;
            if answer.succeeded() {
                return Ok(());
            }
            if !progress.was_killed(kills) {
                return Err(self.wrong("DEL", sandbox, &answer));
            }
        }
        Err(self.error("a DEL was cut off again and again".to_owned()))
    }

    /// Compares an ADD's answer with the kernel, and its addresses with those of other pods.
    fn look(&self, sandbox: &Sandbox, answer: &Answer, progress: &Progress) -> Result<(), Error> {
        let links = inspect::links(Some(&sandbox.netns_name))?;
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        if names != INTERFACES {
            let what = format!("pod {} has {names:?}", sandbox.pod.name);
            return Err(self.error(what));
        }
        let result = answer.json()?;
        let answered = result.pointer("/ips/0/address").and_then(Value::as_str);
        let own = links.iter().flat_map(|link| &link.addresses);
        let own: Vec<&String> = own.collect();
        if !own.iter().any(|own| Some(own.as_str()) == answered) {
            let what = format!("pod {} has {own:?}, not {answered:?}", sandbox.pod.name);
            return Err(self.error(what));
        }
        let mut addresses = progress
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for address in own {
            if !addresses.insert(address.clone()) {
                let what = format!("pod {} has {address} of another pod", sandbox.pod.name);
                return Err(self.error(what));
            }
        }
        Ok(())
    }

    /// What a runtime makes before the ADD.
    fn make(&self, number: usize) -> Result<Sandbox, Error> {
        let pod = Pod::new("default", &format!("churn-{number}")).networks("blue");
        let netns_name = pod.name.clone();
        let (manifest, aside) = (
            self.manifest(&pod),
            self.manifests.join(format!(".{number}")),
        );
        fs::write(&aside, pod.manifest().to_string())
            .and_then(|()| fs::rename(&aside, &manifest))
            .map_err(Error::file(&manifest))?;
        run("ip", &["netns", "add", &netns_name])?;
        Ok(Sandbox {
            container_id: format!("sandbox-{netns_name}"),
            netns_name,
            pod,
        })
    }

    fn manifest(&self, pod: &Pod) -> PathBuf {
        self.manifests.join(format!("pod-{}.json", pod.name))
    }

    /// What a runtime removes after the DEL.
    fn end(&self, sandbox: &Sandbox) -> Result<(), Error> {
        run("ip", &["netns", "delete", &sandbox.netns_name])?;
        let manifest = self.manifest(&sandbox.pod);
        fs::remove_file(&manifest).map_err(Error::file(&manifest))
    }

    fn call(&self, verb: &str, sandbox: &Sandbox) -> Result<Answer, Error> {
        let call = Call::new(self.shim.clone(), verb, sandbox, &self.plugins);
        Ok(call.stdin(self.conf.clone()).make()?)
    }

    fn wrong(&self, verb: &str, sandbox: &Sandbox, answer: &Answer) -> Error {
        let Answer { stdout, stderr, .. } = answer;
        let pod = &sandbox.pod.name;
        self.error(format!("{verb} of pod {pod} failed: {stdout} {stderr}"))
    }

    fn error(&self, what: String) -> Error {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let log = end_of(&log);
        Error::Wrong { what, log }
    }
}
