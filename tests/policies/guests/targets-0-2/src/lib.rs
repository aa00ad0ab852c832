//! Targets version 0.2.0 of the WIT package, without the SDK, which targets a newer one: implements
//! all hooks, each reading from every resource it gets and making every edit it may.
#![cfg(target_family = "wasm")]
#![allow(unsafe_code, reason = "what the macros of the bindings expand to")]

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated code")]
mod bindings {
    wit_bindgen::generate!({
        path: "../../../../wit/policy-0.2.0",
        world: "policy",
        generate_all,
    });
}

use bindings::cnidaria::policy::types::{
    Attachment, Command, Denial, Dns, EditError, Finding, Outcome, Plan, Request, Selection,
    Selections, Severity, ValidAttachment, Verdict,
};
use bindings::cnidaria::policy::{log, settings, state};
use bindings::exports::cnidaria::policy as hooks;

/// A policy written for 0.2.0.
#[derive(Debug)]
struct Guest;

fn denial(code: u32, message: String) -> Denial {
    Denial {
        code,
        message,
        details: None,
    }
}

fn verdict(edited: Result<(), EditError>) -> Verdict {
    match edited {
        Ok(()) => Verdict::Accept,
        Err(error) => Verdict::Deny(denial(120, format!("{error:?}"))),
    }
}

fn saw(req: &Request, code: &str, message: String) {
    req.report(&Finding {
        severity: Severity::Info,
        code: code.to_owned(),
        message,
    });
}

impl hooks::configure::Guest for Guest {
    fn configure(settings: String) -> Result<(), String> {
        if settings.contains("refuse") {
            return Err("these settings make no sense".to_owned());
        }
        Ok(())
    }
}

impl hooks::select::Guest for Guest {
    fn select(req: Request, networks: Selections) -> Verdict {
        log::log(
            log::Level::Info,
            &format!("settings are {}", settings::get()),
        );
        if req.label("forbidden").is_some() {
            return Verdict::Deny(denial(121, "the pod is forbidden".to_owned()));
        }
        let last = Selection {
            namespace: "default".to_owned(),
            name: "last".to_owned(),
            if_name: None,
            ips: vec!["10.9.0.2/24".to_owned()],
            mac: None,
            infiniband_guid: None,
            bandwidth: None,
            port_mappings: Vec::new(),
            default_route: Vec::new(),
            cni_args: None,
        };
        verdict(
            networks
                .insert(networks.length(), &last)
                .and_then(|()| networks.remove(0)),
        )
    }
}

impl hooks::before_add::Guest for Guest {
    fn before_add(req: Request, att: Attachment) -> Verdict {
        let pod = req.pod().map(|pod| pod.name).unwrap_or_default();
        saw(
            &req,
            "before-add",
            format!("{pod} {} {:?}", att.network(), att.plugin_types()),
        );
        let count = state::get("count").and_then(|bytes| bytes.first().copied());
        let more = [count.unwrap_or(0) + 1];
        let before = count.map(|count| [count]);
        if let Err(error) =
            state::swap("count", before.as_ref().map(|b| &b[..]), Some(&more), false)
        {
            return Verdict::Deny(denial(122, format!("{error:?}")));
        }
        verdict(
            att.set_mtu(1400)
                .and_then(|()| att.conf_set("/added", &more[0].to_string()))
                .and_then(|()| att.set_ips(&["10.9.0.3/24".to_owned()])),
        )
    }
}

impl hooks::after_add::Guest for Guest {
    fn after_add(req: Request, att: Attachment, got: Outcome) -> Verdict {
        let Dns {
            mut nameservers,
            domain,
            search,
            options,
        } = got.dns();
        saw(
            &req,
            "after-add",
            format!("{} {:?}", att.if_name(), got.routes().len()),
        );
        nameservers.push("10.9.0.53".to_owned());
        let dns = Dns {
            nameservers,
            domain,
            search,
            options,
        };
        verdict(got.set_dns(&dns).and_then(|()| got.tag("version", "0.2.0")))
    }
}

impl hooks::finalize::Guest for Guest {
    fn finalize(req: Request, whole: Plan, got: Outcome) -> Verdict {
        let networks: Vec<String> = (0..whole.length())
            .filter_map(|index| whole.at(index))
            .map(|att| att.network())
            .collect();
        saw(
            &req,
            "finalize",
            format!("{networks:?} {}", got.ips().len()),
        );
        let Some(status) = whole.status(0) else {
            return Verdict::Deny(denial(123, "the plan has no status".to_owned()));
        };
        verdict(status.tag("final", "yes"))
    }
}

impl hooks::check::Guest for Guest {
    fn check(_: Request, att: Attachment, stored: Outcome) -> Result<(), Denial> {
        let ips = stored.ips().len();
        Err(denial(124, format!("{} has {ips} address", att.if_name())))
    }
}

impl hooks::status::Guest for Guest {
    fn status() -> Result<(), String> {
        Err("not ready".to_owned())
    }
}

impl hooks::del::Guest for Guest {
    fn del(req: Request, att: Attachment) -> Vec<Finding> {
        let deleting = req.command() == Command::Del;
        vec![Finding {
            severity: Severity::Warning,
            code: "del".to_owned(),
            message: format!("{} {deleting}", att.network()),
        }]
    }
}

impl hooks::gc::Guest for Guest {
    fn gc(valid: Vec<ValidAttachment>) -> Vec<Finding> {
        valid
            .into_iter()
            .map(|valid| Finding {
                severity: Severity::Info,
                code: "gc".to_owned(),
                message: format!("{} {}", valid.container_id, valid.if_name),
            })
            .collect()
    }
}

bindings::export!(Guest with_types_in bindings);
