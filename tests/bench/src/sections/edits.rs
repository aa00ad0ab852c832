//! The cost of policies' edits, by the size of what is there and the number of policies, and the
//! cost of what tenants write. None may grow faster than the size.

use std::thread;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::deployment::{Deployment, Site};
use crate::error::Error;
use crate::manifests::{NOOP, network_of, pod, single};
use crate::report::Report;
use crate::samples::Samples;
use crate::target::Way;

const MODULE: &str = "both-sides";
/// The policy of users' MTUs.
const MTU: &str = "annotation-mtu";
/// Edits by each policy of each of the pod's attachments.
const EDITS: usize = 32;
/// Members of the conf, edited by two policies.
const MEMBERS: [usize; 3] = [100, 1_000, 10_000];
/// Number of policies, with a conf of 1,000 members.
const POLICIES: [usize; 3] = [1, 4, 16];
/// Arguments that two policies set, one in the conf and the other in cni-args.
const ARGUMENTS: [usize; 3] = [8, 64, 512];
/// Members that one policy sets before another one makes its edits.
const SET: [usize; 3] = [100, 1_000, 10_000];
/// Arguments of the pod's annotation, with a chain of eight plugins.
const ASKED: [usize; 3] = [2, 16, 128];
const WARMING: usize = 5;
/// Pause so that one daemon's background work does not slow down the next one's turn.
const REST: Duration = Duration::from_millis(3);

/// A pod's network and its policies, compared with less of either.
struct Case {
    name: String,
    what: String,
    module: &'static str,
    /// The settings of each policy.
    policies: Vec<Value>,
    conf: Value,
    /// The pod's annotations.
    annotations: Value,
    /// Compared with the same without policies; otherwise with the same without annotations.
    compares_policies: bool,
}

impl Case {
    fn of_policies(name: String, what: String, members: usize, policies: Vec<Value>) -> Self {
        Self {
            name,
            what,
            module: MODULE,
            policies,
            conf: conf(members),
            annotations: json!({}),
            compares_policies: true,
        }
    }
}

/// Measures all; growing faster than the size misses the goal.
pub(crate) fn run(report: &mut Report, site: &Site, rounds: usize) -> Result<(), Error> {
    let own = |number: usize, edits| json!({"edits": edits, "key": format!("p{number}-")});
    let series = [
        (
            "cost of edits, ten times the members",
            10.0,
            MEMBERS.map(|members| {
                let what = format!("edits of two policies, conf of {members} members");
                let name = format!("policies.edits.members.{members}");
                let policies = (0..2).map(|number| own(number, EDITS)).collect();
                Case::of_policies(name, what, members, policies)
            }),
        ),
        (
            "cost of edits, four times the policies",
            4.0,
            POLICIES.map(|policies| {
                let what = format!("edits of {policies} policies, conf of 1000 members");
                let name = format!("policies.edits.policies.{policies}");
                let policies = (0..policies).map(|number| own(number, EDITS)).collect();
                Case::of_policies(name, what, 1_000, policies)
            }),
        ),
        (
            "cost of edits in two ways, eight times the edits",
            8.0,
            ARGUMENTS.map(|edits| {
                let what = format!("{edits} keys of one policy, {edits} cni-args of another");
                let name = format!("policies.edits.ways.{edits}");
                let policies = vec![own(0, edits), json!({"args": edits, "key": "p1-"})];
                Case::of_policies(name, what, 100, policies)
            }),
        ),
        (
            "cost of edits beside those of another, ten times the members",
            10.0,
            SET.map(|members| {
                let what = format!("edits of a policy after {members} members of another");
                let name = format!("policies.edits.beside.{members}");
                let policies = vec![json!({"members": members}), own(1, EDITS)];
                Case::of_policies(name, what, 100, policies)
            }),
        ),
        (
            "cost of an MTU that users set, ten times the members",
            10.0,
            MEMBERS.map(|members| Case {
                name: format!("policies.mtu.members.{members}"),
                what: format!("an MTU of an annotation, conf of {members} types"),
                module: MTU,
                policies: vec![json!({})],
                conf: of_types(members),
                annotations: json!({"cnidaria.dev/mtu": "net-1=1400"}),
                compares_policies: true,
            }),
        ),
        (
            "cost of cni-args without policies, eight times the arguments",
            8.0,
            ASKED.map(|asked| Case {
                name: format!("args.{asked}"),
                what: format!("{asked} cni-args for a chain of eight plugins"),
                module: MODULE,
                policies: Vec::new(),
                conf: chain(8),
                annotations: json!({
                    "k8s.v1.cni.cncf.io/networks": networks(asked).to_string(),
                }),
                compares_policies: false,
            }),
        ),
    ];
    for (what, times, cases) in series {
        let mut costs = Vec::new();
        for case in cases {
            costs.push(case.measured(report, site, rounds)?);
        }
        growth(report, what, times, &costs);
    }
    Ok(())
}

