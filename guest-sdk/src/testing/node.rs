//! Whole requests of several sandboxes, through all hooks of a policy.

use std::collections::BTreeMap;

use super::host::host;
use crate::bindings::attachments::Info;
use crate::export::configure;
use crate::hooks::{Policy, Verdict};
use crate::{
    Attachment, Command, Denial, Failure, Finding, Outcome, Plan, Request, Selection, Selections,
    ValidAttachment,
};

/// A policy that [`export!`](crate::export) makes a component of.
pub trait Exported: Policy {
    /// Its hooks.
    const HOOKS: Hooks<Self>;
}

/// A hook of one attachment, with its plan or result.
type OfAttachment<P, T> = fn(&P, &Request, &Attachment, &T) -> Verdict;
/// A hook of the whole result.
type OfResult<P> = fn(&P, &Request, &Plan, &Outcome) -> Verdict;
/// A hook that only reports.
type Finds<P, T, U> = fn(&P, &Request, &T, &U) -> Vec<Finding>;

/// A hook of the node.
type OfNode<P> = fn(&P) -> Result<(), String>;
/// A hook of the attachments in use.
type OfValid<P> = fn(&P, &[ValidAttachment]) -> Vec<Finding>;

/// The exported hooks of a policy.
#[derive(Debug)]
pub struct Hooks<P> {
    /// [`Select`](crate::hooks::Select).
    pub select: Option<fn(&P, &Request, &Selections) -> Verdict>,
    /// [`ValidateSelections`](crate::hooks::ValidateSelections).
    pub validate_selections: Option<fn(&P, &Request, &Selections) -> Verdict>,
    /// [`BeforeAdd`](crate::hooks::BeforeAdd).
    pub before_add: Option<OfAttachment<P, Plan>>,
    /// [`ValidatePlan`](crate::hooks::ValidatePlan).
    pub validate_plan: Option<fn(&P, &Request, &Plan) -> Verdict>,
    /// [`AfterAdd`](crate::hooks::AfterAdd).
    pub after_add: Option<OfAttachment<P, Outcome>>,
    /// [`Finalize`](crate::hooks::Finalize).
    pub finalize: Option<OfResult<P>>,
    /// [`ValidateResult`](crate::hooks::ValidateResult).
    pub validate_result: Option<OfResult<P>>,
    /// [`AddFailed`](crate::hooks::AddFailed).
    pub add_failed: Option<Finds<P, Plan, Failure>>,
    /// [`Check`](crate::hooks::Check).
    pub check: Option<OfAttachment<P, Outcome>>,
    /// [`Status`](crate::hooks::Status).
    pub status: Option<OfNode<P>>,
    /// [`Del`](crate::hooks::Del).
    pub del: Option<Finds<P, Attachment, Outcome>>,
    /// [`Gc`](crate::hooks::Gc).
    pub gc: Option<OfValid<P>>,
}

impl<P> Hooks<P> {
    /// No hook.
    pub const NONE: Self = Self {
        select: None,
        validate_selections: None,
        before_add: None,
        validate_plan: None,
        after_add: None,
        finalize: None,
        validate_result: None,
        add_failed: None,
        check: None,
        status: None,
        del: None,
        gc: None,
    };
}

/// One ADD.
#[derive(Debug, Clone)]
pub struct Add {
    request: Request,
    selections: Selections,
    networks: Vec<(Attachment, Outcome)>,
}

impl Add {
    /// An ADD of a pod. The sandbox is named after the pod, unless the request has its own
    /// [container id](Request::with_container_id).
    pub fn new(request: Request) -> Self {
        Self {
            request: request.named(),
            selections: Selections::new(Vec::new()),
            networks: Vec::new(),
        }
    }

    /// The networks that the pod selects, for the hooks of selections. What is attached is given by
    /// [`attaching`](Self::attaching).
    #[must_use]
    pub fn selecting(mut self, selections: Vec<Selection>) -> Self {
        self.selections = Selections::new(selections);
        self
    }

    /// Attaches a network, whose plugins answer with `outcome`. The first is the default network.
    #[must_use]
    pub fn attaching(mut self, attachment: Attachment, outcome: Outcome) -> Self {
        let attachment = match self.networks.is_empty() {
            true => attachment.as_default(),
            false => attachment,
        };
        self.networks.push((attachment, outcome));
        self
    }
}

/// What an ADD left.
#[derive(Debug, Clone)]
pub struct Added {
    /// The selections after the policy.
    pub selections: Selections,
    /// The attachments after the policy, each with its result and tags. Skipped ones are left out, and
    /// what a policy changes of a [status](Plan::status) is not kept.
    pub attachments: Vec<(Attachment, Outcome)>,
    /// The result for the runtime.
    pub outcome: Outcome,
    /// What the policy reported.
    pub findings: Vec<Finding>,
}

/// An ADD that the policy denied.
#[derive(Debug, Clone)]
pub struct Denied {
    /// The denial.
    pub denial: Denial,
    /// The hook that denied, as `export!` names it.
    pub hook: &'static str,
    /// What the policy reported, in the hooks for what failed, too.
    pub findings: Vec<Finding>,
}

/// A node with one policy, which has a new instance for each request, as in the daemon. State, clock
/// and what else is around the policy is that of [`host`] and stays between requests; what
/// is bound to a sandbox goes with it.
///
/// ```
/// use cnidaria_guest::prelude::*;
/// use cnidaria_guest::testing::{Add, Node};
/// # struct Once;
/// # impl Policy for Once {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings) -> Result<Self, String> { Ok(Self) }
/// # }
/// # impl AfterAdd for Once {
/// #     fn after_add(&self, _: &Request, _: &Attachment, outcome: &Outcome) -> Verdict {
/// #         use cnidaria_guest::json_state::{Life, update};
/// #         let count = update("pods", Life::Sandbox, |count: Option<u32>| Some(count.unwrap_or(0) + 1))?;
/// #         if count > Some(1) { return Err("one pod is enough".into()); }
/// #         outcome.tag("count", "1")?;
/// #         Ok(())
/// #     }
/// # }
/// # cnidaria_guest::export!(Once: after_add);
/// # fn main() {
/// let mut node = Node::<Once>::new("{}").unwrap();
/// let add = |pod| Add::new(Request::add("shop", pod)).attaching(
///     Attachment::new("cluster", "eth0", r#"{"type":"bridge"}"#),
///     Outcome::new(),
/// );
/// let added = node.add(add("web-1")).unwrap();
/// assert_eq!(added.attachments[0].1.tags(), [("count".into(), "1".into())]);
/// assert_eq!(node.add(add("web-2")).unwrap_err().hook, "after_add");
/// node.del("web-1");
/// node.add(add("web-2")).unwrap();
/// # }
/// ```
#[derive(Debug)]
pub struct Node<P> {
    settings: String,
    sandboxes: BTreeMap<String, Sandbox>,
    policy: std::marker::PhantomData<P>,
}

#[derive(Debug)]
struct Sandbox {
    request: Request,
    attachments: Vec<(Attachment, Outcome)>,
}

impl<P: Exported> Node<P> {
    /// A node whose policy has these settings.
    ///
    /// # Errors
    /// The error that the operator would see.
    pub fn new(settings: &str) -> Result<Self, String> {
        configure::<P>(settings)?;
        host(|host| host.attachments = Some(Vec::new()));
        Ok(Self {
            settings: settings.to_owned(),
            sandboxes: BTreeMap::new(),
            policy: std::marker::PhantomData,
        })
    }

    /// Runs the hooks of an ADD, and those of what failed if one denies.
    ///
    /// # Errors
    /// The denial.
    pub fn add(&mut self, add: Add) -> Result<Added, Box<Denied>> {
        let container = add.request.container_id();
        let policy = self.begin(&container);
        let request = add.request.clone();
        let mut running = Running {
            policy: &policy,
            request: &request,
            selections: add.selections,
            planned: Vec::new(),
            made: Vec::new(),
        };
        match running.run(add.networks) {
            Ok(outcome) => {
                let Running {
                    selections, made, ..
                } = running;
                self.stand(&request, &made);
                let sandbox = Sandbox {
                    request: request.clone(),
                    attachments: made.clone(),
                };
                self.sandboxes.insert(container, sandbox);
                Ok(Added {
                    selections,
                    attachments: made,
                    outcome,
                    findings: request.findings(),
                })
            }
            Err((hook, denial)) => {
                let mut findings = request.findings();
                findings.extend(running.undo(hook, &denial));
                self.release(&container);
                Err(Box::new(Denied {
                    denial,
                    hook,
                    findings,
                }))
            }
        }
    }