fn growth(report: &mut Report, what: &str, times: f64, costs: &[f64]) {
    if let [.., before, last] = costs {
        let ratio = last / before;
        let goal = format!("≤ {times} ×");
        report.goal(what, &goal, format!("{ratio:.1} ×"), ratio, times);
    }
}

impl Case {
    /// The cost in an ADD, in milliseconds.
    fn measured(&self, report: &mut Report, site: &Site, rounds: usize) -> Result<f64, Error> {
        let no_annotations = json!({});
        let few = match self.compares_policies {
            true => &self.annotations,
            false => &no_annotations,
        };
        let none = self.prepared(site, &format!("{}.none", self.name), few)?;
        let mut some = self.prepared(site, &self.name, &self.annotations)?;
        if !self.policies.is_empty() {
            some.add_policies(self.module, self.policies.len())?;
        }
        for (number, settings) in self.policies.iter().enumerate() {
            let limits = json!({
                "edits": 1024,
                "editBytes": 1 << 20,
                "editMembers": 32_768,
                "hostCallBytes": 1 << 20,
            });
            let config = json!({"settings": settings, "limits": limits});
            let file = format!("policies/{:02}-copy.json", 10 + number);
            some.write(&file, config.to_string())?;
        }
        let (none, some) = (none.start()?, some.start()?);
        let mut samples = Samples::default();
        for round in 0..WARMING + rounds {
            let container = format!("edits-{round}");
            let mut times = Vec::new();
            for running in [&none, &some] {
                let (add, _) = running
                    .target
                    .add_and_del(Way::Socket, &container, &single(1))?;
                times.push(add.as_secs_f64() * 1_000.0);
                thread::sleep(REST);
            }
            if let ([none, some], true) = (times.as_slice(), round >= WARMING) {
                samples.push(some - none);
            }
        }
        report.measure(&self.name, &self.what, "ms", &samples);
        Ok(samples.median())
    }

    fn prepared(&self, site: &Site, name: &str, annotations: &Value) -> Result<Deployment, Error> {
        let mut deployment = site.deployment(name)?;
        // Growth shows beyond the default limits.
        deployment.set(
            "limits",
            json!({"confMembers": 1 << 16, "confBytes": 1 << 20}),
        );
        let mut pod = pod(&single(1), 1);
        if let (Some(Value::Object(known)), Some(more)) = (
            pod.pointer_mut("/metadata/annotations"),
            annotations.as_object(),
        ) {
            known.extend(more.clone());
        }
        deployment.add(&[pod, network_of("net-1", &self.conf)])?;
        Ok(deployment)
    }
}

fn conf(members: usize) -> Value {
    let held: Map<String, Value> = (0..members)
        .map(|number| (format!("member-{number}"), number.into()))
        .collect();
    json!({"cniVersion": "1.0.0", "name": "net-1", "type": NOOP, "held": held})
}

/// A conf of members that a policy may not change.
fn of_types(members: usize) -> Value {
    let held: Map<String, Value> = (0..members)
        .map(|number| (format!("member-{number}"), json!({"type": "t"})))
        .collect();
    json!({"cniVersion": "1.0.0", "name": "net-1", "type": NOOP, "mtu": 1500, "held": held})
}

fn chain(plugins: usize) -> Value {
    let plugins: Vec<Value> = (0..plugins).map(|_| json!({"type": NOOP})).collect();
    json!({"cniVersion": "1.0.0", "name": "net-1", "plugins": plugins})
}

/// An annotation that selects the network with arguments.
fn networks(args: usize) -> Value {
    let args: Map<String, Value> = (0..args)
        .map(|number| (format!("arg-{number}"), number.into()))
        .collect();
    json!([{"name": "net-1", "cni-args": args}])
}