    /// Runs the hooks of a CHECK of a sandbox that was added.
    ///
    /// # Errors
    /// The policy's error, or that there is nothing to check.
    pub fn check(&mut self, container: &str) -> Verdict {
        let policy = self.begin(container);
        let Some(sandbox) = self.sandboxes.get(container) else {
            return Err("no such sandbox".into());
        };
        let request = sandbox.request.as_command(Command::Check);
        let Some(check) = P::HOOKS.check else {
            return Ok(());
        };
        let mut attachments = sandbox.attachments.iter();
        attachments
            .try_for_each(|(attachment, outcome)| check(&policy, &request, attachment, outcome))
    }

    /// Runs the hooks of a DEL, and removes what is bound to the sandbox. Returns the findings.
    pub fn del(&mut self, container: &str) -> Vec<Finding> {
        let policy = self.begin(container);
        let Some(sandbox) = self.sandboxes.remove(container) else {
            return Vec::new();
        };
        let request = sandbox.request.as_command(Command::Del);
        let findings = del(&policy, &request, &sandbox.attachments);
        self.release(container);
        findings
    }

    /// Runs the hooks of a GC, after which only these sandboxes are left. Returns the findings.
    pub fn gc(&mut self, valid: &[&str]) -> Vec<Finding> {
        let gone: Vec<String> = self.sandboxes.keys().cloned().collect();
        for container in gone.iter().filter(|one| !valid.contains(&one.as_str())) {
            self.sandboxes.remove(container);
            self.release(container);
        }
        let policy = self.begin("");
        let valid = self.sandboxes.iter().flat_map(|(container, sandbox)| {
            let attachments = sandbox.attachments.iter();
            attachments.map(|(attachment, _)| ValidAttachment {
                container_id: container.clone(),
                if_name: attachment.if_name(),
            })
        });
        let valid: Vec<_> = valid.collect();
        let gc = P::HOOKS.gc;
        gc.map(|gc| gc(&policy, &valid)).unwrap_or_default()
    }

    /// Runs the hook of STATUS.
    ///
    /// # Errors
    /// The policy's reason.
    pub fn status(&mut self) -> Result<(), String> {
        let policy = self.begin("");
        let status = P::HOOKS.status;
        status.map_or(Ok(()), |status| status(&policy))
    }

    /// A new instance, for a request of a sandbox.
    fn begin(&self, container: &str) -> P {
        host(|host| container.clone_into(&mut host.container_id));
        configure(&self.settings).expect("these settings made a policy before")
    }

    /// Removes what is bound to a sandbox.
    fn release(&self, container: &str) {
        host(|host| {
            host.release(container);
            let standing = host.attachments.iter_mut();
            standing.for_each(|all| all.retain(|one| one.container_id != container));
        });
    }

    /// Shows attachments to policies that look at those of the node.
    fn stand(&self, request: &Request, made: &[(Attachment, Outcome)]) {
        let pod = request.pod();
        let shown = made.iter().map(|(attachment, outcome)| {
            let if_name = attachment.if_name();
            let interfaces = outcome.interfaces().into_iter();
            let mut own = interfaces.filter(|one| one.name == if_name);
            Info {
                container_id: request.container_id(),
                namespace: pod
                    .as_ref()
                    .map_or_else(String::new, |pod| pod.namespace.clone()),
                pod: pod
                    .as_ref()
                    .map_or_else(String::new, |pod| pod.name.clone()),
                network: attachment.network(),
                ips: outcome.ips().into_iter().map(|ip| ip.address).collect(),
                mac: own.find_map(|one| one.mac),
                tags: outcome.tags(),
                if_name,
            }
        });
        let shown: Vec<Info> = shown.collect();
        host(|host| host.attachments.get_or_insert_default().extend(shown));
    }
}

/// An ADD that is running.
struct Running<'a, P> {
    policy: &'a P,
    request: &'a Request,
    selections: Selections,
    planned: Vec<Attachment>,
    /// What is attached, with results.
    made: Vec<(Attachment, Outcome)>,
}

type Step<T> = Result<T, (&'static str, Denial)>;

impl<P: Exported> Running<'_, P> {
    fn run(&mut self, networks: Vec<(Attachment, Outcome)>) -> Step<Outcome> {
        let (policy, request) = (self.policy, self.request);
        let hooks = P::HOOKS;
        let named = |hook: &'static str| move |denial| (hook, denial);
        if let Some(hook) = hooks.select {
            hook(policy, request, &self.selections).map_err(named("select"))?;
        }
        if let Some(hook) = hooks.validate_selections {
            hook(policy, request, &self.selections).map_err(named("validate_selections"))?;
        }
        let (attachments, outcomes): (Vec<_>, Vec<_>) = networks.into_iter().unzip();
        self.planned = attachments;
        for index in 0..self.planned.len() {
            let plan = plan(&self.planned);
            if let Some(hook) = hooks.before_add
                && let Some(attachment) = self.planned.get(index)
            {
                hook(policy, request, attachment, &plan).map_err(named("before_add"))?;
            }
        }
        let outcomes = self.planned.iter().zip(outcomes);
        let outcomes: Vec<Outcome> = outcomes
            .filter(|(attachment, _)| !attachment.is_skipped())
            .map(|(_, outcome)| outcome)
            .collect();
        self.planned.retain(|attachment| !attachment.is_skipped());
        if let Some(hook) = hooks.validate_plan {
            let plan = plan(&self.planned);
            hook(policy, request, &plan).map_err(named("validate_plan"))?;
        }
        for (attachment, outcome) in self.planned.iter().zip(outcomes) {
            self.made.push((attachment.clone(), outcome));
            if let (Some(hook), Some((_, outcome))) = (hooks.after_add, self.made.last()) {
                hook(policy, request, attachment, outcome).map_err(named("after_add"))?;
            }
        }
        // The runtime gets the default network's result.
        let first = self.made.first().map(|(_, outcome)| outcome.clone());
        let outcome = first.unwrap_or_default();
        let plan = Plan::new(self.made.clone());
        if let Some(hook) = hooks.finalize {
            hook(policy, request, &plan, &outcome).map_err(named("finalize"))?;
        }
        if let Some(hook) = hooks.validate_result {
            hook(policy, request, &plan, &outcome).map_err(named("validate_result"))?;
        }
        Ok(outcome)
    }

    /// Undoes what was attached.
    fn undo(&self, hook: &str, denial: &Denial) -> Vec<Finding> {
        let undone: Vec<_> = self.made.iter().rev().cloned().collect();
        let mut findings = del(self.policy, self.request, &undone);
        if let Some(failed) = P::HOOKS.add_failed {
            let failure = Failure {
                code: Some(denial.code),
                message: denial.message.clone(),
                policy: Some("policy".to_owned()),
                hook: Some(hook.replace('_', "-")),
            };
            let plan = plan(&self.planned);
            findings.extend(failed(self.policy, self.request, &plan, &failure));
        }
        findings
    }
}

/// A plan without results.
fn plan(attachments: &[Attachment]) -> Plan {
    let attachments = attachments.iter().cloned();
    Plan::new(attachments.map(|one| (one, Outcome::new())).collect())
}

fn del<P: Exported>(
    policy: &P,
    request: &Request,
    attachments: &[(Attachment, Outcome)],
) -> Vec<Finding> {
    let Some(del) = P::HOOKS.del else {
        return Vec::new();
    };
    let attachments = attachments.iter();
    attachments
        .flat_map(|(attachment, stored)| del(policy, request, attachment, stored))
        .collect()
}
